//! Proposals of the dataset itself: one is under way at a time, and comes again behind a back-off
//! until the owner has taken it.
//!
//! Failures that are to be counted (I35) and damaged messages are kept here meanwhile, each once: a
//! registration fails a message at most once. A server may begin with no more messages while
//! [`limits::MAIL_UNSETTLED`] of them wait, so that their number is bounded by that and by what is
//! given.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use instep_model::backoff::Backoff;
use instep_model::commit::{Operation, Proposal, digest};
use instep_model::limits;
use instep_model::mail::{Lease, MailOperation, Seq, Status};
use instep_model::owner::Receipt;
use instep_model::registration::Generation;
use instep_model::state::State;
use instep_model::sweep::{Outcome, Sweep};
use tokio::sync::oneshot;

use super::task::MailTask;
use crate::mail::port::{Port, Proposed};

/// Interval of looking for the answer to a proposal.
const ANSWER_MS: u64 = limits::MAIL_TEND_MS;
/// Waits behind refusals.
const BACKOFF: Backoff =
    Backoff { first_ms: limits::MAIL_REFUSED_MS, most_ms: limits::MAIL_REFUSED_MS_MOST };

/// A sweep, and the answer that it waits for.
pub(super) struct Sweeping {
    sweep: Sweep,
    answer: Option<Proposed>,
}

impl Sweeping {
    pub(super) fn new(every_ms: u64) -> Self {
        Self { sweep: Sweep::new(every_ms, BACKOFF), answer: None }
    }

    /// Takes the answer to what was proposed, if it has come: the receipt, unless it was refused.
    /// `is_partial` says of a receipt whether there is more to do.
    pub(super) fn end(
        &mut self,
        (port, now_ms): (&Port, u64),
        is_partial: impl FnOnce(&Receipt) -> bool,
    ) -> Option<Receipt> {
        let answer = match self.answer.as_mut()?.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => None,
            Ok(answer) => answer.ok(),
        };
        self.answer = None;
        let outcome = match &answer {
            None => Outcome::Refused { jitter: jitter(port, now_ms) },
            Some(receipt) if is_partial(receipt) => Outcome::Partial,
            Some(_) => Outcome::Done,
        };
        self.sweep.ended(outcome, now_ms);
        answer
    }

    /// Proposes the operations that are due, if it is time for them.
    pub(super) fn begin(
        &mut self,
        (port, now_ms): (&Port, u64),
        due: impl FnOnce() -> Vec<MailOperation>,
    ) {
        let mut operations = vec![];
        let begins = self.sweep.begins(now_ms, || {
            operations = due();
            !operations.is_empty()
        });
        if !begins {
            return;
        }
        let operations: Vec<_> = operations.into_iter().map(Operation::Mail).collect();
        match port.propose(Proposal::from(operations)) {
            Ok(answer) => self.answer = Some(answer),
            Err(_) => {
                let jitter = jitter(port, now_ms);
                self.sweep.ended(Outcome::Refused { jitter }, now_ms);
            }
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.answer.is_some()
    }

    pub(super) fn next_deadline(&self, now_ms: u64) -> u64 {
        self.sweep.next_deadline().unwrap_or(now_ms.saturating_add(ANSWER_MS))
    }
}

/// Jitter of a dataset: those that are refused by the same disk come back one after the other.
fn jitter(port: &Port, now_ms: u64) -> u64 {
    digest(&[port.name().as_str().as_bytes(), &now_ms.to_le_bytes()].concat())
}

/// Operations on messages that the owner has not settled, by message and generation.
pub(super) struct Unsettled {
    waiting: BTreeMap<(Seq, Generation), MailOperation>,
    proposed: Vec<(Seq, Generation)>,
    sweeping: Sweeping,
}

impl Default for Unsettled {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), proposed: vec![], sweeping: Sweeping::new(0) }
    }
}

impl Unsettled {
    pub(super) fn keep(&mut self, operation: MailOperation, lease: &Lease) {
        self.waiting.insert((lease.seq, lease.generation), operation);
    }

    pub(super) fn next_deadline(&self, now_ms: u64) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| self.sweeping.next_deadline(now_ms))
    }

    fn settle(&mut self, port: &Port, now_ms: u64) {
        if self.sweeping.end((port, now_ms), |_| true).is_some() {
            for settled in self.proposed.drain(..) {
                self.waiting.remove(&settled);
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        let Self { waiting, proposed, sweeping } = self;
        sweeping.begin((port, now_ms), || {
            let state = port.state();
            waiting.retain(|(seq, _), operation| !is_moot(&state, *seq, operation));
            let some = waiting.iter().take(limits::MAIL_PUSH);
            let (keys, operations) = some.map(|(key, operation)| (*key, operation.clone())).unzip();
            *proposed = keys;
            operations
        });
    }
}

/// True when nothing would come of an operation: the message has ended, or is another server's.
fn is_moot(state: &State, seq: Seq, operation: &MailOperation) -> bool {
    let message = state.mail.message(seq).filter(|message| message.status == Status::Pending);
    let server = message.and_then(|message| state.mail.server(message.server));
    server.is_none_or(|server| match operation {
        MailOperation::Reject { lease, .. } => {
            (&server.server, server.generation) != (&lease.server, lease.generation)
        }
        operation => operation.lease().is_none_or(|lease| server.server != lease.server),
    })
}

impl MailTask {
    /// Proposes what is not settled.
    pub(super) fn settle(&mut self) {
        let now_ms = self.mail().now();
        self.unsettled.settle(&self.port, now_ms);
        let is_behind = self.unsettled.waiting.len() >= limits::MAIL_UNSETTLED;
        self.mail().is_behind.store(is_behind, Ordering::Relaxed);
    }
}
