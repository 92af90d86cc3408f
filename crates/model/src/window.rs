//! Window of one receiver: items that it was given and has not confirmed, within its credit by
//! number and by bytes.
//!
//! | an item is | becomes | by |
//! | --- | --- | --- |
//! | not given | in flight | [`Window::give`], while there is room |
//! | in flight | gone | [`Window::end`]: it is confirmed, or not this receiver's any more |
//! | the receiver's already | in flight | [`Window::hold`]: by its word it has it |
//!
//! | credit | room is | ends |
//! | --- | --- | --- |
//! | standing | fewer in flight than that | – |
//! | pulls | the rest of the requests of waiting pulls | with the last of them |
//!
//! An item goes by the books of the other side: the log says which items are confirmed, and the
//! receiver, when it is asked, which items it has.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// Bounds of a window that hold whatever its receiver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// Items in flight of a receiver that pulls.
    pub items: usize,
    /// Bytes in flight, if they are more than one item.
    pub bytes: u64,
}

/// Credit of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credit {
    Standing(usize),
    Pulls { waiting: usize, allowed: usize },
}

/// Items in flight to one receiver, by key.
#[derive(Debug, Clone)]
pub struct Window<K, T> {
    most: Most,
    credit: Credit,
    in_flight: BTreeMap<K, (u64, T)>,
    bytes: u64,
}

impl<K: Ord + Copy, T> Window<K, T> {
    /// A window without credit.
    #[must_use]
    pub fn new(most: Most) -> Self {
        Self { most, credit: Credit::Standing(0), in_flight: BTreeMap::new(), bytes: 0 }
    }

    /// The receiver takes so many items from now on, at any time.
    pub fn begin(&mut self, items: usize) {
        self.credit = Credit::Standing(items);
    }

    /// Changes a standing credit. A receiver that pulls has none.
    pub fn set_credit(&mut self, items: usize) {
        if let Credit::Standing(credit) = &mut self.credit {
            *credit = items;
        }
    }

    /// The receiver pulls from now on: without a pull there is no room.
    pub fn begin_to_pull(&mut self) {
        self.credit = Credit::Pulls { waiting: 0, allowed: 0 };
    }

    /// A pull waits for so many items; returns true if it is the only one.
    pub fn pull(&mut self, items: usize) -> bool {
        let (waiting, allowed) = match self.credit {
            Credit::Standing(_) => (0, 0),
            Credit::Pulls { waiting, allowed } => (waiting, allowed),
        };
        let allowed = allowed.saturating_add(items);
        self.credit = Credit::Pulls { waiting: waiting + 1, allowed };
        waiting == 0
    }

    /// A pull has ended, and with it the rest of its request.
    pub fn end_pull(&mut self, unused: usize) {
        if let Credit::Pulls { waiting, allowed } = &mut self.credit {
            *waiting = waiting.saturating_sub(1);
            *allowed = if *waiting == 0 { 0 } else { allowed.saturating_sub(unused) };
        }
    }

    /// All pulls of a receiver that pulls have ended.
    pub fn end_pulls(&mut self) {
        if let Credit::Pulls { .. } = self.credit {
            self.begin_to_pull();
        }
    }

