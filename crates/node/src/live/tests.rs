use std::sync::Arc;

use bytes::Bytes;
use instep_model::presence::DIFF_EVENT;
use instep_model::ring::{Frame, Read, RingLimits};
use instep_protocol::payload::frame;
use instep_protocol::payload::since::Since;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::node::{Node, NodeJoined};
use crate::topics::{Subscriber, Subscription, Topics};

fn node(pattern: LivePattern) -> Node {
    let topic = "room:*".into();
    Node::new(vec![LivePattern { topic, ..pattern }], RingLimits::default()).unwrap()
}

fn join(node: &Node, since: &Since) -> LiveJoined {
    join_as(node, "room:a", since)
}

fn join_as(node: &Node, topic: &str, since: &Since) -> LiveJoined {
    match node.join(topic, since, &Subscriber::Task(Arc::default())) {
        Ok(NodeJoined::Live(joined)) => joined,
        Ok(NodeJoined::View { .. }) | Err(_) => panic!("not live"),
    }
}

fn publish(node: &Node, text: &str) -> Published {
    let payload = Payload::Json(Bytes::from(json!({ "text": text }).to_string()));
    node.publish("room:a", "said", payload).unwrap()
}

fn texts(frames: &[Arc<Frame>]) -> Vec<String> {
    let text = |frame: &Arc<Frame>| {
        let Payload::Json(json) = &frame.payload else { panic!("binary") };
        serde_json::from_slice::<Value>(json).unwrap()["text"].as_str().unwrap_or("").to_owned()
    };
    frames.iter().map(text).collect()
}

fn read(subscription: &mut Subscription) -> Vec<Arc<Frame>> {
    let Read::Frames(frames) = subscription.read(usize::MAX) else { panic!("lagged") };
    frames
}

/// Messages that a joiner gets of those that are on the topic already.
fn replay(joined: &mut LiveJoined) -> Vec<String> {
    let mut frames: Vec<_> = joined.last.clone().into_iter().collect();
    frames.extend(read(&mut joined.subscription));
    frames.retain(|frame| frame.offset.is_some());
    texts(&frames)
}

/// Resume point of a client: the place of its join, and the messages since.
fn place_after(joined: &LiveJoined, messages: usize) -> Since {
    let offset = joined.place.offset + messages as u64;
    Since::Live(LivePlace { offset, ..joined.place.clone() })
}

