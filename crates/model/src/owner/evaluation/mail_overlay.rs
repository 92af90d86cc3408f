//! Overlay of the mail: its changes by a batch. The changes of most commits, to store a message or
//! to confirm one, are only noted, and applied when an operation reads their effects: the fold does
//! it once more anyway.
//!
//! | record | here | a later operation sees it by |
//! | --- | --- | --- |
//! | `Stored`, `SentBy` | noted | `last`, `known`, `message`, `whole` |
//! | `Confirmed` | noted | `message`, `whole` |
//! | any other | applied at once, behind what is noted | everything |

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::mail::{Mail, MailRecord, Message, Seq};

/// Mail on top of the state's.
#[derive(Debug, Default)]
pub(super) struct MailOverlay {
    /// The mail without the notes; none: it is the state's.
    base: Option<Arc<Mail>>,
    noted: Vec<MailRecord>,
    /// Messages that are noted, and the ids of those that are stored, with their digests.
    seqs: HashSet<Seq>,
    ids: HashMap<(Uuid, u64), (Seq, u64)>,
    /// The id and digest of the newest one that is stored, whose scope is not said yet.
    unsaid: Option<(Seq, Uuid, u64)>,
    /// The last one that is stored.
    last: Option<Seq>,
    /// Number of records that were noted when this proposal began.
    begun: usize,
    /// The mail when it began, if the base has changed since.
    before: Option<Option<Arc<Mail>>>,
    /// It may be refused after it has written: never if it is one operation, unless its entry may
    /// become too large.
    may_be_undone: bool,
}

/// The digest of a message that was sent before.
pub(super) enum Before {
    /// Fingerprint of everything that was said of it.
    Scoped(u64),
    /// Fingerprint of its endpoint and its body.
    Unscoped(u64),
}

/// Mail below the batch, and the time.
#[derive(Clone, Copy)]
pub(super) struct Below<'a> {
    pub(super) mail: &'a Arc<Mail>,
    pub(super) now_ms: u64,
}

impl MailOverlay {
    /// A proposal begins.
    pub(super) fn begin(&mut self, may_be_undone: bool) {
        self.begun = self.noted.len();
        self.before = None;
        self.may_be_undone = may_be_undone;
    }

    /// It is refused: everything is as it was when it began.
    pub(super) fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.base = before;
        }
        let mut stored = None;
        for record in self.noted.drain(self.begun..) {
            match record {
                MailRecord::Stored { seq, id, .. } => {
                    self.seqs.remove(&seq);
                    stored = Some(id);
                }
                MailRecord::SentBy { scope, .. } => {
                    if let Some(id) = stored.take() {
                        self.ids.remove(&(id, scope));
                    }
                }
                MailRecord::Confirmed { seq } => {
                    self.seqs.remove(&seq);
                }
                _ => {}
            }
        }
        self.last = self.noted.iter().rev().find_map(|record| match record {
            MailRecord::Stored { seq, .. } => Some(*seq),
            _ => None,
        });
    }

    /// Takes a record in.
    pub(super) fn write(&mut self, record: MailRecord, below: Below<'_>) {
        match &record {
            MailRecord::Stored { seq, id, digest, .. } => {
                self.seqs.insert(*seq);
                self.unsaid = Some((*seq, *id, *digest));
                self.last = Some(*seq);
                self.noted.push(record);
            }
            MailRecord::SentBy { seq, scope } => {
                if let Some((stored, id, digest)) = self.unsaid.take()
                    && stored == *seq
                {
                    self.ids.insert((id, *scope), (stored, digest));
                }
                self.noted.push(record);
            }
            MailRecord::Confirmed { seq } => {
                self.seqs.insert(*seq);
                self.noted.push(record);
            }
            _ => {
                self.whole(below);
                self.keep_before();
                self.apply(record, below);
            }
        }
    }

    /// The mail without the notes: queues, and registrations of servers.
    pub(super) fn base<'a>(&'a self, below: Below<'a>) -> &'a Mail {
        self.base.as_ref().unwrap_or(below.mail)
    }

    /// The mail with everything.
    pub(super) fn whole<'a>(&'a mut self, below: Below<'a>) -> &'a Mail {
        if !self.noted.is_empty() {
            let noted = std::mem::take(&mut self.noted);
            for (at, record) in noted.into_iter().enumerate() {
                if at >= self.begun {
                    self.keep_before();
                }
                self.apply(record, below);
            }
            self.begun = 0;
            self.seqs.clear();
            self.ids.clear();
            self.last = None;
        }
        self.base(below)
    }

    /// The number of the newest message.
    pub(super) fn last(&self, below: Below<'_>) -> Seq {
        self.last.unwrap_or_else(|| self.base(below).last())
    }

    /// The message of a queue with this id in this scope, and its digest.
    pub(super) fn known(
        &self,
        (id, scope): (Uuid, u64),
        queue: u16,
        below: Below<'_>,
    ) -> Option<(Seq, Before)> {
        if let Some((seq, digest)) = self.ids.get(&(id, scope)) {
            return Some((*seq, Before::Scoped(*digest)));
        }
        let (seq, message, is_unscoped) = self.base(below).sent_before(&id, scope, queue)?;
        let before = if is_unscoped {
            Before::Unscoped(message.digest)
        } else {
            Before::Scoped(message.digest)
        };
        Some((seq, before))
    }

    /// A message as it is now.
    pub(super) fn message(&mut self, seq: Seq, below: Below<'_>) -> Option<Message> {
        if self.seqs.contains(&seq) {
            self.whole(below).message(seq)
        } else {
            self.base(below).message(seq)
        }
    }

    /// The base is about to take in what this proposal does.
    fn keep_before(&mut self) {
        // A copy that is kept makes a change copy what it touches.
        if self.may_be_undone && self.before.is_none() {
            self.before = Some(self.base.clone());
        }
    }

    fn apply(&mut self, record: MailRecord, below: Below<'_>) {
        let base = self.base.get_or_insert_with(|| Arc::clone(below.mail));
        Arc::make_mut(base).apply(record, below.now_ms, &mut |_| {});
    }
}
