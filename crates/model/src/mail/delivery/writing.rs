//! Last check before a message is written to a server: between the choice and the writing a move
//! may have become durable, or two, and its time may be over.

use crate::mail::{Mail, Seq, ServerNo, Status};

impl Mail {
    /// Returns true if a message that was chosen for a server is still to be written to it. `route`
    /// is the generation of the route that it had then: one that was moved away and back comes
    /// anew, in its place among the others, and so does one that rests.
    #[must_use]
    pub fn is_its_own(&self, seq: Seq, server: ServerNo, route: u32, now_ms: u64) -> bool {
        self.message(seq).is_some_and(|message| {
            message.status == Status::Pending
                && message.not_before == 0
                && (message.server, message.generation) == (server, route)
                && !self.has_expired(seq, &message, now_ms)
        })
    }
}
