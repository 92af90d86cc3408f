//! The hub: the machines that the server runs, around a log that is a list.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use instep_model::commit::{Entry, Operation, Proposal};
use instep_model::mail::delivery::{Delivery, Event, Now, Times};
use instep_model::mail::{Mail, MailChange, MailRecord, MailRules};
use instep_model::mirror::Mirror;
use instep_model::owner::{Effect, Event as OwnerEvent, Owner, Receipt, Refusal};
use instep_model::position::{Incarnation, Revision};
use instep_model::snapshot;
use instep_model::state::State;
use uuid::Uuid;

use super::Fault;
use super::fact::{Fact, Noted};

pub(super) type Answered = (u64, Result<Receipt, Refusal>);

/// Everything that a crash takes.
pub(super) struct Hub {
    pub(super) owner: Owner<u64>,
    pub(super) delivery: Delivery,
    fault: Option<Fault>,
    flushing: Option<Bytes>,
    news: VecDeque<(u64, Arc<Mail>, Vec<MailChange>)>,
    /// Mail that the delivery has seen.
    pub(super) shown: Arc<Mail>,
    pub(super) answers: Vec<Answered>,
}

pub(super) fn rules() -> MailRules {
    MailRules { max_attempts: 3, retry_ms: 50, keep_finished: 20, ..MailRules::default() }
}

impl Hub {
    /// Comes up from a snapshot, if there is one, and the log behind it.
    pub(super) fn open(
        log: &[Bytes],
        snapshot: Option<&[u8]>,
        writer: Uuid,
        fault: Option<Fault>,
    ) -> Result<Self, String> {
        let mut state = State::default();
        if let Some(bytes) = snapshot {
            let mut reader = snapshot::Reader::default();
            reader.push(bytes).map_err(|error| error.to_string())?;
            state = reader.finish().map_err(|error| error.to_string())?;
        }
        let folded = state.applied.revision.0 as usize;
        let mut mirror = Mirror::new(Incarnation(Uuid::from_u128(1)), state);
        for (at, entry) in (1..).zip(log).skip(folded) {
            mirror.apply(Revision(at), entry).map_err(|error| error.to_string())?;
        }
        let shown = Arc::clone(&mirror.state().mail);
        let owner = Owner::new(mirror, writer).with_mail(rules());
        Ok(Self {
            owner,
            delivery: Delivery::new(Times { lease_ms: 1_000, ask_ms: 100 }),
            fault,
            flushing: None,
            news: VecDeque::new(),
            shown,
            answers: Vec::new(),
        })
    }

    pub(super) fn propose(&mut self, ticket: u64, operations: Vec<Operation>, now_ms: u64) {
        let proposal = Proposal::from(operations);
        self.owner.handle(OwnerEvent::Propose { ticket, proposal }, now_ms);
    }

    /// Lets the owner take the waiting proposals.
    pub(super) fn begin(&mut self, facts: &mut Vec<Fact>) {
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { entry, .. } => {
                    if self.fault == Some(Fault::AnswerBeforeDurable) {
                        facts.extend(accepted_too_early(&entry));
                    }
                    self.flushing = Some(entry);
                }
                Effect::Publish(changes) => {
                    let state = self.owner.state();
                    let mail = Arc::clone(&state.mail);
                    let shown = (state.applied.revision.0, mail, changes.mail);
                    self.news.push_back(shown);
                }
                Effect::Answer { ticket, answer } => self.answers.push((ticket, answer)),
                Effect::Stop { reason } => {
                    let refused = Err(Refusal::Stopped(reason));
                    self.answers.push((0, refused));
                }
            }
        }
    }

    /// Makes appended entries durable.
    pub(super) fn flush(&mut self, log: &mut Vec<Bytes>, facts: &mut Vec<Fact>, now_ms: u64) {
        if self.keep(log, facts) {
            self.owner.handle(OwnerEvent::Appended, now_ms);
            self.begin(facts);
        }
    }

    /// The entry that is being written reaches the log, if there is one.
    pub(super) fn keep(&mut self, log: &mut Vec<Bytes>, facts: &mut Vec<Fact>) -> bool {
        let Some(entry) = self.flushing.take() else { return false };
        log.push(entry.clone());
        facts.push(stored(log.len() as u64, &entry));
        true
    }

    /// The delivery hears of one entry; false when there is nothing new.
    pub(super) fn show(&mut self, drop_news: bool, facts: &mut Vec<Fact>, now_ms: u64) -> bool {
        let Some((revision, mail, changes)) = self.news.pop_front() else { return false };
        facts.push(Fact::Shown { revision });
        self.shown = mail;
        let changes = if drop_news { vec![] } else { changes };
        self.tell(Event::Changed(changes), now_ms);
        true
    }

    pub(super) fn tell(&mut self, event: Event, now_ms: u64) {
        let wall_ms = if self.fault == Some(Fault::GiveExpired) { 0 } else { now_ms };
        self.delivery.handle(event, &self.shown, Now { steady_ms: now_ms, wall_ms });
    }

    pub(super) fn snapshot(&self) -> Vec<u8> {
        let mut bytes = vec![];
        let written = snapshot::write::<()>(self.owner.state(), &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        debug_assert!(written.is_ok(), "a list takes everything");
        bytes
    }
}

fn stored(revision: u64, entry: &[u8]) -> Fact {
    let Ok(Entry { time_ms, commits, .. }) = Entry::decode(entry) else {
        return Fact::Stored { revision, time_ms: 0, commits: vec![] };
    };
    let noted = |commit: &instep_model::commit::Commit| {
        commit.records.iter().filter_map(Noted::of).collect::<Vec<_>>()
    };
    Fact::Stored { revision, time_ms, commits: commits.iter().map(noted).collect() }
}

fn accepted_too_early(entry: &[u8]) -> Vec<Fact> {
    let Fact::Stored { commits, .. } = stored(0, entry) else { return vec![] };
    let accepted = |noted| match noted {
        Noted::Mail(MailRecord::Stored { id, seq, .. }) => Some(Fact::Accepted { id, seq }),
        _ => None,
    };
    commits.into_iter().flatten().filter_map(accepted).collect()
}
