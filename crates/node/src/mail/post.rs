//! The task that gives messages out: a shell around the delivery machine.

mod chores;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use instep_model::commit::{Operation, Proposal};
use instep_model::limits;
use instep_model::mail::delivery::{Counts, Delivery as Machine, Effect, Event, Now};
use instep_model::mail::{Hold, MailChange, MailOperation, Status};
use instep_model::owner::{Receipt, Refusal};
use instep_model::state::State;
use tokio::sync::oneshot;

use self::chores::Chores;
use super::MailOptions;
use super::bodies::Bodies;
use super::outbox::{Delivery, SharedOutbox, Told};
use super::pulling::Pulls;
use crate::dataset::{Dataset, now_ms};
use crate::engine::{BodyStore, StoredBody};
use crate::pool::{Step, Task};
use crate::topics::lock;

/// After a refusal, the next try comes later.
const AGAIN: Duration = Duration::from_secs(1);
/// Interval of looking for alarms and silent pullers.
const LOOK: Duration = Duration::from_secs(5);

/// The mail of one dataset on this node.
pub(crate) struct Post {
    pub(crate) bodies: Bodies,
    pub(super) pulls: Pulls,
    pub(crate) options: MailOptions,
    inbox: Mutex<Inbox>,
    task: Task,
    taken: Condvar,
    desk: Mutex<Desk>,
    damaged: AtomicU64,
    fenced: AtomicU64,
    began: (Instant, u64),
}

#[derive(Default)]
struct Inbox {
    arrivals: VecDeque<Arrival>,
    closed: bool,
}

enum Arrival {
    Committed(Arc<State>, Vec<MailChange>),
    Registered(Event, u32, u64, SharedOutbox),
    Resumed(u32, u64, SharedOutbox),
    Left(u32, u64, SharedOutbox),
    Happened(Event),
}

struct Desk {
    machine: Machine,
    state: Arc<State>,
    outboxes: HashMap<u32, (u64, SharedOutbox)>,
}

impl Desk {
    /// A server is forgotten: whoever came back for it at that very moment registers again.
    fn forget(&mut self, change: &MailChange) {
        if let MailChange::Forgotten { server, generation } = change
            && self.outboxes.get(server).is_some_and(|(known, _)| known <= generation)
            && let Some((_, outbox)) = self.outboxes.remove(server)
        {
            outbox.tell([Told::Replaced]);
        }
    }
}

impl Post {
    /// The mail of a dataset: `giving` gives it out, `spilling` puts bodies to the disk, and `care`
    /// is woken when their store needs some.
    pub(crate) fn new(
        store: Arc<dyn BodyStore>,
        options: MailOptions,
        (giving, spilling): (Task, Task),
        care: &Task,
    ) -> Self {
        let machine = Machine::new(options.times);
        let desk = Desk { machine, state: Arc::default(), outboxes: HashMap::new() };
        Self {
            bodies: Bodies::new(store, spilling, care.clone()),
            pulls: Pulls::default(),
            options,
            inbox: Mutex::default(),
            task: giving,
            taken: Condvar::new(),
            desk: Mutex::new(desk),
            damaged: AtomicU64::new(0),
            fenced: AtomicU64::new(0),
            began: (Instant::now(), now_ms()),
        }
    }

    /// Says what the tasks of mail do. They run as soon as there is any.
    pub(crate) fn begin(&self, dataset: &Dataset) {
        let (giving, mut chores) = (dataset.clone(), None);
        self.task.begin(move || giving.post().step(&giving, &mut chores));
        let spilling = dataset.clone();
        self.bodies.spiller().begin(move || spilling.post().bodies.step());
        if !dataset.state().mail.is_empty() {
            self.task.wake();
        }
    }

    /// Waits until the tasks have ended that [`Post::close`] ends.
    pub(crate) fn join(&self) {
        self.task.join();
        self.bodies.spiller().join();
    }

    /// Fault that is being retried, if there is one.
    pub(crate) fn degraded(&self) -> Option<String> {
        self.bodies.degraded()
    }