#[test]
fn what_was_missed_is_replayed_to_who_comes_back_while_others_stayed() {
    let node = node(LivePattern::default());
    let _stays = join(&node, &Since::Nothing);
    let first = join(&node, &Since::Nothing);
    publish(&node, "a");
    let since = place_after(&first, 1);
    drop(first);
    publish(&node, "b");
    publish(&node, "c");

    let mut back = join(&node, &since);
    publish(&node, "d");

    assert_eq!((back.recovered, back.place.offset), (true, 1));
    assert_eq!(replay(&mut back), ["b", "c", "d"]);
    let epoch = &back.place.epoch;
    let reply = format!(r#"{{"epoch":"{epoch}","mode":"resume","offset":1,"recovered":true}}"#);
    assert_eq!(back.reply(), reply);
}

#[test]
fn a_place_of_another_epoch_or_of_the_future_is_not_recovered() {
    let node = node(LivePattern::default());
    let joined = join(&node, &Since::Nothing);
    publish(&node, "a");

    let other = Since::Live(LivePlace { epoch: "abc".into(), offset: 0 });
    for since in [other, place_after(&joined, 2), Since::Unreadable] {
        let mut back = join(&node, &since);

        assert_eq!((back.recovered, back.place.offset), (false, 1));
        assert_eq!(replay(&mut back).len(), 0);
        let reply: Value = serde_json::from_slice(&back.reply()).unwrap();
        assert_eq!(reply["mode"], "resume");
    }
}

#[test]
fn a_topic_with_history_outlives_its_subscribers_and_replays_what_it_keeps() {
    let node = node(LivePattern { history: 2, ..LivePattern::default() });
    let joined = join(&node, &Since::Nothing);
    let place = place_after(&joined, 1);
    publish(&node, "a");
    drop(joined);

    let told = publish(&node, "b");
    let mut back = join(&node, &place);
    assert_eq!((told.subscribers, back.recovered), (0, true));
    assert_eq!(replay(&mut back), ["b"]);
    drop(back);

    publish(&node, "c");
    publish(&node, "d");
    let late = join(&node, &place);
    assert_eq!((late.recovered, late.place.offset), (false, 4));
}

#[test]
fn a_topic_with_history_goes_with_its_last_message() {
    // Without a node there is no timer that looks at the same time.
    let topics = Topics::default();
    let pattern = LivePattern { history: 9, history_ms: 0, ..LivePattern::default() };
    let live = || topics.live("room:a", (&Arc::new(pattern.clone()), 1));
    let message = || frame::message("room:a", "said", Payload::Json(Bytes::from_static(b"{}")));

    let publish = || live().told(&live().publish("said", message()));

    let told = publish();
    assert_eq!(told.place.as_ref().map(|place| place.offset), Some(1));
    assert_eq!(topics.all().len(), 1);
    let began = topics.now();
    while topics.now() <= began + 1 {
        std::thread::yield_now();
    }
    topics.expire();

    assert_eq!(topics.all().len(), 0);
    assert_ne!(publish().place.unwrap().epoch, told.place.unwrap().epoch);
}

#[test]
fn a_new_joiner_gets_the_last_value_and_may_count_it() {
    let node = node(LivePattern { last_value: true, ..LivePattern::default() });
    publish(&node, "a");
    publish(&node, "b");

    let mut joined = join(&node, &Since::Nothing);

    assert_eq!((joined.recovered, joined.place.offset), (false, 1));
    assert_eq!(replay(&mut joined), ["b"]);
    let mut back = join(&node, &place_after(&joined, 1));
    assert_eq!((replay(&mut back).len(), back.recovered), (0, true));
}

/// JAN-R11
#[test]
fn jan_r11_topics_that_were_used_once_leave_nothing_behind() {
    let node = node(LivePattern::default());

    for number in 0..100_000 {
        let topic = format!("room:{number}");
        let joined = join_as(&node, &topic, &Since::Nothing);
        node.publish(&topic, "said", Payload::Json(Bytes::from_static(b"{}"))).unwrap();
        drop(joined);
        let told = node.publish(&topic, "said", Payload::Json(Bytes::from_static(b"{}"))).unwrap();
        assert_eq!(told, Published { subscribers: 0, place: None });
    }

    assert_eq!(node.topics().all().len(), 0);
}

#[test]
fn the_same_id_publishes_once() {
    let node = node(LivePattern::default());
    let mut joined = join(&node, &Since::Nothing);
    let id = PublishId::new("order-1").unwrap();
    let once = || {
        let payload = Payload::Json(Bytes::from_static(b"{}"));
        node.publish_once("room:a", "said", payload, &id).unwrap()
    };

    let (first, second) = (once(), once());

    let Once::Published(answer) = first else { panic!("{first:?}") };
    assert_eq!(second, Once::Replayed(answer));
    assert_eq!(read(&mut joined.subscription).len(), 1);
}

#[test]
fn who_joins_and_leaves_is_told_at_intervals_and_is_no_message() {
    // Without a node there is no timer that tells at the same time.
    let topics = Topics::default();
    let pattern = LivePattern { presence: Some(PresenceMode::List), ..LivePattern::default() };
    let pattern = Arc::new(pattern);
    let join = |since: &Since| {
        topics.join_live("room:a", (&pattern, 1), since, &Subscriber::Task(Arc::default()))
    };
    let mut watching = join(&Since::Nothing);
    let topic = Arc::clone(watching.subscription.topic());
    let present = topic.track(Some("ann"), serde_json::Map::new()).unwrap().unwrap();
    let payload = Payload::Json(Bytes::from_static(b"{\"text\":\"a\"}"));
    topic.publish("said", frame::message("room:a", "said", payload.clone()));

    let greeting = topic.greet().unwrap().told;
    let payload: serde_json::Value = serde_json::from_str(&greeting.payload).unwrap();
    assert!(payload["ann"]["metas"][0]["phx_ref"].is_string());
    topics.tell_presence();
    drop(present);
    topics.tell_presence();

    let frames = read(&mut watching.subscription);
    let told: Vec<_> = frames.iter().map(|frame| (&*frame.event, frame.offset)).collect();
    assert_eq!(told, [("said", Some(1)), (DIFF_EVENT, None), (DIFF_EVENT, None)]);
    assert_eq!(topic.crowd(), Some(crate::Crowd::default()));
    assert_eq!(replay(&mut join(&place_after(&watching, 0))), ["a"]);
}

#[test]
fn no_client_is_tracked_where_presence_is_off() {
    let node = node(LivePattern::default());
    let joined = join(&node, &Since::Nothing);
    let topic = joined.subscription.topic();

    assert!(topic.track(None, serde_json::Map::new()).unwrap().is_none());
    assert_eq!((topic.greet(), topic.crowd(), topic.present()), (None, None, None));
}

#[derive(Debug, Clone)]
enum Step {
    Publish,
    Leave,
    Join,
    Read,
}

proptest! {
    /// JAN-U5: a client that comes and goes, and believes nothing but replies and what it counts,
    /// has every message once and in order, or was told that it has not.
    #[test]
    fn who_counts_its_messages_misses_none_without_being_told(
        steps in proptest::collection::vec(
            prop_oneof![
                5 => Just(Step::Publish),
                1 => Just(Step::Leave),
                2 => Just(Step::Join),
                3 => Just(Step::Read),
            ],
            0..80,
        ),
        history in 0_usize..6,
        stays: bool,
    ) {
        let node = node(LivePattern { history, ..LivePattern::default() });
        let _stays = stays.then(|| join(&node, &Since::Nothing));
        let (mut published, mut had) = (0_usize, vec![]);
        let (mut joined, mut place): (Option<LiveJoined>, Option<LivePlace>) = (None, None);
        // From which message on it must have them all.
        let mut whole_from = 0;
        for step in steps {
            match step {
                Step::Publish => {
                    publish(&node, &published.to_string());
                    published += 1;
                }
                Step::Leave => joined = None,
                Step::Join if joined.is_none() => {
                    let since = place.clone().map_or(Since::Nothing, Since::Live);
                    let back = join(&node, &since);
                    if !back.recovered {
                        had.clear();
                        whole_from = published;
                    }
                    let last: Vec<_> = back.last.clone().into_iter().collect();
                    had.extend(texts(&last));
                    let offset = back.place.offset + last.len() as u64;
                    place = Some(LivePlace { offset, ..back.place.clone() });
                    joined = Some(back);
                }
                Step::Read => {
                    if let (Some(joined), Some(place)) = (&mut joined, &mut place) {
                        let frames = read(&mut joined.subscription);
                        place.offset += frames.len() as u64;
                        had.extend(texts(&frames));
                    }
                }
                Step::Join => {}
            }
            let expected: Vec<_> =
                (whole_from..whole_from + had.len()).map(|n| n.to_string()).collect();
            prop_assert_eq!(&had, &expected);
        }
    }
}
