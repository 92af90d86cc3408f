//! Deadlines that were reckoned by a clock, and the clock was set back.
//!
//! A rest and a time to live are lengths; they are kept as the times at which they end. When the
//! clock goes back behind the time at which they were reckoned, these ends are too far away.
//!
//! | what | the clock is set back behind its beginning | the clock then passes that again |
//! | --- | --- | --- |
//! | a rest | it begins anew: a rest too short does no harm | – |
//! | a time to live | beside the end it has another one, reckoned anew | only the end counts |
//! | `not_before` of a letter | it is a time, and stays | – |
//!
//! The time to live keeps its end because a clock may have been *behind*, as that of a machine that
//! starts without one: a message that was to live for a day must not end when the clock is put
//! right.

use imbl::{OrdMap, OrdSet};

use super::{Mail, MailPart, Message, Seq, Status};

/// Deadlines of messages that depend on the clock by which they were reckoned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clocks {
    /// Beginning of the rest of a message, where a server asked for a rest of that length.
    rests: OrdMap<Seq, u64>,
    /// Expiry of a message while the clock stands before the time at which it was stored.
    overtaken: OrdMap<Seq, u64>,
    /// The same by time.
    ends: OrdSet<(u64, Seq)>,
}

impl Clocks {
    pub(super) fn rests(&mut self, seq: Seq, since: u64) {
        self.rests.insert(seq, since);
    }

    pub(super) fn rested(&mut self, seq: Seq) {
        self.rests.remove(&seq);
    }

    pub(super) fn overtake(&mut self, seq: Seq, until: u64) {
        if let Some(before) = self.overtaken.insert(seq, until) {
            self.ends.remove(&(before, seq));
        }
        self.ends.insert((until, seq));
    }

    /// The message has ended, or begins anew.
    pub(super) fn forget(&mut self, seq: Seq) {
        self.rested(seq);
        self.run_out(seq);
    }

    fn run_out(&mut self, seq: Seq) {
        if let Some(until) = self.overtaken.remove(&seq) {
            self.ends.remove(&(until, seq));
        }
    }

    pub(super) fn next_overtaken(&self) -> Option<u64> {
        self.ends.get_min().map(|(until, _)| *until)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rests.is_empty() && self.overtaken.is_empty()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = MailPart> + '_ {
        let rests = self.rests.iter().map(|(seq, since)| MailPart::Delayed(*seq, *since));
        let ends = self.overtaken.iter().map(|(seq, until)| MailPart::Overtaken(*seq, *until));
        rests.chain(ends)
    }
}

impl Mail {
    /// Returns true if it matters by which clock deadlines were reckoned.
    #[must_use]
    pub fn has_clocks(&self) -> bool {
        !self.clocks.is_empty()
    }

    /// The clock was set back to `now_ms`.
    pub(crate) fn set_back(&mut self, now_ms: u64) {
        let rests = self.clocks.rests.iter().map(|(seq, since)| (*seq, *since));
        let ahead: Vec<(Seq, u64)> = rests.filter(|(_, since)| *since > now_ms).collect();
        for (seq, since) in ahead {
            let Some(message) = self.messages.get(seq) else { continue };
            let not_before = now_ms.saturating_add(message.not_before.saturating_sub(since));
            self.resting.remove((message.not_before, seq));
            let message = self.messages.insert(seq, &Message { not_before, ..message });
            self.resting.insert((message.not_before, seq));
            self.clocks.rests(seq, now_ms);
        }
        let late = self.expiring.range((now_ms, Seq::MAX), (u64::MAX, Seq::MAX));
        let late: Vec<Seq> = late.map(|(_, seq)| seq).collect();
        for seq in late {
            if let Some(Message { stored_ms, expires, .. }) = self.messages.get(seq)
                && stored_ms > now_ms
            {
                self.clocks.overtake(seq, now_ms.saturating_add(expires.saturating_sub(stored_ms)));
            }
        }
    }

    /// Returns true if an expiry that was reckoned anew is due.
    pub(crate) fn is_overtaken(&self, now_ms: u64) -> bool {
        self.clocks.next_overtaken().is_some_and(|until| until <= now_ms)
    }

    /// The clock has come to `now_ms`: for messages stored before, their own end counts again.
    pub(crate) fn caught_up(&mut self, now_ms: u64) {
        let due = self.clocks.ends.range(..=(now_ms, Seq::MAX)).map(|(_, seq)| *seq);
        let due: Vec<Seq> = due.collect();
        for seq in due {
            if self.messages.get(seq).is_none_or(|message| message.stored_ms <= now_ms) {
                self.clocks.run_out(seq);
            }
        }
    }

    /// Messages that have lived long enough by a clock that was set back.
    pub(super) fn overtaken(&self, now_ms: u64) -> impl Iterator<Item = Seq> + '_ {
        let due = self.clocks.ends.range(..=(now_ms, Seq::MAX)).map(|(_, seq)| *seq);
        due.filter(move |seq| {
            self.messages
                .get(*seq)
                .is_some_and(|m| m.status == Status::Pending && m.stored_ms > now_ms)
        })
    }

    /// Returns true if a pending message has expired at `now_ms`.
    #[must_use]
    pub fn has_expired(&self, seq: Seq, message: &Message, now_ms: u64) -> bool {
        let over = |until: u64| until > 0 && until <= now_ms;
        over(message.expires)
            || (message.stored_ms > now_ms
                && self.clocks.overtaken.get(&seq).is_some_and(|until| over(*until)))
    }

    /// A snapshot that does not say since when messages rest was taken at `time_ms`.
    pub(crate) fn reckon_rests(&mut self, time_ms: u64) {
        let resting: Vec<Seq> = self.resting.iter().map(|(_, seq)| seq).collect();
        for seq in resting {
            // What has failed does not wait for a time that its sender wished.
            if self.messages.get(seq).is_some_and(|message| message.attempts > 0) {
                self.clocks.rests(seq, time_ms);
            }
        }
    }
}
