//! Views that change between two starts: a subscriber that was told by others begins anew.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::sync::{Arc, Mutex};

use instep_model::commit::Operation;
use instep_model::feed::{Joined, Mode};
use instep_model::log::memory::MemoryLog;
use instep_model::log::{AppendError, Bounds, Log, LogReader, Promise};
use instep_model::name::{Key, Name};
use instep_model::position::{Incarnation, Position, Revision};
use instep_model::store::DefinitionStore;
use instep_model::store::memory::MemoryDefinitions;
use instep_model::view::View;
use instep_node::dataset::Options;
use instep_node::engine::Engine;
use instep_node::{Dataset, Pools, Subscriber, Topics};
use serde_json::json;
use uuid::Uuid;

/// A log that outlives its dataset, and may have no room.
#[derive(Clone)]
struct Kept {
    log: Arc<Mutex<MemoryLog>>,
    definitions: Arc<MemoryDefinitions>,
    is_full: bool,
}

impl Log for Kept {
    fn bounds(&self) -> Bounds {
        self.log.lock().unwrap().bounds()
    }

    fn promise(&self) -> Promise {
        self.log.lock().unwrap().promise()
    }

    fn largest_entry(&self) -> usize {
        self.log.lock().unwrap().largest_entry()
    }

    fn append(&mut self, expected: Revision, entry: &[u8]) -> Result<Revision, AppendError> {
        if self.is_full {
            Err(AppendError::StorageFull("it is told to be full".into()))
        } else {
            self.log.lock().unwrap().append(expected, entry)
        }
    }

    fn trim(&mut self, floor: Revision) -> Result<Bounds, AppendError> {
        self.log.lock().unwrap().trim(floor)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.lock().unwrap().reader()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn incarnation() -> Incarnation {
    Incarnation(Uuid::from_u128(1))
}

impl Kept {
    fn new() -> Self {
        let log = Arc::new(Mutex::new(MemoryLog::new(incarnation())));
        Self { log, definitions: Arc::default(), is_full: false }
    }

    /// Starts with these filters of two views, on topics `a:{g}` and `b:{g}`.
    fn start(&self, filters: [&str; 2]) -> Running {
        let view = |(topic, filter): (&str, &str)| {
            let declaration = json!({
                "name": topic, "dataset": "d", "table": "t", "event": "row",
                "topic": format!("{topic}:{{g}}"), "filter": filter,
            });
            View::compile(&serde_json::from_value(declaration).unwrap()).unwrap()
        };
        let options = Options {
            views: ["a", "b"].into_iter().zip(filters).map(view).collect(),
            ..Options::new(name("d"), Uuid::from_u128(2))
        };
        let definitions = Arc::clone(&self.definitions) as _;
        let log = Box::new(self.clone());
        let engine = Engine { log, definitions, ..Engine::memory(incarnation()) };
        Running(Dataset::open(engine, options, Topics::default(), &Pools::new().unwrap()).unwrap())
    }
}

struct Running(Dataset);

impl Running {
    async fn put(&self, secret: bool) {
        let row = json!({"g": 1, "on": true, "secret": secret}).as_object().cloned().unwrap();
        let operations = [
            Operation::CreateTable { table: name("t"), public: false },
            Operation::Put { table: name("t"), key: Key::new("k").unwrap(), row },
        ];
        for operation in operations {
            self.0.commit(vec![operation].into()).await.unwrap();
        }
        self.0.settled().await;
    }

    fn join(&self, topic: &str, since: Option<Position>) -> Joined {
        let listener = Subscriber::Task(Arc::default());
        self.0.join(topic, since.map(Some), &listener).unwrap().0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.close();
    }
}

const OLD: &str = "row.on";
const NEW: &str = "row.on && !row.secret";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_from_before_a_view_changed_is_a_reset_on_its_topics_and_on_no_others() {
    let kept = Kept::new();
    let first = kept.start([OLD, OLD]);
    first.put(true).await;
    let (a, b) = (first.join("a:1", None), first.join("b:1", None));
    assert_eq!(a.notices.len(), 1);
    drop(first);

    let second = kept.start([NEW, OLD]);

    let joined = second.join("a:1", Some(a.position));
    assert_eq!((joined.mode, joined.notices.len()), (Mode::Reset, 0), "the row is hidden now");
    assert_eq!(second.join("b:1", Some(b.position)).mode, Mode::Resume);
    assert_eq!(second.join("a:1", Some(joined.position)).mode, Mode::Resume);
    drop(second);
    let third = kept.start([NEW, OLD]);
    assert_eq!(third.join("a:1", Some(joined.position)).mode, Mode::Resume, "nothing changed");
    assert_eq!(third.join("a:1", Some(a.position)).mode, Mode::Reset, "for ever");
    drop(third);
    let back = kept.start([OLD, OLD]);
    assert_eq!(back.join("a:1", Some(joined.position)).mode, Mode::Reset);
    assert_eq!(back.join("a:1", Some(a.position)).mode, Mode::Reset, "it was hidden in between");
    assert_eq!(back.join("b:1", Some(b.position)).mode, Mode::Resume);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_were_never_noted_count_as_changed_once() {
    let kept = Kept::new();
    let first = kept.start([OLD, OLD]);
    first.put(false).await;
    let position = first.join("a:1", None).position;
    drop(first);

    for damage in ["", "{}", "no JSON"] {
        kept.definitions.write(damage.as_bytes()).unwrap();
        let reset = kept.start([OLD, OLD]).join("a:1", Some(position));
        assert_eq!(reset.mode, Mode::Reset, "{damage:?}");
        let again = kept.start([OLD, OLD]).join("a:1", Some(reset.position));
        assert_eq!(again.mode, Mode::Resume, "{damage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_the_change_of_a_view_no_old_position_is_resumed_either() {
    let mut kept = Kept::new();
    let first = kept.start([OLD, OLD]);
    first.put(true).await;
    let old = first.join("a:1", None).position;
    drop(first);

    kept.is_full = true;
    let full = kept.start([NEW, OLD]);
    let joined = full.join("a:1", Some(old));
    assert_eq!((joined.mode, joined.position), (Mode::Reset, old), "there is no other place");
    assert_eq!(full.join("a:1", Some(old)).mode, Mode::Reset, "they cannot be told apart");
    drop(full);
    kept.is_full = false;
    let room = kept.start([NEW, OLD]);

    assert_eq!(room.join("a:1", Some(old)).mode, Mode::Reset);
}
