//! Turns of work for a dataset: a caller that finds the turn free, or the owner's thread.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use instep_model::commit::Operation;
use instep_model::log::memory::MemoryLog;
use instep_model::log::{AppendError, Bounds, Log, LogReader, Promise};
use instep_model::name::{Key, Name};
use instep_model::owner::Refusal;
use instep_model::position::{Incarnation, Revision};
use instep_node::dataset::Options;
use instep_node::engine::Engine;
use instep_node::{Dataset, Pools, Subscriber, Topics};
use uuid::Uuid;

/// Timeout of what only has to happen at some time.
const LIVENESS: Duration = Duration::from_secs(60);

/// A log in memory that notes which thread appends, and is as slow or as broken as it is told.
struct Observed {
    log: MemoryLog,
    threads: Arc<Mutex<Vec<String>>>,
    mood: Arc<Mutex<Mood>>,
}

#[derive(Clone, Copy)]
enum Mood {
    Quick,
    Slow,
    Panicking,
}

impl Log for Observed {
    fn bounds(&self) -> Bounds {
        self.log.bounds()
    }

    fn promise(&self) -> Promise {
        self.log.promise()
    }

    fn largest_entry(&self) -> usize {
        self.log.largest_entry()
    }

    fn append(&mut self, expected: Revision, entry: &[u8]) -> Result<Revision, AppendError> {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().unwrap().push(thread);
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Quick => {}
            Mood::Slow => std::thread::sleep(Duration::from_millis(5)),
            Mood::Panicking => panic!("the log is told to panic"),
        }
        self.log.append(expected, entry)
    }

    fn trim(&mut self, floor: Revision) -> Result<Bounds, AppendError> {
        self.log.trim(floor)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.log.reader()
    }
}

struct Fixture {
    dataset: Dataset,
    threads: Arc<Mutex<Vec<String>>>,
    mood: Arc<Mutex<Mood>>,
}

impl Fixture {
    fn open() -> Self {
        let (threads, mood) = (Arc::default(), Arc::new(Mutex::new(Mood::Quick)));
        let log = MemoryLog::new(Incarnation(Uuid::from_u128(1)));
        let observed = Observed { log, threads: Arc::clone(&threads), mood: Arc::clone(&mood) };
        let engine =
            Engine { log: Box::new(observed), ..Engine::memory(Incarnation(Uuid::from_u128(1))) };
        let options = Options::new(name("d"), Uuid::from_u128(2));
        let dataset =
            Dataset::open(engine, options, Topics::default(), &Pools::new().unwrap()).unwrap();
        Self { dataset, threads, mood }
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn commit(&self, operation: Operation) -> Result<Vec<Option<i64>>, Refusal> {
        self.dataset.commit(vec![operation].into()).await.map(|receipt| receipt.results.into())
    }

    async fn make_counter(&self) {
        self.commit(Operation::CreateTable { table: name("t"), public: true }).await.unwrap();
        let row = serde_json::json!({ "n": 0 }).as_object().cloned().unwrap();
        self.commit(Operation::Put { table: name("t"), key: key(), row }).await.unwrap();
    }

    async fn count(&self) -> Result<Vec<Option<i64>>, Refusal> {
        let (table, field) = (name("t"), "n".to_owned());
        self.commit(Operation::Add { table, key: key(), field, by: 1, min: None, max: None }).await
    }

    fn last_thread(&self) -> String {
        self.threads.lock().unwrap().last().cloned().unwrap_or_default()
    }

    async fn close(self) {
        let closed = tokio::task::spawn_blocking(move || self.dataset.close());
        tokio::time::timeout(LIVENESS, closed).await.expect("the dataset closes").unwrap();
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key() -> Key {
    Key::new("hot").unwrap()
}

#[tokio::test]
async fn a_caller_alone_does_its_own_commit_and_subscribers_are_told() {
    let house = Arc::new(Fixture::open());
    house.make_counter().await;

    let alone = Arc::clone(&house);
    let own = tokio::spawn(async move {
        // An append may take long by chance; then the next one is the thread's.
        loop {
            alone.count().await.unwrap();
            let mine = std::thread::current().name().map(str::to_owned);
            if mine == Some(alone.last_thread()) {
                return;
            }
        }
    });

    tokio::time::timeout(LIVENESS, own).await.expect("a commit by its caller").unwrap();
    // Nothing follows that commit, and yet the views get to it.
    let place = house.dataset.position().place;
    let listener = Subscriber::Task(Arc::default());
    house.dataset.settled().await;
    let (joined, _) = house.dataset.join("table:d/t", None, &listener).unwrap();
    assert_eq!(joined.position.place, place);
    Arc::into_inner(house).unwrap().close().await;
}

#[tokio::test]
async fn on_a_slow_disk_only_the_owners_thread_waits() {
    let house = Fixture::open();
    house.make_counter().await;
    house.is(Mood::Slow);
    house.count().await.unwrap();

    for _ in 0..5 {
        house.count().await.unwrap();
        assert_eq!(house.last_thread(), "owners");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn law_2_turns_of_callers_and_thread_make_one_order() {
    const TASKS: i64 = 8;
    const EACH: i64 = 500;
    let house = Arc::new(Fixture::open());
    house.make_counter().await;

    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..EACH {
                    let counted = house.count().await.unwrap();
                    let number = counted[0].unwrap();
                    let row = &house.dataset.state().tables["t"].rows["hot"].row;
                    assert!(row.fields()["n"].as_i64() >= Some(number), "answered, not visible");
                    seen.push(number);
                }
                seen
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let seen = task.await.unwrap();
        assert!(seen.is_sorted(), "one caller's commits are in its order");
        all.extend(seen);
    }

    all.sort_unstable();
    assert!(all.into_iter().eq(1..=TASKS * EACH), "every commit counted once");
    Arc::into_inner(house).unwrap().close().await;
}

#[tokio::test]
async fn a_caller_whose_thread_serves_others_leaves_its_commit_to_the_owners_thread() {
    let house = Fixture::open();
    house.make_counter().await;
    let others = [(); 2].map(|()| tokio::spawn(std::future::pending::<()>()));

    for _ in 0..20 {
        house.count().await.unwrap();
        assert_eq!(house.last_thread(), "owners");
    }

    others.iter().for_each(tokio::task::JoinHandle::abort);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_8_a_panic_of_the_owner_stops_the_dataset() {
    let house = Fixture::open();
    house.make_counter().await;
    house.is(Mood::Panicking);

    let outcome = house.count().await;

    assert_eq!(outcome, Err(Refusal::OutcomeUnknown));
    assert_eq!(house.dataset.stopped().as_deref(), Some("its owner panicked"));
    assert!(matches!(house.count().await, Err(Refusal::Stopped(_))));
    assert_eq!(house.dataset.state().tables["t"].rows.len(), 1, "memory is still served");
    house.close().await;
}
