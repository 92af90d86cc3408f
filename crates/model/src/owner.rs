//! The owner of a dataset: turns proposals into records, in order, in batches.
//!
//! | state | proposal arrives | append succeeded | append failed |
//! | --- | --- | --- | --- |
//! | idle | waits for the shell | – | – |
//! | flushing | waits for the batch | folds, publishes, answers; idle | idle, or stopped |
//! | stopped | refused `stopped` | – | – |
//!
//! The shell hands over everything that is waiting, then drains effects: what arrives during a
//! flush is the next batch. A batch ends where its entry would be larger than the log takes; only a
//! commit that is too large by itself is refused for it. An answer that depends on the open batch,
//! a refusal included, leaves only when the batch is durable. Memory changes only by folding the
//! entry that was appended.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

use crate::commit::{Commit, CommitId, EntryHead, Proposal};
use crate::expression::Meter;
use crate::ids::Lookup;
use crate::limits;
use crate::log::AppendError;
use crate::mail::MailRules;
use crate::mirror::{EntryChanges, Mirror};
use crate::position::{Place, Position, Revision};
use crate::state::State;

mod answer;
mod evaluation;
mod refusal;
#[cfg(test)]
mod tests;

pub use answer::{ANSWER_FORMAT, Answer, Receipt, decode_answer, encode_answer};
use evaluation::{Context, Overlay};
pub use refusal::{Excess, JsonType, Refusal};

/// Event of an owner: its input. `T` is whatever the shell answers a proposal by.
#[derive(Debug)]
pub enum Event<T> {
    /// Proposal of a commit.
    Propose {
        /// Ticket by which the proposal is answered.
        ticket: T,
        /// The commit.
        proposal: Proposal,
    },
    /// The append that was asked for is durable.
    Appended,
    /// The append that was asked for did not succeed.
    AppendFailed(AppendError),
}

/// Effect of an owner: an action for its shell.
#[derive(Debug)]
pub enum Effect<T> {
    /// Append this entry; answer with [`Event::Appended`] or [`Event::AppendFailed`].
    Append {
        /// The head that the entry follows.
        expected: Revision,
        /// The entry.
        entry: Bytes,
    },
    /// The state has moved: show it to readers and views, before the answers that follow.
    Publish(EntryChanges),
    /// Answer a proposal.
    Answer {
        /// Ticket of the proposal.
        ticket: T,
        /// Receipt or refusal.
        answer: Answer,
    },
    /// The dataset has stopped (law 8); every later proposal is refused.
    Stop {
        /// Reason, for the operator.
        reason: String,
    },
}

/// The owner of one dataset.
pub struct Owner<T> {
    mirror: Mirror,
    writer: Uuid,
    sequence: u64,
    rules: MailRules,
    /// Bytes of the largest entry that the log takes.
    largest_entry: usize,
    now_ms: u64,
    waiting: VecDeque<(T, Proposal)>,
    flushing: Option<Flush<T>>,
    effects: VecDeque<Effect<T>>,
    stopped: Option<String>,
    /// Memory for the next entry, and for its commits.
    memory: Vec<u8>,
    body: Vec<u8>,
}

/// A batch whose entry is being appended.
struct Flush<T> {
    entry: Bytes,
    answers: Vec<(T, Answer)>,
}

/// A batch that is being built.
#[derive(Default)]
struct Batch {
    commits: usize,
    /// The commits as the entry will have them.
    body: Vec<u8>,
    /// Steps that conditions took.
    steps: u64,
    overlay: Overlay,
    ids: BTreeMap<(String, Uuid), (u64, Receipt)>,
}

/// Outcome of judging a proposal.
enum Judged {
    Answered(Answer),
    /// There is no room for it beside the others: it begins the next batch.
    Postponed(Proposal),
}

impl Batch {
    fn is_full(&self) -> bool {
        self.commits >= limits::ENTRY_COMMITS
            || self.body.len() >= limits::ENTRY_BYTES
            || self.steps >= limits::EXPRESSION_STEPS
    }

    /// Returns true if one commit more could become too large for an entry of so many bytes.
    fn may_overflow(&self, largest_entry: usize) -> bool {
        self.body.len() + limits::COMMIT_STORED_BYTES + EntryHead::BYTES_MOST > largest_entry
    }

    /// Adds a commit if the entry stays within its limit.
    fn push(&mut self, commit: &Commit, largest_entry: usize) -> Result<(), Refusal> {
        let before = self.body.len();
        self.body = commit.encode_behind(std::mem::take(&mut self.body));
        let bytes = self.body.len() + EntryHead::BYTES_MOST;
        if bytes > largest_entry {
            self.body.truncate(before);
            let excess = Excess::Entry;
            return Err(Refusal::CommitTooLarge { excess, bytes, limit: largest_entry });
        }
        self.commits += 1;
        Ok(())
    }
}