    /// True when an item given now is read: always, or while a pull waits.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.credit {
            Credit::Standing(_) => true,
            Credit::Pulls { waiting, .. } => waiting > 0,
        }
    }

    /// True when one more item may be given.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let has_credit = match self.credit {
            Credit::Standing(items) => self.in_flight.len() < items,
            Credit::Pulls { allowed, .. } => allowed > 0 && self.in_flight.len() < self.most.items,
        };
        has_credit && (self.bytes < self.most.bytes || self.in_flight.is_empty())
    }

    /// Gives an item: it counts against the requests of pulls.
    pub fn give(&mut self, key: K, bytes: u64, item: T) {
        if let Credit::Pulls { allowed, .. } = &mut self.credit {
            *allowed = allowed.saturating_sub(1);
        }
        self.hold(key, bytes, item);
    }

    /// Counts an item that the receiver has, or may have, without having been given it now.
    pub fn hold(&mut self, key: K, bytes: u64, item: T) {
        self.bytes += bytes;
        if let Some((before, _)) = self.in_flight.insert(key, (bytes, item)) {
            self.bytes -= before;
        }
    }

    /// Ends an item.
    pub fn end(&mut self, key: K) -> Option<T> {
        let (bytes, item) = self.in_flight.remove(&key)?;
        self.bytes -= bytes;
        Some(item)
    }

    /// An item in flight.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.in_flight.get_mut(&key).map(|(_, item)| item)
    }

    /// True when an item is in flight.
    #[must_use]
    pub fn contains(&self, key: K) -> bool {
        self.in_flight.contains_key(&key)
    }

    /// The items in flight, in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.in_flight.iter().map(|(key, (_, item))| (*key, item))
    }

    /// The items in flight, in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.in_flight.iter_mut().map(|(key, (_, item))| (*key, item))
    }

    /// The keys in flight of a range, in order.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = K> {
        self.in_flight.range(range).map(|(key, _)| *key)
    }

    /// The number of items in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// True when nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: Most = Most { items: 4, bytes: 100 };

    #[test]
    fn a_window_is_bounded_by_number_and_by_bytes_and_takes_one_item_of_any_size() {
        let mut window = Window::new(MOST);
        assert!(!window.has_room(), "no credit");
        window.set_credit(2);

        window.give(1, 1_000, ());
        assert!(!window.has_room(), "its bytes are more than all may have");
        window.end(1);
        window.give(1, 99, ());
        assert!(window.has_room());
        window.give(2, 1, ());
        assert!(!window.has_room(), "two are in flight");
        window.set_credit(3);
        assert!(!window.has_room(), "100 bytes are in flight");
        window.end(2);
        assert!(window.has_room());
    }

    #[test]
    fn a_receiver_that_pulls_has_room_for_what_its_pulls_ask_for_and_nothing_between_them() {
        let mut window = Window::new(MOST);
        window.begin_to_pull();
        assert!(!window.is_open() && !window.has_room());

        assert!(window.pull(2));
        assert!(!window.pull(1), "another one waits");
        window.give(1, 1, ());
        window.end_pull(1);
        assert!(window.is_open() && window.has_room(), "one of three is left");
        window.hold(9, 1, ());
        assert!(window.has_room(), "what it has already was not asked for");
        window.give(2, 1, ());
        assert!(!window.has_room());
        window.pull(7);
        window.end_pull(7);
        window.end_pull(0);
        assert!(!window.is_open() && !window.has_room(), "credit ends with the pulls");
        assert_eq!(window.len(), 3, "what it was given stays its own");
    }

    proptest! {
        #[test]
        fn whatever_is_given_and_ended_the_books_agree_and_no_bound_is_crossed(
            steps in prop::collection::vec((0_u8..6, 0_u64..20, 0_u64..60), 0..120),
        ) {
            let mut window = Window::new(MOST);
            let mut books = BTreeMap::new();
            for (step, key, number) in steps {
                match step {
                    0 if number % 2 == 0 => window.begin(usize::try_from(number).unwrap() % 6),
                    0 => window.set_credit(usize::try_from(number).unwrap() % 6),
                    1 => drop(window.pull(usize::try_from(number).unwrap() % 4)),
                    2 => window.end_pull(usize::try_from(number).unwrap() % 4),
                    3 | 4 => {
                        if window.has_room() && !books.contains_key(&key) {
                            let before: u64 = books.values().sum();
                            prop_assert!(before < MOST.bytes || books.is_empty());
                            window.give(key, number, key);
                            books.insert(key, number);
                        }
                    }
                    _ => prop_assert_eq!(window.end(key), books.remove(&key).map(|_| key)),
                }
                prop_assert_eq!(window.bytes, books.values().sum::<u64>());
                prop_assert!(window.iter().map(|(key, _)| key).eq(books.keys().copied()));
                prop_assert!(window.is_open() || !window.has_room());
            }
        }
    }
}
