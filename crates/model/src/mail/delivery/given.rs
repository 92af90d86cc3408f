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

/// Messages of one connection, in the order in which they were written to it.
#[derive(Debug, Clone, Default)]
pub struct Given {
    next: u64,
    messages: BTreeMap<u64, Written>,
    order: VecDeque<(u64, u64)>,
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
    pub seqs: Vec<u64>,
    /// Ends of the range that were never given over this connection.
    pub unknown: Vec<u64>,
}

/// Messages about which something was said, and may have to be said again.
pub type Closed = Vec<(u64, u64)>;

impl Given {
    /// A message is written to the connection.
    pub fn give(&mut self, seq: u64) {
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
    pub fn gone(&mut self, seqs: &[u64]) {
        drop(self.answer(seqs));
    }

    /// The client says something by which it holds these no more.
    pub fn answer(&mut self, seqs: &[u64]) -> Closed {
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
    pub fn reopen(&mut self, closed: &[(u64, u64)]) {
        for (seq, at) in closed {
            if let Some(place) = self.messages.get_mut(seq).filter(|place| place.at == *at) {
                place.open = true;
            }
        }
    }

    /// The messages from one number to another, as the client that names these two can mean them.
    #[must_use]
    pub fn range(&self, first: u64, last: u64) -> Meant {
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

    const NOTHING: [u64; 0] = [];

    fn given(seqs: &[u64]) -> Given {
        let mut given = Given::default();
        seqs.iter().for_each(|seq| given.give(*seq));
        given
    }

    #[test]
    fn a_range_stands_for_what_was_read_before_the_later_of_its_ends() {
        let given = given(&[1, 3, 5, 2, 4]);

        assert_eq!(given.range(1, 3).seqs, [1, 3]);
        assert_eq!(given.range(1, 2).seqs, [1, 2]);
        assert_eq!(given.range(2, 5).seqs, [2, 3, 5]);
        assert_eq!(given.range(1, 4).seqs, [1, 2, 3, 4]);
    }

    #[test]
    fn an_end_that_was_never_given_proves_nothing_and_is_named() {
        let given = given(&[1, 3]);

        let meant = given.range(1, 100);
        assert_eq!((meant.seqs, meant.unknown), (vec![1], vec![100]));
        let meant = given.range(0, u64::MAX);
        assert_eq!((&meant.seqs[..], meant.unknown), (&NOTHING[..], vec![0, u64::MAX]));
        assert_eq!(given.range(3, 1).seqs, NOTHING);
    }

    #[test]
    fn messages_put_back_are_in_no_range_before_they_are_given_again() {
        let mut given = given(&[1, 2, 3]);
        let closed = given.answer(&[2]);
        assert_eq!(given.range(1, 3).seqs, [1, 3]);

        given.reopen(&closed);
        assert_eq!(given.range(1, 3).seqs, [1, 2, 3]);

        given.answer(&[2]);
        given.give(2);
        given.reopen(&closed);
        assert_eq!(given.range(1, 3).seqs, [1, 3], "it is on its way again");
        given.gone(&[1]);
        assert_eq!(given.range(1, 2).seqs, [2]);
    }

    #[test]
    fn a_range_that_begins_with_what_was_put_back_does_not_stand_for_what_is_on_its_way_again() {
        let mut given = given(&[2, 3]);
        given.answer(&[2]);
        given.give(2);

        assert_eq!(given.range(2, 3).seqs, [3], "the second 2 may not have come");
        given.give(4);
        assert_eq!(given.range(2, 4).seqs, [2, 3, 4], "4 was read behind it");
        assert_eq!(given.range(2, 2).seqs, [2], "it is named alone");
    }

    #[test]
    fn an_end_that_was_answered_still_says_how_far_was_read() {
        let mut given = given(&[1, 2, 3]);
        given.answer(&[3]);

        let meant = given.range(1, 3);

        assert_eq!(meant, Meant { seqs: vec![1, 2], unknown: vec![] });
    }

    #[test]
    fn the_memory_of_ids_is_bounded() {
        let most = limits::MAIL_GIVEN as u64;
        let mut given = given(&(1..=most + 1).collect::<Vec<_>>());

        assert_eq!(given.range(1, 2), Meant { seqs: vec![2], unknown: vec![1] });
        (0..3 * most).for_each(|_| given.give(7));
        assert_eq!((given.messages.len(), given.order.len()), (1, limits::MAIL_GIVEN));
    }
}