    /// Bodies that are not what was stored, so far.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Answers that came too late because another registration had taken over, so far.
    pub(crate) fn fenced(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    pub(super) fn note_fenced(&self, count: u64) {
        self.fenced.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes bodies in before anybody can read their messages.
    pub(crate) fn keep(&self, changes: &[MailChange]) {
        for change in changes {
            if let MailChange::Stored { seq, body } = change {
                self.bodies.put(*seq, body.clone());
            }
        }
    }

    /// Forgets the bodies of messages that everybody can see to have ended: who finds none in its
    /// place looks once more whether that is damage.
    pub(crate) fn forget(&self, changes: &[MailChange]) {
        for change in changes {
            if let MailChange::BodyEnded { seq } = change {
                self.bodies.end(*seq);
            }
        }
    }

    /// Hands over what an entry changed. Waits while far too much is to be given out.
    pub(crate) fn committed(&self, state: Arc<State>, changes: Vec<MailChange>) {
        self.forget(&changes);
        let changes: Vec<MailChange> = changes
            .into_iter()
            .filter(|change| match change {
                MailChange::Ready(_) | MailChange::Off { .. } | MailChange::Forgotten { .. } => {
                    true
                }
                MailChange::Stored { .. } | MailChange::BodyEnded { .. } => false,
            })
            .collect();
        self.put(Arrival::Committed(state, changes), true);
        self.bodies.wait_for_room();
    }

    /// True when [`Post::committed`] takes one more entry without a wait.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.inbox).arrivals.len() < limits::MAIL_QUEUE_ENTRIES && self.bodies.has_room()
    }

    pub(super) fn registered(
        &self,
        (server, generation): (u32, u64),
        credit: usize,
        have: Option<Vec<u64>>,
        outbox: SharedOutbox,
    ) {
        let event = Event::Registered { server, generation, credit, have };
        self.put(Arrival::Registered(event, server, generation, outbox), false);
    }

    pub(super) fn resumed(&self, (server, generation): (u32, u64), outbox: SharedOutbox) {
        self.put(Arrival::Resumed(server, generation, outbox), false);
    }

    pub(super) fn left(&self, (server, generation): (u32, u64), outbox: SharedOutbox) {
        self.put(Arrival::Left(server, generation, outbox), false);
    }

    pub(super) fn happened(&self, event: Event) {
        self.put(Arrival::Happened(event), false);
    }

    fn put(&self, arrival: Arrival, waits: bool) {
        let mut inbox = lock(&self.inbox);
        while waits && inbox.arrivals.len() >= limits::MAIL_QUEUE_ENTRIES && !inbox.closed {
            let waited = self.taken.wait_timeout(inbox, AGAIN);
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inbox.arrivals.push_back(arrival);
        drop(inbox);
        self.task.wake();
    }

    /// Ends the tasks.
    pub(crate) fn close(&self) {
        lock(&self.inbox).closed = true;
        self.task.wake();
        self.taken.notify_all();
        self.bodies.close();
        self.pulls.clear();
    }

    /// Milliseconds since 1970, as they were at the start and have passed since: a clock that is
    /// set moves no lease.
    fn now(&self) -> u64 {
        let (began, wall) = self.began;
        wall + u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Sets the lease of a message that is written to its server now.
    pub(super) fn date(&self, delivery: &mut Delivery) {
        delivery.lease_ms = delivery.lease_until.saturating_sub(self.now());
        delivery.lease_until = now_ms().saturating_add(delivery.lease_ms);
    }

    /// Returns how many messages a registration was given and did not confirm.
    pub(super) fn in_hand(&self, server: u32, generation: u64) -> usize {
        lock(&self.desk).machine.in_hand(server, generation)
    }

    pub(crate) fn is_registered(&self, server: u32) -> bool {
        lock(&self.desk).machine.is_registered(server)
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.desk).machine.counts()
    }

    /// Works on what has arrived and what is due, until the dataset is closed.
    fn step(&self, dataset: &Dataset, chores: &mut Option<Chores>) -> Step {
        let Some(arrivals) = self.arrived() else { return Step::Ended };
        let chores = chores.get_or_insert_with(|| {
            // What arrives is newer, or tells the same.
            lock(&self.desk).state = dataset.state();
            Chores::new(Instant::now())
        });
        self.taken.notify_all();
        for arrival in arrivals {
            self.take(arrival, dataset);
        }
        self.do_chores(chores, dataset);
        let deadline = lock(&self.desk).machine.next_deadline();
        let due = deadline.map(|at| Duration::from_millis(at.saturating_sub(self.now())));
        let due = Instant::now() + due.unwrap_or(LOOK).max(Duration::from_millis(1));
        Step::At(due.min(chores.tend_at))
    }

    /// Takes what has arrived; none when the dataset is closed.
    fn arrived(&self) -> Option<VecDeque<Arrival>> {
        let mut inbox = lock(&self.inbox);
        match inbox.closed {
            true => None,
            false => Some(std::mem::take(&mut inbox.arrivals)),
        }
    }

    fn take(&self, arrival: Arrival, dataset: &Dataset) {
        let mut desk = lock(&self.desk);
        let event = match arrival {
            Arrival::Committed(state, changes) => {
                // One that came while the task began may be older than what it began with.
                if state.applied >= desk.state.applied {
                    desk.state = state;
                    changes.iter().for_each(|change| desk.forget(change));
                }
                Event::Changed(changes)
            }
            Arrival::Registered(event, server, generation, outbox) => {
                let newer = desk.outboxes.get(&server).is_none_or(|(known, _)| *known < generation);
                if !newer {
                    outbox.tell([Told::Replaced]);
                } else if let Some((_, before)) = desk.outboxes.insert(server, (generation, outbox))
                {
                    before.tell([Told::Replaced]);
                }
                event
            }
            Arrival::Resumed(server, generation, outbox) => {
                if desk.outboxes.get(&server).is_some_and(|(known, _)| *known >= generation) {
                    // It is somebody else's, who is there.
                    outbox.tell([Told::Replaced]);
                    return;
                }
                desk.outboxes.insert(server, (generation, outbox));
                Event::Resumed { server, generation }
            }
            Arrival::Left(server, generation, outbox) => {
                let known = desk.outboxes.get(&server);
                if known.is_none_or(|(_, known)| !Arc::ptr_eq(known, &outbox)) {
                    return;
                }
                desk.outboxes.remove(&server);
                Event::Left { server, generation }
            }
            Arrival::Happened(event) => event,
        };
        let ended = match event {
            Event::PullEnded { server, generation, .. } => Some((server, generation)),
            _ => None,
        };
        self.handle(&mut desk, event, dataset);
        if let Some((server, generation)) = ended {
            self.take_back(&mut desk, (server, generation), dataset);
        }
    }

    /// Takes back what waits for a registration whose pulls have all ended, and gives it to the
    /// next one.
    fn take_back(&self, desk: &mut Desk, (server, generation): (u32, u64), dataset: &Dataset) {
        let Some((known, outbox)) = desk.outboxes.get(&server) else { return };
        if *known != generation || desk.machine.is_there(server, generation) {
            return;
        }
        let seqs = outbox.take_back();
        if !seqs.is_empty() {
            self.handle(desk, Event::HasNot { server, generation, seqs }, dataset);
        }
    }

    fn handle(&self, desk: &mut Desk, event: Event, dataset: &Dataset) {
        let Desk { machine, state, .. } = desk;
        let now = Now { steady_ms: self.now(), wall_ms: now_ms() };
        machine.handle(event, &state.mail, now);
        while let Some(effect) = desk.machine.next_effect() {
            match effect {
                Effect::Give { server, generation, seqs, lease_until } => {
                    self.give(desk, (server, generation), &seqs, lease_until, dataset);
                }
                Effect::Ask { server, generation, seqs } => {
                    tell(desk, (server, generation), [Told::Ask(seqs)]);
                }
                Effect::Gone { server, generation, seqs } => {
                    tell(desk, (server, generation), [Told::Gone(seqs)]);
                }
                Effect::Broke { server, generation, seqs } => {
                    let name = name_of(desk, server);
                    let broke = seqs.into_iter().map(|seq| {
                        MailOperation::Broke(Hold { server: name.clone(), generation, seq })
                    });
                    drop(propose(dataset, broke));
                }
            }
        }
    }

    fn give(
        &self,
        desk: &Desk,
        (server, generation): (u32, u64),
        seqs: &[u64],
        lease_until: u64,
        dataset: &Dataset,
    ) {
        let bodies = self.read_bodies(seqs, dataset);
        let mail = &desk.state.mail;
        let (mut told, mut damaged) = (vec![], vec![]);
        for (seq, body) in seqs.iter().zip(bodies) {
            let Some(message) = mail.message(*seq) else { continue };
            let body = match body {
                Some(StoredBody::Whole(body)) => body,
                Some(StoredBody::Missing | StoredBody::Damaged) => {
                    // It may have ended since it was chosen.
                    damaged.extend(is_pending(&dataset.state(), *seq).then_some(*seq));
                    continue;
                }
                // It is asked about when its lease ends, and given again.
                None => continue,
            };
            told.push(Told::Message(Box::new(Delivery {
                seq: *seq,
                id: message.id.to_string(),
                queue: mail.queue_name(message.queue).to_owned(),
                to: mail.endpoint(message.endpoint).to_owned(),
                route: message.generation,
                attempt: u32::from(message.attempts) + 1,
                lease_until,
                lease_ms: 0,
                body,
            })));
        }
        tell(desk, (server, generation), told);
        if !damaged.is_empty() {
            self.damaged.fetch_add(damaged.len() as u64, Ordering::Relaxed);
            tracing::error!(dataset = %dataset.name(), ?damaged, "bodies of messages are damaged");
            let name = name_of(desk, server);
            let reject = damaged.into_iter().map(|seq| MailOperation::Reject {
                hold: Hold { server: name.clone(), generation, seq },
                reason: "damaged: its body on disk is not what was stored".into(),
            });
            drop(propose(dataset, reject));
        }
    }

    /// Bodies of messages. One that cannot be read now holds up no other.
    fn read_bodies(&self, seqs: &[u64], dataset: &Dataset) -> Vec<Option<StoredBody>> {
        if let Ok(bodies) = self.bodies.read(seqs) {
            return bodies.into_iter().map(Some).collect();
        }
        let read = |seq: &u64| match self.bodies.read(&[*seq]) {
            Ok(mut bodies) => bodies.pop(),
            Err(error) => {
                tracing::warn!(dataset = %dataset.name(), seq, %error, "a body cannot be read");
                None
            }
        };
        seqs.iter().map(read).collect()
    }
}

fn is_pending(state: &State, seq: u64) -> bool {
    state.mail.message(seq).is_some_and(|message| message.status == Status::Pending)
}

/// Tells a registration something, unless another one has taken over.
fn tell(desk: &Desk, (server, generation): (u32, u64), told: impl IntoIterator<Item = Told>) {
    if let Some((newest, outbox)) = desk.outboxes.get(&server)
        && *newest == generation
    {
        outbox.tell(told);
    }
}

fn name_of(desk: &Desk, server: u32) -> Arc<str> {
    desk.state.mail.server(server).map_or_else(|| "".into(), |server| Arc::clone(&server.server))
}

/// Proposes what the house itself does; none when that is refused at once.
fn propose(
    dataset: &Dataset,
    operations: impl IntoIterator<Item = MailOperation>,
) -> Option<oneshot::Receiver<Result<Receipt, Refusal>>> {
    let operations: Vec<_> = operations.into_iter().map(Operation::Mail).collect();
    dataset.propose(Proposal::from(operations)).ok()
}
