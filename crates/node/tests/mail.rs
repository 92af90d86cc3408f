//! Mail of a dataset whose disk hangs: its owner, its callers and its servers.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use instep_model::commit::Operation;
use instep_model::log::memory::MemoryLog;
use instep_model::log::{AppendError, Bounds, Log, LogReader, Promise};
use instep_model::mail::delivery::Times;
use instep_model::mail::{MailRules, Message, NewMessage, Seq};
use instep_model::name::Name;
use instep_model::position::{Incarnation, Revision};
use instep_model::store::memory::MemorySnapshots;
use instep_node::dataset::Options;
use instep_node::engine::{BodyStore, Engine, MemoryBodies, StoredBody};
use instep_node::mail::MailOptions;
use instep_node::{Dataset, Pools, Topics};
use serde_json::json;
use uuid::Uuid;

#[path = "mail/callers.rs"]
mod callers;
#[path = "mail/events.rs"]
mod events;
#[path = "mail/settling.rs"]
mod settling;

/// Timeout of what only has to happen at some time.
const LIVENESS: Duration = Duration::from_secs(60);

/// A door that each thread waits at while it is shut.
#[derive(Default)]
struct Door {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Door {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |(shut, _)| *shut).unwrap();
        state.1 -= 1;
    }

    fn shut(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.changed.notify_all();
    }

    fn until_a_thread_waits(&self) {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_timeout_while(state, LIVENESS, |(_, waiting)| *waiting == 0);
        assert!(!waited.unwrap().1.timed_out(), "a thread comes to the door");
    }
}

/// A log in memory behind a door.
struct SlowLog(MemoryLog, Arc<Door>);

impl Log for SlowLog {
    fn bounds(&self) -> Bounds {
        self.0.bounds()
    }

    fn promise(&self) -> Promise {
        self.0.promise()
    }

    fn largest_entry(&self) -> usize {
        self.0.largest_entry()
    }

    fn append(&mut self, expected: Revision, entry: &[u8]) -> Result<Revision, AppendError> {
        self.1.pass();
        self.0.append(expected, entry)
    }

    fn trim(&mut self, floor: Revision) -> Result<Bounds, AppendError> {
        self.0.trim(floor)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.0.reader()
    }
}

/// Bodies in memory behind a door.
#[derive(Default)]
struct SlowBodies {
    kept: MemoryBodies,
    door: Arc<Door>,
    damaged: Mutex<bool>,
}

impl BodyStore for SlowBodies {
    fn write(&self, put: &[(Seq, Bytes)], removed: &[Seq]) -> io::Result<()> {
        self.kept.write(put, removed)
    }

    fn sync(&self) -> io::Result<()> {
        self.kept.sync()
    }

    fn read(&self, seqs: &[Seq]) -> io::Result<Vec<StoredBody>> {
        self.door.pass();
        if *self.damaged.lock().unwrap() {
            Ok(vec![StoredBody::Damaged; seqs.len()])
        } else {
            self.kept.read(seqs)
        }
    }

    fn size(&self) -> u64 {
        self.kept.size()
    }
}

/// A dataset with the queue `mail`, whose log and bodies wait at doors.
struct Fixture {
    dataset: Dataset,
    log: Arc<Door>,
    bodies: Arc<SlowBodies>,
}

impl Fixture {
    async fn open() -> Self {
        let (log, bodies) = (Arc::<Door>::default(), Arc::<SlowBodies>::default());
        let incarnation = Incarnation(Uuid::from_u128(1));
        let engine = Engine {
            log: Box::new(SlowLog(MemoryLog::new(incarnation), Arc::clone(&log))),
            bodies: bodies.clone(),
            ..Engine::memory(incarnation)
        };
        let rules = MailRules { retry_ms: 60_000, ..MailRules::default() };
        let times = Times { lease_ms: 3_600_000, ask_ms: 3_600_000 };
        let options = Options {
            mail: MailOptions { rules, times, ..MailOptions::default() },
            ..Options::new(name("d"), Uuid::from_u128(2))
        };
        let dataset =
            Dataset::open(engine, options, Topics::default(), &Pools::new().unwrap()).unwrap();
        let queue = Operation::CreateQueue { queue: name("mail") };
        dataset.commit(vec![queue].into()).await.unwrap();
        Self { dataset, log, bodies }
    }

    /// Sends a message to a server; gives its number.
    async fn send(&self, server: &str) -> Seq {
        self.send_to(&format!("server/{server}")).await
    }

    /// Sends a message to an endpoint; gives its number.
    async fn send_to(&self, endpoint: &str) -> Seq {
        let sent = self.dataset.store_mail(vec![letter(endpoint)].into(), Operation::Send).await;
        sent.unwrap().messages[0].seq
    }

    /// Puts all bodies into the store, and has each reader of one wait there.
    fn shut_bodies(&self) {
        self.dataset.write_snapshot(&MemorySnapshots::default()).unwrap();
        self.bodies.door.shut(true);
    }

    fn message(&self, seq: Seq) -> Message {
        self.dataset.state().mail.message(seq).unwrap()
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(LIVENESS, async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what}"));
    }

    fn close(&self) {
        self.log.shut(false);
        self.bodies.door.shut(false);
        self.dataset.close();
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn letter(to: &str) -> NewMessage {
    NewMessage {
        queue: name("mail"),
        to: to.into(),
        body: json!({}),
        id: None,
        priority: None,
        ttl_ms: None,
        not_before: None,
        sender: 0,
    }
}
