//! Bytes of a socket become messages.

use std::io;
use std::net::IpAddr;

use instep_model::limits;
use instep_node::now_us;
use instep_protocol::janus::Timestamp;
use instep_protocol::janus::codec::{Frame, encode_error};
use instep_protocol::janus::session as janus;
use instep_protocol::message::DecodeError;
use instep_protocol::session::{CLOSE_TRY_LATER, Event, Incoming, SharedEvent};
use instep_protocol::websocket::{self, Decoded, Message};
use instep_protocol::{encode, length};

use super::{Connection, Ending, Fate, Side};
use crate::shard::core::Core;
use crate::shard::wire::Wire;
use crate::websocket::RawMessage;

impl Connection {
    /// Reads once, into the buffer of the shard, and takes in what came.
    pub(in crate::shard) fn read(&mut self, slot: u32, buffer: &mut [u8], core: &mut Core) -> Fate {
        if let Some(mut held) = self.held.take() {
            let before = core.counters.frames_in.get();
            self.decode(slot, &mut held, core);
            self.bound(slot, core.counters.frames_in.get() > before, core);
        }
        if self.is_paused() || !self.flags.readable {
            return Fate::Stays;
        }
        match self.stream.read(buffer) {
            Ok(0) => self.hung_up(slot, core),
            Ok(bytes) => {
                core.counters.bytes_in.add(bytes as u64);
                // A read that falls short has emptied the socket; it tells when more comes.
                let is_full = bytes == buffer.len();
                self.flags.readable =
                    is_full || self.flags.read_closed || self.stream.holds_bytes();
                let before = core.counters.frames_in.get();
                self.decode(slot, &mut buffer[..bytes], core);
                let has_said = core.counters.frames_in.get() > before;
                self.bound(slot, has_said, core);
                if !has_said && bytes < limits::TRICKLE_BYTES && self.unfinished > 0 {
                    self.count_crumbs(slot, 1, core);
                }
                self.resume(slot, core);
                Fate::Stays
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.flags.readable = false;
                Fate::Stays
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.resume(slot, core);
                Fate::Stays
            }
            Err(_) => Fate::Gone,
        }
    }

    /// The client says nothing more. Over plain TCP it may still want to hear the rest.
    fn hung_up(&mut self, slot: u32, core: &mut Core) -> Fate {
        let is_owed = !self.out.is_empty() && matches!(self.wire, Wire::Length(_));
        match self.ending {
            Ending::None | Ending::Leaving { .. } if is_owed => {
                self.ending = Ending::Closing { until: core.now + limits::LINGER_MS };
                self.flags.readable = false;
                self.tell(slot, SharedEvent::Lost, core);
                core.write(slot, &mut self.flags);
                self.arm(slot, core);
                Fate::Stays
            }
            Ending::Closing { .. } if is_owed => {
                self.flags.readable = false;
                Fate::Stays
            }
            Ending::None
            | Ending::Leaving { .. }
            | Ending::Closing { .. }
            | Ending::Finished { .. } => Fate::Gone,
        }
    }

    /// Looks at its unfinished message: when that began, and whether those of all together are over
    /// the limit. Then a client that holds one is sent away, not necessarily this one.
    fn bound(&mut self, slot: u32, has_said: bool, core: &mut Core) {
        let before = self.unfinished;
        self.weigh(core);
        if self.unfinished == 0 || self.is_over() {
            return;
        }
        if before == 0 || has_said {
            self.unfinished_since = core.now;
            self.arm(slot, core);
        }
        let has_grown = self.unfinished > before.max(limits::UNFINISHED_SPARED_BYTES);
        core.is_overfull |=
            has_grown && (core.unfinished > limits::UNFINISHED_BYTES || self.permit.is_tight());
    }

    /// Bytes of its unfinished message, if they are worth a thought, with when it began and whose
    /// they are.
    pub(in crate::shard) fn holding(&self) -> Option<(usize, u64, Option<IpAddr>)> {
        let is_large = self.unfinished > limits::UNFINISHED_SPARED_BYTES && !self.is_over();
        is_large.then(|| (self.unfinished, self.unfinished_since, self.permit.address()))
    }

    /// True for one that should give what it holds, because its address has more than it may.
    pub(in crate::shard) fn is_tight(&self) -> bool {
        self.permit.is_tight()
    }

    /// Ends the connection of a client that holds an unfinished message for too long, or for
    /// longer than others while there is no room.
    pub(in crate::shard) fn end_holding(&mut self, slot: u32, core: &mut Core) {
        core.counters.overfull.add(1);
        tracing::warn!(
            shard = core.shard,
            connection = self.number,
            peer = %self.peer,
            unfinished = core.unfinished,
            "a client that does not finish its message is sent away"
        );
        let why = "the message was not finished in time";
        if self.token().is_some() {
            let error = encode_error(Timestamp(now_us()), "overloaded", why, None);
            self.out.append(|out| out.extend_from_slice(&error));
        }
        self.end(slot, Some(CLOSE_TRY_LATER), why, core);
    }

    /// Deadline of an unfinished message, in milliseconds of the clock of the edge.
    pub(super) fn unfinished_until(&self) -> Option<u64> {
        let bytes = self.unfinished as u64;
        let takes = limits::UNFINISHED_MS + bytes * 1_000 / limits::BODY_BYTES_PER_S;
        (bytes > 0).then(|| self.unfinished_since.saturating_add(takes))
    }

