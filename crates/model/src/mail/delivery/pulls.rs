//! Registrations that pull. They are given messages while a pull is there to take them, as many as
//! it asked for, and nothing between two pulls: a window would fill an outbox that is not read.

use super::Delivery;
use crate::mail::{RegistrationId, Seq};

impl Delivery {
    /// A registration that pulls is back. It is asked about the messages that it was given before.
    pub(super) fn resume(&mut self, id: RegistrationId, now_ms: u64) {
        let RegistrationId { server, generation } = id;
        let desk = self.desks.entry(server).or_default();
        let Ok(replaced) = desk.registration.resume(generation) else {
            // It is there, unless another one has taken over.
            let overtaken = (!desk.registration.is_held_by(generation)).then_some(generation);
            return self.tell_replaced(server, overtaken);
        };
        desk.window.begin_to_pull();
        let all: Vec<Seq> = desk.window.iter().map(|(seq, _)| seq).collect();
        self.tell_replaced(server, replaced);
        for seq in all {
            self.hold(server, seq, now_ms);
        }
    }

    /// Begins a pull: the registration may be given `most` more messages.
    pub(super) fn pull_began(&mut self, of: RegistrationId, most: usize, now_ms: u64) {
        let Some(desk) = self.desk(of) else { return };
        if desk.window.pull(most) {
            // Messages that became due between two pulls.
            let due = desk.window.iter().filter(|(_, flight)| flight.deadline <= now_ms);
            let due: Vec<_> = due.map(|(seq, flight)| (flight.deadline, of.server, seq)).collect();
            self.deadlines.extend(due);
        }
        self.hungry.insert(of.server);
    }

    /// Ends a pull: the registration may be given no more than its other pulls take.
    pub(super) fn pull_ended(&mut self, of: RegistrationId, unused: usize, back: &[Seq]) {
        let Some(desk) = self.desk(of) else { return };
        desk.window.end_pull(unused);
        for seq in back {
            self.give_again(of.server, *seq);
        }
    }

    /// Returns true if the messages that a registration is given now are read.
    #[must_use]
    pub fn is_there(&self, of: RegistrationId) -> bool {
        let desk = self.desks.get(&of.server);
        let desk = desk.filter(|desk| desk.registration.is_held_by(of.generation));
        desk.is_some_and(|desk| desk.window.is_open())
    }
}
