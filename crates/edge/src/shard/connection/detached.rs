//! Sessions that outlive their connections: the Janus wire has them.
//!
//! A connection whose socket is gone keeps its slot, its topics and what was not written; nothing
//! is read for it. Another connection that shows its token gives it its socket.

use instep_model::limits;
use instep_protocol::janus::codec::{Decoder, SERVER_END};
use instep_protocol::janus::{Token, session as janus};
use instep_protocol::session::SharedEvent;

use super::{Connection, Side};
use crate::permits::PermitKind;
use crate::shard::core::{Core, Flags};
use crate::shard::stream::Stream;
use crate::shard::wire::Wire;

impl Connection {
    pub(in crate::shard) fn has_socket(&self) -> bool {
        self.stream.is_there()
    }

    /// The token of the session, on the Janus wire.
    pub(in crate::shard) fn token(&self) -> Option<Token> {
        match &self.side {
            Side::Channels(driver) => driver.token(),
            Side::Raw(_) => None,
        }
    }

    pub(in crate::shard) fn is_detached(&self) -> bool {
        matches!(&self.side, Side::Channels(driver) if driver.is_detached())
    }

    /// The socket is gone; true when the session stays and waits for another one.
    pub(in crate::shard) fn detach(&mut self, slot: u32, core: &mut Core) -> bool {
        if self.is_over() || !self.has_socket() || self.token().is_none() {
            return false;
        }
        self.tell(slot, SharedEvent::Lost, core);
        // Its topics stay where they are: who is blocked is given nothing.
        self.flags.blocked = true;
        self.weigh_all();
        // It counts for its address until it ends, among those that wait, with what it keeps.
        let permit = core.edge.take_permit(PermitKind::Detached, Some(self.peer.ip()));
        let is_full = core.detached >= limits::JANUS_DETACHED_SESSIONS;
        match permit {
            Ok(permit) if !is_full && !self.permit.is_tight() => self.permit = permit,
            Ok(_) | Err(_) => self.tell(slot, SharedEvent::Drain, core),
        }
        if !self.is_detached() {
            return false;
        }
        core.detached += 1;
        self.stream = Stream::Absent;
        self.wire = Wire::Janus(Box::<Decoder>::default());
        self.weigh(core);
        self.line = None;
        self.held = None;
        self.blocked_since = None;
        self.out.rewind(SERVER_END);
        self.flags.readable = false;
        self.weigh_all();
        self.arm(slot, core);
        true
    }

    /// Gives the session the socket of another connection, whose own session ends here.
    pub(in crate::shard) fn attach(&mut self, slot: u32, other: Self, core: &mut Core) {
        core.detached -= 1;
        self.stream = other.stream;
        self.wire = other.wire;
        self.weigh(core);
        self.permit = other.permit;
        self.line = other.line;
        self.held = other.held;
        self.peer = other.peer;
        self.since = other.since;
        self.flags.readable = other.flags.readable;
        self.flags.read_closed = other.flags.read_closed;
        self.flags.blocked = false;
        self.flags.behind = true;
        self.hear(janus::Event::Attached, core);
        // The greeting, the acknowledgement, what had not been written, what is owed.
        let unwritten = std::mem::replace(&mut self.out, other.out);
        let mut frames = std::mem::take(&mut core.actions.frames).into_iter();
        for frame in frames.by_ref().take(1) {
            self.out.append(|out| self.wire.write(out, &frame));
        }
        self.out.append_all(unwritten);
        core.actions.frames.extend(frames);
        self.serve(slot, core);
        self.weigh_all();
        core.write(slot, &mut self.flags);
        core.catch_up(slot, &mut self.flags);
        core.read(slot, &mut self.flags);
        self.arm(slot, core);
    }

    /// The session that it wanted is not there.
    pub(in crate::shard) fn refuse_attach(&mut self, slot: u32, core: &mut Core) {
        self.hear(janus::Event::AttachRefused, core);
        self.serve(slot, core);
    }

    /// Forgets the lists of the shard that it leaves.
    pub(in crate::shard) fn forget_lists(&mut self) {
        let Flags { readable, read_closed, .. } = self.flags;
        self.flags = Flags { readable, read_closed, ..Flags::default() };
        self.timer = u32::MAX;
        self.awaited = 0;
    }

    pub(super) fn hear(&mut self, event: janus::Event<'_>, core: &mut Core) {
        if let Side::Channels(driver) = &mut self.side {
            driver.hear(event, core.now, &mut core.actions);
        }
    }
}
