//! A program that takes the mail of a server, and its connection to the hub.

use std::collections::{BTreeSet, VecDeque};

use instep_model::mail::Seq;
use instep_model::mail::delivery::Given;
use instep_model::registration::Generation;

/// Messages of the hub to a program.
#[derive(Debug, Clone)]
pub(super) enum Down {
    Give { seq: Seq, route: u32 },
    Ask(Vec<Seq>),
    Gone(Vec<Seq>),
}

/// Messages of a program to the hub.
#[derive(Debug, Clone)]
pub(super) enum Up {
    Ack(Seq),
    /// From one message to another, of those that came over this connection and are not in its
    /// hands.
    AckRange(Seq, Seq),
    Nack {
        seq: Seq,
        failed: bool,
    },
    Reject(Seq),
    Started(Seq),
    HasNot(Vec<Seq>),
}

/// A connection. Both ends may have forgotten it while the other still writes.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) server: usize,
    /// None until the registration is durable.
    pub(super) generation: Option<Generation>,
    pub(super) credit: usize,
    pub(super) have: Option<Vec<Seq>>,
    /// In the hub: messages that wait for the socket.
    pub(super) outbox: VecDeque<Down>,
    /// On the wire.
    pub(super) down: VecDeque<Down>,
    pub(super) up: VecDeque<Up>,
    /// The program is there.
    pub(super) alive: bool,
    /// The hub takes it for there.
    pub(super) open: bool,
    /// Messages that the program was given and has not worked on.
    pub(super) held: VecDeque<Seq>,
    /// In the hub: messages written to the socket.
    pub(super) given: Given,
    /// Messages that came over this connection.
    pub(super) came: BTreeSet<Seq>,
    /// Messages that it has done and not acknowledged yet.
    pub(super) unsaid: BTreeSet<Seq>,
    /// Messages that it has said it begins with.
    pub(super) begun: BTreeSet<Seq>,
}

impl Link {
    /// The program takes what arrives next.
    pub(super) fn receive(&mut self, done: &BTreeSet<Seq>) {
        let next = self.down.pop_front();
        if let Some(Down::Give { seq, .. }) = &next {
            self.came.insert(*seq);
        }
        match next {
            Some(Down::Give { seq, .. }) if done.contains(&seq) => self.up.push_back(Up::Ack(seq)),
            Some(Down::Give { seq, .. }) if !self.held.contains(&seq) => self.held.push_back(seq),
            Some(Down::Give { .. }) | None => {}
            Some(Down::Ask(seqs)) => {
                let (have, not): (Vec<Seq>, Vec<Seq>) = seqs
                    .into_iter()
                    .filter(|seq| !self.held.contains(seq))
                    .partition(|seq| done.contains(seq));
                self.up.extend(have.into_iter().map(Up::Ack));
                if !not.is_empty() {
                    self.up.push_back(Up::HasNot(not));
                }
            }
            Some(Down::Gone(seqs)) => self.held.retain(|seq| !seqs.contains(seq)),
        }
    }

    /// It says what it has done: all that came so far, if it has nothing of that in its hands.
    pub(super) fn say_done(&mut self) {
        let unsaid = std::mem::take(&mut self.unsaid);
        let (Some(first), Some(last)) = (self.came.first(), unsaid.last()) else { return };
        if self.held.iter().any(|seq| (first..=last).contains(&seq)) {
            self.up.extend(unsaid.iter().map(|seq| Up::Ack(*seq)))
        } else {
            self.up.push_back(Up::AckRange(*first, *last))
        }
    }

    /// Messages in its hands, as it states them when it joins.
    pub(super) fn in_hand(&self) -> Vec<Seq> {
        self.held.iter().copied().collect()
    }
}
