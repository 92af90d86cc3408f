//! Task that gives messages out: the shell around the delivery machine.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use instep_model::mail::delivery::{Effect, Event, Now};
use instep_model::mail::{Lease, MailOperation, RegistrationId, Seq, Status};
use instep_model::state::State;

use super::chores::Chores;
use super::settling::Unsettled;
use super::{Input, LOOK, MailHandle};
use crate::clock::now_ms;
use crate::engine::StoredBody;
use crate::mail::port::Port;
use crate::mail::told::{Delivery, Push, SharedOutbox};
use crate::sync::lock;

/// State of the task.
pub(super) struct MailTask {
    pub(super) port: Port,
    pub(super) state: Arc<State>,
    pub(super) chores: Chores,
    pub(super) unsettled: Unsettled,
    outboxes: HashMap<RegistrationId, SharedOutbox>,
}

impl MailHandle {
    /// Says what the tasks of mail do. They run as soon as there is any.
    pub(crate) fn begin(port: &Port) {
        let (giving, mut task) = (port.clone(), None);
        port.mail().driver.task().begin(move || {
            giving.mail().driver.step(|arrivals| {
                // What arrives is newer than what it begins with, or tells the same.
                let begin = || MailTask::new(giving.clone());
                task.get_or_insert_with(begin).turn(arrivals)
            })
        });
        let spilling = port.clone();
        port.mail().bodies.spiller().begin(move || spilling.mail().bodies.step());
        if !port.state().mail.is_empty() {
            port.mail().driver.task().wake();
        }
    }
}

impl MailTask {
    pub(super) fn new(port: Port) -> Self {
        let (state, chores) = (port.state(), Chores::new(Instant::now()));
        let (unsettled, outboxes) = (Unsettled::default(), HashMap::new());
        Self { port, state, chores, unsettled, outboxes }
    }

    pub(super) fn mail(&self) -> &MailHandle {
        self.port.mail()
    }

    /// Takes what has come, and does what is due. Returns the time until the next turn.
    pub(super) fn turn(&mut self, arrivals: VecDeque<Input>) -> Duration {
        for arrival in arrivals {
            self.take(arrival);
        }
        self.handle(Event::Tick);
        self.settle();
        self.do_chores();
        self.patience()
    }

