//! Damage that breaks continuity: a log that was damaged and repaired.

use instep_embedded::error::OpenError;
use instep_embedded::repair::{RepairReport, repair};
use instep_model::disk::simulated::Fault;
use instep_model::position::Incarnation;

use super::World;
use crate::history::Event;
use crate::node::{directory, is_dark};

/// Bytes of a segment's header; what lies behind is frames.
const HEADER_BYTES: usize = 96;
/// Times that a repair is run again on a disk that fails now and then.
const REPAIRS: usize = 8;

impl World {
    /// A byte of an old entry changes while the process is down. The log must refuse to open, and
    /// a repair must begin another history unless a snapshot covers the entry.
    pub(super) fn damage_and_repair(&mut self) {
        let Some(node) = &self.node else { return };
        let (floor, head) = node.bounds();
        // With a trimmed log or few entries nothing would be left to continue from.
        if floor != 1 || head < 3 {
            return;
        }
        self.node = None;
        self.trace.push(Event::DeadLettered { power: true });
        self.disk.crash();
        for subscriber in &mut self.subscribers {
            subscriber.lose(&mut self.trace);
        }
        self.damage();
        self.repair();
        if !self.over {
            self.start();
        }
    }

    fn damage(&mut self) {
        let first = directory().join(format!("{:020}.segment", 1));
        let Ok(mut bytes) = self.disk.contents(&first) else {
            return;
        };
        // The first entry is always longer than this, and others follow it.
        let at = HEADER_BYTES + self.dice.below(100);
        bytes[at] ^= 1 << self.dice.below(8);
        // Only the named file exists, so this cannot fail.
        let _ = self.disk.replace(&first, &bytes);
    }

    fn repair(&mut self) {
        let new = Incarnation(self.dice.uuid());
        self.disk.set_capacity(None);
        let mut outcome = self.try_repair(new, true);
        let failed = outcome.is_err();
        for attempt in 1..REPAIRS {
            if outcome.is_ok() {
                break;
            }
            if is_dark(&self.disk) || self.dice.chance(30) {
                self.disk.crash()
            } else {
                self.disk.kill()
            }
            outcome = self.try_repair(new, attempt < REPAIRS / 2);
        }
        match outcome {
            // An attempt that failed only when it was over is found to have been one.
            Ok(report) if report.incarnation != self.incarnation => {
                if let (Some(old), Some(incarnation)) = (self.incarnation, report.incarnation) {
                    let copied = Some((old, report.head));
                    self.trace.push(Event::Began { incarnation, copied });
                    self.incarnation = Some(incarnation);
                }
            }
            // A snapshot covers it: only history was given up.
            Ok(report) if report.changed || failed => {}
            Ok(_) => self.give_up("damage in an old entry was not seen".into()),
            Err(error) => self.give_up(error.to_string()),
        }
    }

    /// Repairs, on a disk that may fail once or go dark.
    fn try_repair(&mut self, new: Incarnation, injured: bool) -> Result<RepairReport, OpenError> {
        if injured && self.dice.chance(50) {
            self.disk.inject(Fault::DirectorySyncError, self.dice.below(10) as u64);
        }
        if injured && self.dice.chance(25) {
            self.disk.power_off_after(self.dice.below(30) as u64);
        }
        repair(&self.disk, &directory(), new)
    }

    fn give_up(&mut self, reason: String) {
        self.trace.push(Event::NotRecovered { reason });
        self.over = true;
    }
}
