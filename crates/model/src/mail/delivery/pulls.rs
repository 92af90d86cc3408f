//! Registrations that pull. They are given messages while a pull is there to take them, as many as
//! it asked for, and nothing between two pulls: a window would fill an outbox that nobody empties.

use super::Delivery;
use super::desk::Pulling;

impl Delivery {
    /// A registration that pulls is back. What it was given before it is asked about.
    pub(super) fn resume(&mut self, server: u32, generation: u64, now_ms: u64) {
        let desk = self.desks.entry(server).or_default();
        if desk.generation > generation || (desk.registered && desk.generation == generation) {
            return;
        }
        desk.generation = generation;
        desk.registered = true;
        desk.pulling = Some(Pulling::default());
        let all: Vec<u64> = desk.flights.keys().copied().collect();
        for seq in all {
            self.hold(server, seq, now_ms);
        }
    }

    /// It may be given so many more.
    pub(super) fn pull_began(&mut self, of: (u32, u64), most: usize, now_ms: u64) {
        let Some(desk) = self.desk(of.0, of.1) else { return };
        let pulling = desk.pulling.get_or_insert_default();
        let was_there = pulling.pulls > 0;
        pulling.pulls += 1;
        pulling.allowed += most;
        // What became due while nobody was there.
        let due = desk.flights.iter().filter(|(_, flight)| flight.deadline <= now_ms);
        let due: Vec<_> = due.map(|(seq, flight)| (flight.deadline, of.0, *seq)).collect();
        if !was_there {
            self.deadlines.extend(due);
        }
        self.hungry.insert(of.0);
    }

    /// It may be given no more than the other pulls of the registration take.
    pub(super) fn pull_ended(&mut self, of: (u32, u64), unused: usize, back: &[u64]) {
        let Some(desk) = self.desk(of.0, of.1) else { return };
        if let Some(pulling) = &mut desk.pulling {
            pulling.pulls = pulling.pulls.saturating_sub(1);
            pulling.allowed = match pulling.pulls {
                0 => 0,
                _ => pulling.allowed.saturating_sub(unused),
            };
        }
        for seq in back {
            self.give_again(of.0, *seq);
        }
    }

    /// Returns true if somebody takes what a registration is given now.
    #[must_use]
    pub fn is_there(&self, server: u32, generation: u64) -> bool {
        let desk = self.desks.get(&server).filter(|desk| desk.generation == generation);
        desk.is_some_and(super::desk::Desk::is_there)
    }
}