    /// Counts anew what it keeps of an unfinished frame.
    pub(in crate::shard) fn weigh(&mut self, core: &mut Core) {
        let now = self.wire.unfinished();
        if now != self.unfinished {
            core.unfinished = core.unfinished - self.unfinished + now;
            core.counters.unfinished.set(core.unfinished as u64);
            let is_large = self.unfinished.max(now) > limits::UNFINISHED_SPARED_BYTES;
            self.unfinished = now;
            if is_large {
                self.weigh_all();
            }
        }
    }

    /// Takes its unfinished bytes out of the shard's count, when it goes.
    pub(in crate::shard) fn unweigh(&mut self, core: &mut Core) {
        core.unfinished -= std::mem::take(&mut self.unfinished);
        core.counters.unfinished.set(core.unfinished as u64);
    }

    fn decode(&mut self, slot: u32, input: &mut [u8], core: &mut Core) {
        let mut at = 0;
        while at < input.len() && !self.is_over() {
            if self.is_paused() {
                self.held = Some(input[at..].into());
                return;
            }
            at += match &mut self.wire {
                Wire::WebSocket(_) => self.decode_websocket(slot, &mut input[at..], core),
                Wire::Length(_) => self.decode_length(slot, &input[at..], core),
                Wire::Janus(_) => self.decode_janus(slot, &input[at..], core),
            };
        }
    }

    fn decode_janus(&mut self, slot: u32, input: &[u8], core: &mut Core) -> usize {
        let Wire::Janus(decoder) = &mut self.wire else {
            return input.len();
        };
        let mut rest = input;
        match decoder.decode(&mut rest) {
            Some(Ok(frame)) => {
                core.counters.frames_in.add(1);
                let is_request = matches!(frame, Frame::Request(_) | Frame::Publish(_));
                if is_request && !self.may_say(core) {
                    self.refuse_janus(slot, core);
                } else {
                    self.hear(janus::Event::Received(frame), core);
                }
            }
            Some(Err(error)) => self.hear(janus::Event::Malformed(error), core),
            None => return input.len(),
        }
        self.serve(slot, core);
        input.len() - rest.len()
    }

    fn decode_websocket(&mut self, slot: u32, input: &mut [u8], core: &mut Core) -> usize {
        let Wire::WebSocket(decoder) = &mut self.wire else {
            return input.len();
        };
        let limit = match &self.side {
            Side::Channels(_) => core.edge.options().frame_bytes,
            Side::Raw(raw) => raw.limit,
        };
        match decoder.decode(input, limit) {
            Ok(decoded) => {
                let Decoded { consumed, message, crumbs } = decoded;
                if let Some(message) = message {
                    self.websocket_message(slot, message, core);
                }
                self.count_crumbs(slot, crumbs, core);
                consumed
            }
            Err(violation) => {
                let reason = match violation {
                    websocket::Violation::Protocol(why) => why,
                    websocket::Violation::NotUtf8 => "the text is not UTF-8",
                    websocket::Violation::TooLarge { .. } => "the message is over the limit",
                };
                self.end(slot, Some(violation.code()), reason, core);
                input.len()
            }
        }
    }

    fn websocket_message(&mut self, slot: u32, message: Message<'_>, core: &mut Core) {
        // They cost as much as messages do.
        if matches!(message, Message::Ping(_) | Message::Pong) && !self.may_say(core) {
            return self.end_flood(slot, core);
        }
        match (&self.side, message) {
            (Side::Channels(_), Message::Text(text)) => {
                self.receive(slot, Incoming::Text(&text), core);
            }
            (Side::Channels(_), Message::Binary(bytes)) => {
                self.receive(slot, Incoming::Binary(&bytes), core);
            }
            (Side::Raw(raw), Message::Text(text)) => {
                let answer = (raw.answer)(RawMessage::Text(&text));
                self.answer_raw(slot, answer, core);
            }
            (Side::Raw(raw), Message::Binary(bytes)) => {
                let answer = (raw.answer)(RawMessage::Binary(&bytes));
                self.answer_raw(slot, answer, core);
            }
            (_, Message::Ping(payload)) => {
                self.out.append(|out| out.extend_from_slice(&websocket::encode_pong(&payload)));
                core.write(slot, &mut self.flags);
                self.tell(slot, Event::Alive, core);
            }
            (_, Message::Pong) => self.tell(slot, Event::Alive, core),
            (_, Message::Close(code)) => self.end(slot, code, "", core),
        }
    }

    fn answer_raw(&mut self, slot: u32, answer: Option<encode::Frame>, core: &mut Core) {
        if let Some(frame) = answer {
            self.out.append(|out| self.wire.write(out, &frame));
            core.write(slot, &mut self.flags);
        }
    }

    fn decode_length(&mut self, slot: u32, input: &[u8], core: &mut Core) -> usize {
        let Wire::Length(decoder) = &mut self.wire else {
            return input.len();
        };
        match decoder.decode(input, core.edge.options().frame_bytes) {
            Ok(decoded) => {
                if let Some(frame) = decoded.frame {
                    self.receive(slot, length::incoming(&frame), core);
                }
                decoded.consumed
            }
            Err(_) => {
                self.receive(slot, Incoming::Malformed(DecodeError::FrameTooLarge), core);
                let code = websocket::CLOSE_TOO_LARGE;
                self.end(slot, Some(code), "the frame is over the limit", core);
                input.len()
            }
        }
    }
}
