//! Messages that one connection was given, by which its ranges are read.
//!
//! A range is the client's word for the messages that it has got, so it is resolved against those
//! that the client has shown to have read. A connection delivers in order: a client that names a
//! message that came over it has read everything that was written before. A message that was
//! written later may still be on its way, and one that an earlier registration was given never came
//! over this connection. A message that was put back and is written again may be named for either
//! time: as the end of a range it is named for the newer one, as the beginning for the older one,
//! which proves less.
//!
//! ```text
//!  written   1   3   5   2   4 …          ranges [[1, 3]]: 1 and 3
//!                ▲                        3 was read, 2 may be on its way
//! ```

use std::collections::{BTreeMap, VecDeque};

use crate::limits;
use crate::mail::Seq;

/// Messages of one connection, in the order in which they were written to it.
#[derive(Debug, Clone, Default)]
pub struct Given {
    next: u64,
    messages: BTreeMap<Seq, Written>,
    order: VecDeque<(u64, Seq)>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    /// Number of the first write of it.
    first_at: u64,
    at: u64,
    /// Nothing was said about it since.
    open: bool,
}

/// Messages that a range stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meant {
    /// The messages.
    pub seqs: Vec<Seq>,
    /// Ends of the range that were never given over this connection.
    pub unknown: Vec<Seq>,
}

/// Messages about which something was said, and may have to be said again.
pub type Closed = Vec<(Seq, u64)>;

impl Given {
    /// A message is written to the connection.
    pub fn give(&mut self, seq: Seq) {
        self.next += 1;
        let at = self.next;
        let first_at = self.messages.get(&seq).map_or(at, |place| place.first_at);
        self.messages.insert(seq, Written { first_at, at, open: true });
        self.order.push_back((at, seq));
        if self.order.len() > limits::MAIL_GIVEN
            && let Some((at, seq)) = self.order.pop_front()
            && self.messages.get(&seq).is_some_and(|place| place.at == at)
        {
            self.messages.remove(&seq);
        }
    }

    /// The client is told that messages are not its own any more.
    pub fn gone(&mut self, seqs: &[Seq]) {
        drop(self.answer(seqs));
    }

    /// The client says something by which it holds these no more.
    pub fn answer(&mut self, seqs: &[Seq]) -> Closed {
        let mut closed = Closed::new();
        for seq in seqs {
            if let Some(place) = self.messages.get_mut(seq).filter(|place| place.open) {
                place.open = false;
                closed.push((*seq, place.at));
            }
        }
        closed
    }

    /// Reopens messages after an answer that was not taken: the client holds them as before.
    pub fn reopen(&mut self, closed: &[(Seq, u64)]) {
        for (seq, at) in closed {
            if let Some(place) = self.messages.get_mut(seq).filter(|place| place.at == *at) {
                place.open = true;
            }
        }
    }

    /// The messages from one number to another, as the client that names these two can mean them.
    #[must_use]
    pub fn range(&self, first: Seq, last: Seq) -> Meant {
        let ends = if first == last { vec![first] } else { vec![first, last] };
        let begin = self.messages.get(&first).map(|place| place.first_at);
        let read = begin.max(self.messages.get(&last).map(|place| place.at));
        let unknown = ends.into_iter().filter(|end| !self.messages.contains_key(end)).collect();
        let Some(read) = read.filter(|_| first <= last) else {
            return Meant { seqs: vec![], unknown };
        };
        let meant = self.messages.range(first..=last);
        let meant = meant.filter(|(_, place)| place.open && place.at <= read);
        Meant { seqs: meant.map(|(seq, _)| *seq).collect(), unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [Seq; 0] = [];

    fn given(seqs: &[Seq]) -> Given {
        let mut given = Given::default();
        seqs.iter().for_each(|seq| given.give(*seq));
        given
    }

    #[test]
    fn a_range_stands_for_what_was_read_before_the_later_of_its_ends() {
        let given = given(&[1, 3, 5, 2, 4].map(Seq));

        assert_eq!(given.range(Seq(1), Seq(3)).seqs, [1, 3].map(Seq));
        assert_eq!(given.range(Seq(1), Seq(2)).seqs, [1, 2].map(Seq));
        assert_eq!(given.range(Seq(2), Seq(5)).seqs, [2, 3, 5].map(Seq));
        assert_eq!(given.range(Seq(1), Seq(4)).seqs, [1, 2, 3, 4].map(Seq));
    }

    #[test]
    fn an_end_that_was_never_given_proves_nothing_and_is_named() {
        let given = given(&[1, 3].map(Seq));

        let meant = given.range(Seq(1), Seq(100));
        assert_eq!((meant.seqs, meant.unknown), (vec![Seq(1)], vec![Seq(100)]));
        let meant = given.range(Seq::ZERO, Seq::MAX);
        assert_eq!((&meant.seqs[..], meant.unknown), (&NOTHING[..], vec![Seq::ZERO, Seq::MAX]));
        assert_eq!(given.range(Seq(3), Seq(1)).seqs, NOTHING);
    }

    #[test]
    fn messages_put_back_are_in_no_range_before_they_are_given_again() {
        let mut given = given(&[1, 2, 3].map(Seq));
        let closed = given.answer(&[Seq(2)]);
        assert_eq!(given.range(Seq(1), Seq(3)).seqs, [1, 3].map(Seq));

        given.reopen(&closed);
        assert_eq!(given.range(Seq(1), Seq(3)).seqs, [1, 2, 3].map(Seq));

        given.answer(&[Seq(2)]);
        given.give(Seq(2));
        given.reopen(&closed);
        assert_eq!(given.range(Seq(1), Seq(3)).seqs, [1, 3].map(Seq), "it is on its way again");
        given.gone(&[Seq(1)]);
        assert_eq!(given.range(Seq(1), Seq(2)).seqs, [Seq(2)]);
    }

    #[test]
    fn a_range_that_begins_with_what_was_put_back_does_not_stand_for_what_is_on_its_way_again() {
        let mut given = given(&[2, 3].map(Seq));
        given.answer(&[Seq(2)]);
        given.give(Seq(2));

        assert_eq!(given.range(Seq(2), Seq(3)).seqs, [Seq(3)], "the second 2 may not have come");
        given.give(Seq(4));
        assert_eq!(given.range(Seq(2), Seq(4)).seqs, [2, 3, 4].map(Seq), "4 was read behind it");
        assert_eq!(given.range(Seq(2), Seq(2)).seqs, [Seq(2)], "it is named alone");
    }

    #[test]
    fn an_end_that_was_answered_still_says_how_far_was_read() {
        let mut given = given(&[1, 2, 3].map(Seq));
        given.answer(&[Seq(3)]);

        let meant = given.range(Seq(1), Seq(3));

        assert_eq!(meant, Meant { seqs: vec![Seq(1), Seq(2)], unknown: vec![] });
    }

    #[test]
    fn the_memory_of_ids_is_bounded() {
        let most = limits::MAIL_GIVEN as u64;
        let mut given = given(&(1..=most + 1).map(Seq).collect::<Vec<_>>());

        assert_eq!(
            given.range(Seq(1), Seq(2)),
            Meant { seqs: vec![Seq(2)], unknown: vec![Seq(1)] }
        );
        (0..3 * most).for_each(|_| given.give(Seq(7)));
        assert_eq!((given.messages.len(), given.order.len()), (1, limits::MAIL_GIVEN));
    }
}
