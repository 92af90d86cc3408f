//! Flood protection: clients that send more messages than they may.

use instep_node::now_us;
use instep_protocol::janus::Timestamp;
use instep_protocol::janus::codec::encode_error;
use instep_protocol::session::CLOSE_POLICY;

use super::Connection;
use crate::rates::Refused;
use crate::shard::core::Core;

/// Error code for the client.
const CODE: &str = "rate_limited";

impl Connection {
    /// Counts a message; false when it is one too many.
    pub(super) fn may_say(&mut self, core: &Core) -> bool {
        let rates = core.edge.rates();
        let Some(meter) = core.meter.as_ref().filter(|_| !rates.is_exempt(self.peer.ip())) else {
            return true;
        };
        let may = meter.check(&mut self.allowance, core.now).is_ok();
        if !may {
            rates.note(Refused::Message);
        }
        may
    }

    /// Counts what brings next to nothing as messages: it costs as much as they do.
    pub(super) fn count_crumbs(&mut self, slot: u32, crumbs: u32, core: &mut Core) {
        for _ in 0..crumbs {
            if !self.may_say(core) {
                self.end_flood(slot, core);
            }
        }
    }

    /// Closes the connection of a client that goes on and on.
    pub(super) fn end_flood(&mut self, slot: u32, core: &mut Core) {
        if self.allowance.refused > core.edge.rates().refusals() && !self.is_over() {
            tracing::warn!(
                shard = core.shard,
                connection = self.number,
                peer = %self.peer,
                refused = self.allowance.refused,
                "a client sends far too much and is sent away"
            );
            self.end(slot, Some(CLOSE_POLICY), CODE, core);
        }
    }

    /// The same on the Janus wire, whose requests carry nothing by which they could be answered.
    pub(super) fn refuse_janus(&mut self, slot: u32, core: &mut Core) {
        let (at, why) = (Timestamp(now_us()), "too many messages; this one was not taken");
        let error = encode_error(at, CODE, why, None);
        self.out.append(|out| out.extend_from_slice(&error));
        core.write(slot, &mut self.flags);
        self.end_flood(slot, core);
    }
}