impl<T> Owner<T> {
    /// An owner of the dataset whose log `mirror` has read to its end. `writer` is fresh for every
    /// owner.
    #[must_use]
    pub fn new(mirror: Mirror, writer: Uuid) -> Self {
        Self {
            mirror,
            writer,
            sequence: 0,
            rules: MailRules::default(),
            largest_entry: limits::LOG_FRAME_BYTES,
            now_ms: 0,
            waiting: VecDeque::new(),
            flushing: None,
            effects: VecDeque::new(),
            stopped: None,
            memory: vec![],
            body: vec![],
        }
    }

    /// The same with other rules for mail.
    #[must_use]
    pub fn with_mail(self, rules: MailRules) -> Self {
        Self { rules, ..self }
    }

    /// The same for a log that takes entries of so many bytes, [`crate::log::Log::largest_entry`].
    #[must_use]
    pub fn with_largest_entry(self, largest_entry: usize) -> Self {
        Self { largest_entry, ..self }
    }

    /// Returns the state that the log adds up to, as far as it is durable.
    #[must_use]
    pub fn state(&self) -> &State {
        self.mirror.state()
    }

    /// Takes an event at `now_ms`, milliseconds since 1970, as the clock says it. Order is what
    /// revisions are for: a clock that was wrong once must not be believed for longer than it was.
    pub fn handle(&mut self, event: Event<T>, now_ms: u64) {
        self.now_ms = now_ms;
        match event {
            Event::Propose { ticket, proposal } => self.waiting.push_back((ticket, proposal)),
            Event::Appended => self.appended(),
            Event::AppendFailed(error) => self.append_failed(error),
        }
    }

    /// The next thing to do. The shell drains this to `None` before the next event, except that
    /// proposals may be handed over in a row.
    pub fn next_effect(&mut self) -> Option<Effect<T>> {
        if self.effects.is_empty() && self.flushing.is_none() {
            self.build_batch();
        }
        self.effects.pop_front()
    }

    fn build_batch(&mut self) {
        let mut batch = Batch { body: std::mem::take(&mut self.body), ..Batch::default() };
        let mut answers = Vec::new();
        while let Some((ticket, proposal)) = self.waiting.pop_front() {
            let judged = match &self.stopped {
                Some(reason) => Judged::Answered(Err(Refusal::Stopped(reason.clone()))),
                None => self.judge(proposal, &mut batch),
            };
            match judged {
                Judged::Answered(answer) => answers.push((ticket, answer)),
                Judged::Postponed(proposal) => {
                    self.waiting.push_front((ticket, proposal));
                    break;
                }
            }
            if batch.is_full() {
                break;
            }
        }
        let Batch { commits, mut body, .. } = batch;
        if commits == 0 {
            // Nothing here depends on anything that is not durable yet.
            self.answer(answers);
            self.body = body;
            return;
        }
        self.sequence += 1;
        let head = EntryHead {
            writer: self.writer,
            sequence: self.sequence,
            time_ms: self.now_ms,
            history: self.state().history,
        };
        let entry = head.encode_into(commits, &body, std::mem::take(&mut self.memory));
        if body.capacity() <= limits::ENTRY_KEPT_BYTES {
            body.clear();
            self.body = body;
        }
        let entry = Bytes::from(entry);
        let expected = self.state().applied.revision;
        self.effects.push_back(Effect::Append { expected, entry: entry.clone() });
        self.flushing = Some(Flush { entry, answers });
    }

    /// Judges one proposal against the state and the batch before it.
    fn judge(&self, proposal: Proposal, batch: &mut Batch) -> Judged {
        // With the embedded log never: what is proposed is copied only where it may have to wait.
        let again = batch.may_overflow(self.largest_entry).then(|| proposal.clone());
        let decided = self.decide(proposal, batch, again.is_some());
        match (decided, again) {
            (Err(Refusal::CommitTooLarge { excess: Excess::Entry, .. }), Some(proposal))
                if batch.commits > 0 =>
            {
                Judged::Postponed(proposal)
            }
            (decided, _) => Judged::Answered(decided),
        }
    }

