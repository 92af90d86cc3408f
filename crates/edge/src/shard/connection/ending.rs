//! Deadlines of a connection, and its end.

use std::io::IoSlice;

use instep_model::limits;
use instep_node::now_us;
use instep_protocol::encode::{Frame, encode_broadcast};
use instep_protocol::janus::Timestamp;
use instep_protocol::janus::codec::encode_error;
use instep_protocol::message::SOCKET_TOPIC;
use instep_protocol::payload::ended::ConnectionClosed;
use instep_protocol::session::{CLOSE_RESTART, Event, SharedEvent};
use instep_protocol::vsn::Vsn;
use instep_protocol::websocket;

use super::{Connection, Ending, Fate, Side};
use crate::shard::core::Core;
use crate::shard::wheel::Entry;
use crate::shard::wire::Wire;

impl Connection {
    /// True when nothing that the client says matters any more.
    pub(in crate::shard) fn is_over(&self) -> bool {
        match self.ending {
            Ending::None | Ending::Leaving { .. } => false,
            Ending::Closing { .. } | Ending::Finished { .. } => true,
        }
    }

    /// Ends the connection in order: its topics at once, the socket when everything is written and
    /// the client has closed its side, or after a while.
    pub(super) fn end(&mut self, slot: u32, code: Option<u16>, reason: &str, core: &mut Core) {
        if self.is_over() {
            return;
        }
        let linger_ms = if self.has_socket() { limits::LINGER_MS } else { 0 };
        self.ending = Ending::Closing { until: core.now + linger_ms };
        self.held = None;
        self.wire.forget();
        self.weigh(core);
        let _entered = self.span(core.shard).entered();
        tracing::debug!(shard = core.shard, connection = self.number, code, reason, "closing");
        // A session that outlives its connection does not outlive this.
        let event = if self.token().is_some() { SharedEvent::Drain } else { SharedEvent::Lost };
        self.tell(slot, event, core);
        let goodbye = self.goodbye(code, reason);
        self.out.append(|out| out.extend_from_slice(&goodbye));
        core.write(slot, &mut self.flags);
        self.arm(slot, core);
    }

    /// The last word on this wire.
    fn goodbye(&self, code: Option<u16>, reason: &str) -> Vec<u8> {
        match &self.wire {
            Wire::WebSocket(_) => websocket::encode_close(code, reason).to_vec(),
            Wire::Length(_) => {
                let payload = ConnectionClosed { code, reason }.encode();
                let close = encode_broadcast(Vsn::V2, SOCKET_TOPIC, "close", &payload);
                let mut goodbye = vec![];
                self.wire.write(&mut goodbye, &Frame::Text(close));
                goodbye
            }
            // It is the end of the stream.
            Wire::Janus(_) => vec![],
        }
    }

    /// Ends it at once, without a look at what it has joined: that may be broken. The client is
    /// told as far as its socket takes it, unless it waits for the rest of a frame.
    pub(in crate::shard) fn abandon(mut self, code: u16) {
        if !self.has_socket() || self.is_over() {
            return;
        }
        let goodbye = self.goodbye(Some(code), "the server has failed");
        if !self.out.is_within_a_piece() && !goodbye.is_empty() {
            // A client that cannot be told sees the end of the stream.
            let _ = self.stream.write(&[IoSlice::new(&goodbye)]);
        }
        self.stream.finish();
    }

    /// Sees to it that the next deadline is looked at.
    pub(in crate::shard) fn arm(&mut self, slot: u32, core: &mut Core) {
        let Some(deadline) = self.next_deadline(core) else {
            return;
        };
        let tick = core.wheel.tick_of(deadline);
        if tick < self.timer {
            self.timer = tick;
            core.wheel.set(slot, tick);
        }
    }

    fn next_deadline(&self, core: &Core) -> Option<u64> {
        let slow_reader_ms = core.edge.options().slow_reader_ms;
        let slow = self.blocked_since.map(|since| since.saturating_add(slow_reader_ms));
        let idle = match &self.side {
            Side::Channels(driver) => driver.next_deadline(),
            Side::Raw(_) => None,
        };
        match self.ending {
            Ending::None => slow.into_iter().chain(idle).chain(self.unfinished_until()).min(),
            Ending::Leaving { until } => slow.into_iter().chain([until]).min(),
            Ending::Closing { until } | Ending::Finished { until } => Some(until),
        }
    }

    /// Time has passed.
    pub(in crate::shard) fn tick(&mut self, entry: Entry, core: &mut Core) -> Fate {
        let Entry { slot, tick } = entry;
        if self.timer != tick {
            return Fate::Stays;
        }
        self.timer = u32::MAX;
        match self.ending {
            Ending::Closing { until } | Ending::Finished { until } if core.now >= until => {
                return Fate::Gone;
            }
            Ending::Closing { .. } | Ending::Finished { .. } => {}
            Ending::Leaving { until } if core.now >= until => self.send_away(slot, core),
            Ending::None | Ending::Leaving { .. } => self.tick_alive(slot, core),
        }
        self.arm(slot, core);
        Fate::Stays
    }

    fn tick_alive(&mut self, slot: u32, core: &mut Core) {
        let slow_reader_ms = core.edge.options().slow_reader_ms;
        let is_slow = |since| core.now.saturating_sub(since) >= slow_reader_ms;
        if self.blocked_since.is_some_and(is_slow) {
            core.counters.evicted.add(1);
            tracing::warn!(
                shard = core.shard,
                connection = self.number,
                peer = %self.peer,
                waiting_bytes = self.out.bytes(),
                "a client takes nothing and is sent away"
            );
            if self.token().is_some() {
                let (at, why) = (Timestamp(now_us()), "the connection takes too little");
                let error = encode_error(at, "too_slow", why, None);
                self.out.append(|out| out.extend_from_slice(&error));
            }
            return self.end(slot, Some(CLOSE_RESTART), "too slow", core);
        }
        // A client that does not take its answers is not read, so its silence says nothing.
        // Nor is it silent while what it said waits to be read.
        let unheard = self.flags.reading && self.flags.readable;
        let deaf = (self.is_paused() || unheard) && self.has_socket();
        if self.unfinished_until().is_some_and(|until| core.now >= until) {
            if deaf {
                // It may well have said the rest.
                self.unfinished_since = core.now
            } else {
                return self.end_holding(slot, core);
            }
        }
        let event = if deaf { Event::Alive } else { SharedEvent::Tick.into() };
        self.tell(slot, event, core);
    }
}
