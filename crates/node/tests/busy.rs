//! A feed that is busy with an entry for long: live topics, and callers that do not wait, go on.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instep_model::commit::Operation;
use instep_model::feed::JoinRefusal;
use instep_model::name::{Key, Name};
use instep_model::position::Incarnation;
use instep_model::ring::{Payload, RingLimits};
use instep_model::view::View;
use instep_node::dataset::Options;
use instep_node::engine::Engine;
use instep_node::{Dataset, LivePattern, Node, Subscriber};
use instep_protocol::payload::since::Since;
use serde_json::json;
use uuid::Uuid;

/// Timeout of what has to happen at once.
const LIVENESS: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A view that says when it looks at a row, and looks on when it is told to.
fn slow_view(looks: Sender<()>, go_on: Receiver<()>) -> View {
    let both = Mutex::new((looks, go_on));
    View::native(name("slow"), name("t"), "slow:{x}", "row", move |_| {
        let (looks, go_on) = &*both.lock().unwrap();
        looks.send(()).unwrap();
        let _ = go_on.recv_timeout(LIVENESS);
        None
    })
    .unwrap()
}

fn dataset(node: &Node, called: &str, view: View) -> Dataset {
    let options = Options { views: vec![view], ..Options::new(name(called), Uuid::from_u128(2)) };
    let engine = Engine::memory(Incarnation(Uuid::from_u128(1)));
    Dataset::open(engine, options, node.topics().clone(), node.pools()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_topics_do_not_wait_for_a_feed_that_is_busy_with_an_entry() {
    let live = LivePattern { topic: "room:*".into(), ..LivePattern::default() };
    let node = Node::new(vec![live], RingLimits::default()).unwrap();
    let ((looks, looking), (go_on, going)) = (mpsc::channel(), mpsc::channel());
    let dataset = dataset(&node, "d", slow_view(looks, going));
    node.add(dataset.clone()).unwrap();
    let table = name("t");
    let make = Operation::CreateTable { table: table.clone(), public: true };
    dataset.commit(vec![make].into()).await.unwrap();
    dataset.settled().await;
    let listener = Subscriber::Task(Arc::default());
    let (joined, mut subscription) = dataset.join("table:d/t", None, &listener).unwrap();
    let row = json!({"x": 1}).as_object().cloned().unwrap();
    let put = Operation::Put { table, key: Key::new("k").unwrap(), row };
    dataset.commit(vec![put].into()).await.unwrap();
    looking.recv_timeout(LIVENESS).expect("the view looks");

    let (told, done) = mpsc::channel();
    let (others, busy) = (node.clone(), dataset.clone());
    std::thread::spawn(move || {
        let payload = || Payload::Json("{}".into());
        others.publish("room:a", "said", payload()).unwrap();
        let listener = Subscriber::Task(Arc::default());
        others.join("room:b", &Since::Nothing, &listener).map(drop).unwrap();
        for topic in ["slow:1", "table:d/t"] {
            assert!(others.try_join(topic, &Since::Nothing, &listener).is_none(), "{topic}");
        }
        others.publish("room:b", "said", payload()).unwrap();
        assert!(others.is_live("room:c") && !others.is_live("slow:1"));
        assert!(busy.has_topic("slow:1") && busy.has_topic("table:d/t"));
        assert!(busy.views().iter().all(|(_, failures)| failures.count == 0));
        let since = Some(joined.position);
        let caught_up = busy.try_catch_up(&mut subscription, since).is_some();
        told.send(caught_up).unwrap();
    });
    let caught_up = done.recv_timeout(LIVENESS);
    go_on.send(()).unwrap();

    assert_eq!(caught_up, Ok(false), "no caller waits for the view");
    dataset.settled().await;
    assert!(dataset.is_settled());
    for (topic, refused) in [("slow:1", None), ("d:1", Some(JoinRefusal::Unmatched))] {
        let tried = node.try_join(topic, &Since::Nothing, &listener).expect("nothing is told");
        assert_eq!(tried.map(drop).err(), refused, "{topic}");
    }
    tokio::task::spawn_blocking(move || dataset.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_and_publications_elsewhere_do_not_wait_for_a_feed_that_is_busy() {
    let live = LivePattern { topic: "room:*".into(), ..LivePattern::default() };
    let node = Node::new(vec![live], RingLimits::default()).unwrap();
    let ((looks, looking), (go_on, going)) = (mpsc::channel(), mpsc::channel());
    let busy = dataset(&node, "d", slow_view(looks, going));
    let view = View::native(name("v"), name("t"), "quick:{x}", "row", |_| None).unwrap();
    let other = dataset(&node, "e", view);
    let table = name("t");
    for dataset in [&busy, &other] {
        node.add(dataset.clone()).unwrap();
        let make = Operation::CreateTable { table: table.clone(), public: true };
        dataset.commit(vec![make].into()).await.unwrap();
        dataset.settled().await;
    }
    let row = json!({"x": 1}).as_object().cloned().unwrap();
    let put = Operation::Put { table, key: Key::new("k").unwrap(), row };
    busy.commit(vec![put].into()).await.unwrap();
    looking.recv_timeout(LIVENESS).expect("the view looks");

    let (told, done) = mpsc::channel();
    let elsewhere = node.clone();
    std::thread::spawn(move || {
        let join = |topic: &str| {
            assert!(elsewhere.is_settled(topic), "{topic} waits");
            let listener = Subscriber::Task(Arc::default());
            elsewhere.join(topic, &Since::Nothing, &listener).map(drop).err()
        };
        let unmatched = Some(JoinRefusal::Unmatched);
        for (topic, refused) in [
            ("quick:1", None),
            ("table:e/t", None),
            ("room:a", None),
            ("table:e/none", unmatched.clone()),
            ("table:none/t", unmatched.clone()),
            ("nothing:1", unmatched),
        ] {
            assert_eq!(join(topic), refused, "{topic}");
        }
        elsewhere.publish("room:b", "said", Payload::Json("{}".into())).unwrap();
        for topic in ["slow:1", "table:d/t", "table:d/none"] {
            assert!(!elsewhere.is_settled(topic), "{topic} waits for its own dataset");
        }
        told.send(()).unwrap();
    });
    let done = done.recv_timeout(LIVENESS);
    go_on.send(()).unwrap();

    assert_eq!(done, Ok(()));
    tokio::task::spawn_blocking(move || node.close()).await.unwrap();
}
