//! Leaving: a client that the server sends away has its answers first.
//!
//! | the connection is | told to leave | its last answer comes | the time is over |
//! | --- | --- | --- | --- |
//! | open, nothing asked | closing (1012) | – | – |
//! | open, answers awaited | leaving: not read any more | – | – |
//! | leaving | leaving | closing (1012) | closing (1012) |

use instep_model::limits;
use instep_protocol::session::{CLOSE_RESTART, SharedEvent};

use super::{Connection, Ending, Side};
use crate::shard::core::Core;

impl Connection {
    /// Drain: asks the client to come back later, behind the answers to what it has asked. What it
    /// has sent and was not decoded is not carried out.
    pub(in crate::shard) fn drain(&mut self, slot: u32, core: &mut Core) {
        match (core.drained_by, self.ending) {
            // A session without a socket cannot be told anything any more.
            (Some(until), Ending::None) if self.awaited > 0 && self.has_socket() => {
                self.ending = Ending::Leaving { until };
                self.arm(slot, core);
            }
            (_, Ending::None | Ending::Leaving { .. }) => self.send_away(slot, core),
            (_, Ending::Closing { .. } | Ending::Finished { .. }) => {}
        }
    }

    /// Closes a connection that leaves, once nothing that it asked is unanswered.
    pub(super) fn leave_if_answered(&mut self, slot: u32, core: &mut Core) {
        if self.is_leaving() && self.awaited == 0 {
            self.send_away(slot, core);
        }
    }

    /// Closes the connection; its client comes back later.
    pub(super) fn send_away(&mut self, slot: u32, core: &mut Core) {
        match &self.side {
            Side::Channels(_) => self.tell(slot, SharedEvent::Drain, core),
            Side::Raw(_) => self.end(slot, Some(CLOSE_RESTART), "draining", core),
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.ending, Ending::Leaving { .. })
    }

    /// Time by which a client that was told everything should have closed its side. A server that
    /// stops waits a moment only.
    pub(super) fn last_word_until(&self, core: &Core) -> u64 {
        let linger_ms = match core.drained_by {
            Some(_) => limits::DRAIN_LINGER_MS,
            None => limits::LINGER_MS,
        };
        core.now.saturating_add(linger_ms)
    }
}
