//! Deadlines of connections, coarse and cheap: a wheel of ticks.

use std::collections::VecDeque;

/// Milliseconds of one tick.
const TICK_MS: u64 = 100;
/// Ticks of the wheel. A later deadline is looked at earlier, and set again.
const TICKS: u64 = 512;
/// Entries that a tick keeps room for. A crowd that came within one tick comes within others, too,
/// and would leave its room in all of them.
const KEPT: usize = 64;

/// Timer wheel. An entry is a hint: its connection looks at its real deadline.
pub(super) struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// The tick that comes next.
    next: u64,
    entries: usize,
}

/// Timer of a connection, by the slot it lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: u32,
    /// The tick for which it was set; a connection that was set again has another.
    pub(super) tick: u32,
}

impl Wheel {
    pub(super) fn new(now: u64) -> Self {
        Self { slots: vec![vec![]; TICKS as usize], next: now / TICK_MS + 1, entries: 0 }
    }

    /// The tick at which a deadline is looked at.
    pub(super) fn tick_of(&self, deadline: u64) -> u32 {
        let tick = deadline.div_ceil(TICK_MS).clamp(self.next, self.next + TICKS - 1);
        u32::try_from(tick).unwrap_or(u32::MAX)
    }

    pub(super) fn set(&mut self, slot: u32, tick: u32) {
        self.slots[(u64::from(tick) % TICKS) as usize].push(Entry { slot, tick });
        self.entries += 1;
    }

    /// Moves the entries to `due` that are due at `now`.
    pub(super) fn advance(&mut self, now: u64, due: &mut VecDeque<Entry>) {
        while self.next <= now / TICK_MS {
            if self.entries == 0 {
                self.next = now / TICK_MS + 1;
                return;
            }
            let slot = &mut self.slots[(self.next % TICKS) as usize];
            self.entries -= slot.len();
            due.extend(slot.drain(..));
            slot.shrink_to(KEPT);
            self.next += 1;
        }
    }

    /// Milliseconds until the next look, if there is anything to look at.
    pub(super) fn due_in(&self, now: u64) -> Option<u64> {
        if self.entries == 0 {
            return None;
        }
        let ahead = (0..TICKS)
            .find(|ahead| !self.slots[((self.next + ahead) % TICKS) as usize].is_empty())?;
        Some(((self.next + ahead) * TICK_MS).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut due = VecDeque::new();
        wheel.advance(now, &mut due);
        due.iter().map(|entry| entry.slot).collect()
    }

    #[test]
    fn no_connection_is_due_early_and_none_later_than_a_tick() {
        let mut wheel = Wheel::new(1000);
        for (slot, deadline) in [(1, 1001), (2, 1100), (3, 1101), (4, 900)] {
            let tick = wheel.tick_of(deadline);
            wheel.set(slot, tick);
        }

        assert_eq!(wheel.due_in(1000), Some(100));
        assert!(due(&mut wheel, 1099).is_empty());
        assert_eq!(due(&mut wheel, 1100), [1, 2, 4]);
        assert!(due(&mut wheel, 1199).is_empty());
        assert_eq!(due(&mut wheel, 9000), [3]);
        assert_eq!(wheel.due_in(9000), None);
    }

    #[test]
    fn a_crowd_leaves_no_room_behind_in_any_tick() {
        let mut wheel = Wheel::new(0);
        for tick in 1..TICKS {
            for slot in 0..1_000 {
                wheel.set(slot, u32::try_from(tick).expect("a small number"));
            }
            assert_eq!(due(&mut wheel, tick * TICK_MS).len(), 1_000);
        }

        let kept: usize = wheel.slots.iter().map(Vec::capacity).sum();
        assert!(kept <= KEPT * TICKS as usize, "room for {kept}");
    }

    #[test]
    fn a_deadline_beyond_the_wheel_is_looked_at_earlier() {
        let mut wheel = Wheel::new(0);
        let tick = wheel.tick_of(10_000_000);
        wheel.set(1, tick);

        assert_eq!(u64::from(tick), TICKS);
        assert!(due(&mut wheel, TICKS * TICK_MS - 1).is_empty());
        assert_eq!(due(&mut wheel, TICKS * TICK_MS), [1]);
    }
}
