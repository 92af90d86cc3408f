//! Mail of one dataset: what its owner and its servers hand over to the task that gives messages
//! out, and what others read of that.

mod chores;
mod settling;
mod task;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use instep_model::limits;
use instep_model::mail::delivery::{Counts, Delivery as Machine, Event};
use instep_model::mail::{MailChange, RegistrationId, Seq, ServerNo};
use instep_model::state::State;
use tokio::sync::oneshot;

use super::bodies::Bodies;
use super::told::{Delivery, SharedOutbox};
use super::{MailError, MailOptions};
use crate::clock::now_ms;
use crate::driver::Driver;
use crate::engine::BodyStore;
use crate::pool::Task;
use crate::quota::{Most, Permit, Quota};
use crate::sync::lock;

/// Interval of looking for alarms and silent pullers.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes of an event besides the numbers of its messages.
const EVENT: usize = 64;
/// Events of one registration that wait.
const OF_ONE: Most =
    Most { events: limits::MAIL_EVENTS_OF_ONE, bytes: limits::MAIL_EVENT_BYTES_OF_ONE };
/// Events of all registrations that wait.
const OF_ALL: Most = Most { events: limits::MAIL_EVENTS, bytes: limits::MAIL_EVENT_BYTES };
/// Registrations that wait to begin.
const BEGINNING: Most = Most { events: limits::MAIL_REGISTRATIONS_WAITING, bytes: usize::MAX };

/// The mail of one dataset on this node.
pub(crate) struct MailHandle {
    pub(crate) bodies: Bodies,
    pub(crate) options: MailOptions,
    driver: Driver<Input>,
    events: Arc<Quota>,
    beginning: Arc<Quota>,
    /// Flag: too many failures wait to be counted, no server may begin with more messages.
    is_behind: AtomicBool,
    machine: Mutex<Machine>,
    damaged: AtomicU64,
    fenced: AtomicU64,
    began: (Instant, u64),
}

enum Input {
    Committed(Arc<State>, Vec<MailChange>),
    Registered(Event, RegistrationId, SharedOutbox),
    Resumed(RegistrationId, SharedOutbox),
    Left(RegistrationId, SharedOutbox),
    /// The beginning of a pull; its sender is told when what was there for it is given.
    PullBegan(Event, oneshot::Sender<()>),
    Happened(Event),
}

impl MailHandle {
    /// The mail of a dataset: `giving` gives it out, `spilling` puts bodies to the disk, and `care`
    /// is woken when their store needs some.
    pub(crate) fn new(
        store: Arc<dyn BodyStore>,
        options: MailOptions,
        (giving, spilling): (Task, Task),
        care: &Task,
    ) -> Self {
        Self {
            bodies: Bodies::new(store, spilling, care.clone()),
            machine: Mutex::new(Machine::new(options.times)),
            options,
            driver: Driver::new(limits::MAIL_QUEUE_ENTRIES, giving),
            events: Quota::new(OF_ALL),
            beginning: Quota::new(BEGINNING),
            is_behind: AtomicBool::new(false),
            damaged: AtomicU64::new(0),
            fenced: AtomicU64::new(0),
            began: (Instant::now(), now_ms()),
        }
    }

    /// Waits until the tasks have ended that [`MailHandle::close`] ends.
    pub(crate) fn join(&self) {
        self.driver.task().join();
        self.bodies.spiller().join();
    }

    /// The tasks: that which gives messages out, and that which puts bodies to the disk.
    pub(crate) fn tasks(&self) -> (&Task, &Task) {
        (self.driver.task(), self.bodies.spiller())
    }

    /// Fault that is being retried, or that has ended the giving until a restart, if there is one.
    pub(crate) fn degraded(&self) -> Option<String> {
        let broken = self.driver.is_broken().then(|| "mail is not given out any more".to_owned());
        broken.or_else(|| self.bodies.degraded())
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

    /// Takes bodies in before their messages can be read.
    pub(crate) fn keep(&self, changes: &[MailChange]) {
        for change in changes {
            if let MailChange::Stored { seq, body } = change {
                self.bodies.put(*seq, body.clone());
            }
        }
    }

    /// Forgets the bodies of messages that all readers see to have ended: one that finds none in
    /// its place looks once more whether that is damage.
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
                MailChange::Ready(_)
                | MailChange::Withdrawn { .. }
                | MailChange::Forgotten { .. } => true,
                MailChange::Stored { .. } | MailChange::BodyEnded { .. } => false,
            })
            .collect();
        self.driver.put_entry(Input::Committed(state, changes));
        self.bodies.wait_for_room();
    }

    /// True when [`MailHandle::committed`] takes one more entry without a wait.
    pub(crate) fn has_room(&self) -> bool {
        self.driver.has_room() && self.bodies.has_room()
    }

    /// Quota of the events of one registration.
    pub(super) fn quota(&self) -> Arc<Quota> {
        self.events.part(OF_ONE)
    }

    /// Permits another registration to begin.
    ///
    /// # Errors
    /// [`MailError::Busy`]; nothing has happened then.
    pub(super) fn permit_to_begin(&self) -> Result<Permit, MailError> {
        self.beginning.permit(0).ok_or(MailError::Busy)
    }

    /// Permits an event about so many messages, of a registration that is known by its quota.
    ///
    /// # Errors
    /// [`MailError::Busy`]; nothing has happened then.
    pub(super) fn permit(
        &self,
        of: Option<&Arc<Quota>>,
        messages: usize,
    ) -> Result<Permit, MailError> {
        let bytes = EVENT + size_of::<Seq>() * messages;
        of.unwrap_or(&self.events).permit(bytes).ok_or(MailError::Busy)
    }

    /// Permits a server to say that it begins with messages: each may be a failure to be counted.
    ///
    /// # Errors
    /// [`MailError::Busy`] while so many wait for the owner that there is no room for more.
    pub(super) fn permit_work(&self) -> Result<(), MailError> {
        if self.is_behind.load(Ordering::Relaxed) { Err(MailError::Busy) } else { Ok(()) }
    }

    pub(super) fn registered(
        &self,
        registration: RegistrationId,
        (credit, have): (usize, Option<Vec<Seq>>),
        outbox: SharedOutbox,
        permit: Permit,
    ) {
        let event = Event::Registered { registration, credit, have };
        let arrival = Input::Registered(event, registration, outbox);
        self.driver.put(arrival, Some(permit));
    }

    pub(super) fn resumed(
        &self,
        registration: RegistrationId,
        outbox: SharedOutbox,
        permit: Permit,
    ) {
        self.driver.put(Input::Resumed(registration, outbox), Some(permit));
    }

    /// Takes the end of a registration. It needs no permit: each has one end.
    pub(super) fn left(&self, registration: RegistrationId, outbox: SharedOutbox) {
        self.driver.put(Input::Left(registration, outbox), None);
    }

    pub(super) fn pull_began(&self, event: Event, looked: oneshot::Sender<()>, permit: Permit) {
        self.driver.put(Input::PullBegan(event, looked), Some(permit));
    }

    pub(super) fn happened(&self, event: Event, permit: Option<Permit>) {
        self.driver.put(Input::Happened(event), permit);
    }

    /// Ends the tasks.
    pub(crate) fn close(&self) {
        self.driver.close();
        self.bodies.close();
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

    pub(crate) fn is_registered(&self, server: ServerNo) -> bool {
        lock(&self.machine).is_registered(server)
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.machine).counts()
    }
}