    fn patience(&self) -> Duration {
        let now = self.mail().now();
        let machine = lock(&self.mail().machine).next_deadline();
        let chores = self.next_chore(now);
        let unsettled = self.unsettled.next_deadline(now);
        let due = [machine, chores, unsettled].into_iter().flatten().min();
        let due = due.map(|at| Duration::from_millis(at.saturating_sub(now)));
        due.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK)
    }

    fn take(&mut self, arrival: Input) {
        let event = match arrival {
            Input::Committed(state, changes) => {
                // One that came while the task began may be older than what it began with.
                if state.applied >= self.state.applied {
                    self.state = state;
                }
                Event::Changed(changes)
            }
            Input::Registered(event, registration, outbox) => {
                self.outboxes.insert(registration, outbox);
                event
            }
            Input::Resumed(registration, outbox) => {
                // What has not left yet, or is gone without a word, is replaced by itself.
                if let Some(before) = self.outboxes.insert(registration, outbox) {
                    before.end(Push::Replaced);
                    self.handle(Event::Left { registration });
                }
                Event::Resumed { registration }
            }
            Input::Left(registration, outbox) => {
                let known = self.outboxes.get(&registration);
                if known.is_none_or(|known| !Arc::ptr_eq(known, &outbox)) {
                    return;
                }
                self.outboxes.remove(&registration);
                Event::Left { registration }
            }
            Input::PullBegan(event, looked) => {
                self.handle(event);
                // Fails when the pull was given up meanwhile.
                let _ = looked.send(());
                return;
            }
            Input::Happened(event) => event,
        };
        let ended = match event {
            Event::PullEnded { registration, .. } => Some(registration),
            _ => None,
        };
        self.handle(event);
        if let Some(registration) = ended {
            self.take_back(registration);
        }
    }

    /// Takes back what waits for a registration whose pulls have all ended, and gives it to the
    /// next one.
    fn take_back(&mut self, registration: RegistrationId) {
        let Some(outbox) = self.outboxes.get(&registration) else { return };
        if lock(&self.mail().machine).is_there(registration) {
            return;
        }
        let back = outbox.withdraw(|told| told.seq().is_some());
        let seqs: Vec<Seq> = back.iter().filter_map(Push::seq).collect();
        if !seqs.is_empty() {
            self.handle(Event::HasNot { registration, seqs });
        }
    }

    /// Lets the machine take an event. What follows from it may wait for the disk, so a thread that
    /// asks the machine something does not wait for that.
    fn handle(&mut self, event: Event) {
        let now = Now { steady_ms: self.mail().now(), wall_ms: now_ms() };
        let mut machine = lock(&self.mail().machine);
        machine.handle(event, &self.state.mail, now);
        let effects: Vec<Effect> = std::iter::from_fn(|| machine.next_effect()).collect();
        drop(machine);
        for effect in effects {
            match effect {
                Effect::Give { registration, seqs, lease_until } => {
                    self.give(registration, &seqs, lease_until);
                }
                Effect::Ask { registration, seqs } => {
                    self.tell(registration, [Push::Ask(seqs)]);
                }
                Effect::Gone { registration, seqs } => {
                    self.withdraw(registration, seqs);
                }
                Effect::Replaced { registration } => {
                    if let Some(outbox) = self.outboxes.remove(&registration) {
                        outbox.end(Push::Replaced);
                    }
                }
                Effect::WorkerDied { registration, seqs } => {
                    for lease in self.holds(registration, seqs) {
                        self.unsettled.keep(MailOperation::WorkerDied(lease.clone()), &lease);
                    }
                }
            }
        }
    }

    fn give(&mut self, registration: RegistrationId, seqs: &[Seq], lease_until: u64) {
        let bodies = self.read_bodies(seqs);
        let mail = &self.state.mail;
        let (mut told, mut damaged) = (vec![], vec![]);
        for (seq, body) in seqs.iter().zip(bodies) {
            let Some(message) = mail.message(*seq) else { continue };
            let body = match body {
                Some(StoredBody::Whole(body)) => body,
                Some(StoredBody::Missing | StoredBody::Damaged) => {
                    // It may have ended since it was chosen.
                    damaged.extend(is_pending(&self.port.state(), *seq).then_some(*seq));
                    continue;
                }
                // It is asked about when its lease ends, and given again.
                None => continue,
            };
            told.push(Push::Message(Box::new(Delivery {
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
        self.tell(registration, told);
        if !damaged.is_empty() {
            self.reject(registration, damaged);
        }
    }

    /// Makes messages whose bodies are damaged dead letters.
    fn reject(&mut self, of: RegistrationId, damaged: Vec<Seq>) {
        self.mail().damaged.fetch_add(damaged.len() as u64, Ordering::Relaxed);
        tracing::error!(
            dataset = %self.port.name(), ?damaged, "bodies of messages are damaged"
        );
        for lease in self.holds(of, damaged) {
            let reason = "damaged: its body on disk is not what was stored".into();
            self.unsettled.keep(MailOperation::Reject { lease: lease.clone(), reason }, &lease);
        }
    }

    fn holds(&self, registration: RegistrationId, seqs: Vec<Seq>) -> Vec<Lease> {
        // A server that has been given a message is known.
        let RegistrationId { server, generation } = registration;
        let Some(server) = self.state.mail.server(server) else { return vec![] };
        let lease = |seq| Lease { server: Arc::clone(&server.server), generation, seq };
        seqs.into_iter().map(lease).collect()
    }

    /// Bodies of messages. One that cannot be read now holds up no other.
    fn read_bodies(&self, seqs: &[Seq]) -> Vec<Option<StoredBody>> {
        let bodies = &self.mail().bodies;
        if let Ok(bodies) = bodies.read(seqs) {
            return bodies.into_iter().map(Some).collect();
        }
        let read = |seq: &Seq| match bodies.read(&[*seq]) {
            Ok(mut bodies) => bodies.pop(),
            Err(error) => {
                let dataset = self.port.name();
                tracing::warn!(%dataset, seq = seq.0, %error, "a body cannot be read");
                None
            }
        };
        seqs.iter().map(read).collect()
    }

    /// Takes messages from a registration: it is told of those that it has fetched.
    fn withdraw(&self, registration: RegistrationId, mut seqs: Vec<Seq>) {
        let Some(outbox) = self.outboxes.get(&registration) else { return };
        let gone: BTreeSet<Seq> = seqs.iter().copied().collect();
        let is_gone = |told: &Push| told.seq().is_some_and(|seq| gone.contains(&seq));
        let unread: BTreeSet<Seq> = outbox.withdraw(is_gone).iter().filter_map(Push::seq).collect();
        seqs.retain(|seq| !unread.contains(seq));
        if !seqs.is_empty() {
            outbox.tell([Push::Gone(seqs)]);
        }
    }

    /// Tells a registration something, if it is there.
    fn tell(&self, registration: RegistrationId, told: impl IntoIterator<Item = Push>) {
        if let Some(outbox) = self.outboxes.get(&registration) {
            outbox.tell(told);
        }
    }
}

fn is_pending(state: &State, seq: Seq) -> bool {
    state.mail.message(seq).is_some_and(|message| message.status == Status::Pending)
}