    fn decide(
        &self,
        proposal: Proposal,
        batch: &mut Batch,
        may_overflow: bool,
    ) -> Result<Receipt, Refusal> {
        let Proposal { commit_id, operations } = proposal;
        if let Some(commit_id) = &commit_id
            && let Some(receipt) = self.recall(commit_id, batch)?
        {
            return Ok(receipt);
        }
        let context = Context {
            incarnation: self.mirror.incarnation(),
            rules: &self.rules,
            now_ms: self.now_ms,
            may_be_undone: may_overflow,
        };
        let overlay = &mut batch.overlay;
        let mut meter = Meter::new(limits::EXPRESSION_STEPS);
        let evaluated =
            evaluation::evaluate(self.state(), context, overlay, operations, &mut meter);
        batch.steps += limits::EXPRESSION_STEPS - meter.left();
        let (commit, own) = evaluated?;
        let place = self.place_of_next(batch.commits);
        let commit = Commit { commit_id, ..commit };
        if let Err(refusal) = batch.push(&commit, self.largest_entry) {
            batch.overlay.undo(own);
            return Err(refusal);
        }
        batch.overlay.merge(own);
        let Commit { commit_id, results, .. } = commit;
        let computed = results.iter().any(Option::is_some);
        let receipt = Receipt {
            position: Position { incarnation: self.mirror.incarnation(), place },
            results: if computed { results.into() } else { Box::default() },
            replayed: false,
        };
        if let Some(CommitId { principal, id, digest, .. }) = commit_id {
            let replay = Receipt { replayed: true, ..receipt.clone() };
            batch.ids.insert((principal, id), (digest, replay));
        }
        Ok(receipt)
    }

    fn recall(&self, commit_id: &CommitId, batch: &Batch) -> Result<Option<Receipt>, Refusal> {
        let named = (commit_id.principal.clone(), commit_id.id);
        if let Some((digest, receipt)) = batch.ids.get(&named) {
            return if commit_id.is_of(*digest) {
                Ok(Some(receipt.clone()))
            } else {
                Err(Refusal::IdConflict)
            };
        }
        match self.state().ids.recall(commit_id, self.now_ms) {
            Lookup::Known(known) => Ok(Some(Receipt {
                position: Position { incarnation: self.mirror.incarnation(), place: known.place },
                results: known.results,
                replayed: true,
            })),
            Lookup::Conflict => Err(Refusal::IdConflict),
            Lookup::Expired => Err(Refusal::IdExpired),
            Lookup::Invalid => Err(Refusal::IdInvalid),
            Lookup::Fresh if self.state().ids.has_room_for(&commit_id.principal, self.now_ms) => {
                Ok(None)
            }
            Lookup::Fresh => Err(Refusal::TooManyPrincipals),
        }
    }

    fn place_of_next(&self, index: usize) -> Place {
        let index = u16::try_from(index).expect("a batch holds at most ENTRY_COMMITS commits");
        Place { revision: self.state().applied.revision.next(), index }
    }

    fn appended(&mut self) {
        let Some(Flush { entry, answers }) = self.flushing.take() else {
            return;
        };
        let revision = self.state().applied.revision.next();
        let changes = match self.mirror.apply(revision, &entry) {
            Ok(changes) => changes,
            Err(error) => {
                // Only a bug can get here: what was just written does not fold.
                self.stop(answers, error.to_string(), Refusal::OutcomeUnknown);
                return;
            }
        };
        if entry.len() <= limits::ENTRY_KEPT_BYTES {
            self.memory = entry.into();
        }
        self.effects.push_back(Effect::Publish(changes));
        self.answer(answers);
    }

    fn append_failed(&mut self, error: AppendError) {
        let Some(Flush { answers, .. }) = self.flushing.take() else {
            return;
        };
        let retry = |refusal: Refusal| {
            // Refusals of the batch were judged against commits that never happened: try again.
            move |(ticket, _)| Effect::Answer { ticket, answer: Err(refusal.clone()) }
        };
        match error {
            AppendError::StorageFull(reason) => {
                self.effects.extend(answers.into_iter().map(retry(Refusal::StorageFull(reason))));
            }
            AppendError::Exhausted(reason) => {
                let refusal = Refusal::ResourcesExhausted(reason);
                self.effects.extend(answers.into_iter().map(retry(refusal)));
            }
            AppendError::TooLarge { bytes, limit } => {
                // The log takes less than it said: what is tried again is cut to that.
                self.largest_entry = limit;
                let refusal = match answers.iter().filter(|(_, answer)| answer.is_ok()).count() {
                    1 => Refusal::CommitTooLarge { excess: Excess::Entry, bytes, limit },
                    _ => Refusal::StorageFull(error.to_string()),
                };
                self.effects.extend(answers.into_iter().map(retry(refusal)));
            }
            AppendError::Conflict { .. } | AppendError::Unknown(_) | AppendError::Fatal(_) => {
                self.stop(answers, error.to_string(), Refusal::OutcomeUnknown);
            }
        }
    }

    fn stop(&mut self, answers: Vec<(T, Answer)>, reason: String, refusal: Refusal) {
        self.stopped = Some(reason.clone());
        self.effects.push_back(Effect::Stop { reason });
        let unknown = answers
            .into_iter()
            .map(|(ticket, _)| Effect::Answer { ticket, answer: Err(refusal.clone()) });
        self.effects.extend(unknown);
    }

    fn answer(&mut self, answers: Vec<(T, Answer)>) {
        let effects = answers.into_iter().map(|(ticket, answer)| Effect::Answer { ticket, answer });
        self.effects.extend(effects);
    }
}
