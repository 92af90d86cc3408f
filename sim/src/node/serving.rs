//! Delivery to subscribers: the feed, the rings, and their sockets.

use instep_model::feed::{BOOKMARK_EVENT, Body, JoinRefusal, Joined, Mode, Notice};
use instep_model::position::Position;
use instep_protocol::encode::encode_broadcast;
use instep_protocol::vsn::Vsn;
use serde_json::json;

use super::{Fault, Node, VIEWS_LIMIT};
use crate::history::Event;
use crate::rings::{Found, Frame, RING_FRAMES};
use crate::socket::{SOCKET_FRAMES, Socket, Wish};

impl Node {
    /// Takes one committed entry into the feed, and tells the joined topics.
    pub(crate) fn show(&mut self, trace: &mut Vec<Event>) {
        self.hold("entries for the views", self.shown.len(), VIEWS_LIMIT + 1, trace);
        let Some(committed) = self.shown.pop_front() else {
            return;
        };
        let notices = self.feed.apply(&committed.commits, committed.tables, committed.place);
        for notice in self.spoil_notices(notices) {
            let frame = Frame {
                bytes: encode_broadcast(Vsn::V2, &notice.topic, &notice.event, &notice.payload()),
                position: notice.position,
            };
            self.push(&notice.topic, frame, trace);
        }
    }

    fn spoil_notices(&self, mut notices: Vec<Notice>) -> Vec<Notice> {
        match self.fault {
            Some(Fault::DropLeaves) => notices.retain(|notice| !is_absence(&notice.body)),
            Some(Fault::PositionOnEveryFrame) => {
                let mut later = None;
                for notice in notices.iter_mut().rev() {
                    later = notice.position.or(later);
                    notice.position = later;
                }
            }
            _ => {}
        }
        notices
    }

    fn push(&mut self, topic: &str, frame: Frame, trace: &mut Vec<Event>) {
        let bounded = self.fault != Some(Fault::UnboundedRing);
        let held = self.rings.push(topic, frame, bounded);
        self.hold("frames of a ring", held, RING_FRAMES, trace);
    }

    /// Tells every joined topic up to where it is complete.
    pub(crate) fn bookmark(&mut self, trace: &mut Vec<Event>) {
        let position = match self.fault {
            Some(Fault::BookmarkAhead) => self.position(),
            _ => self.feed.position(),
        };
        if self.bookmarked == position.place {
            return;
        }
        self.bookmarked = position.place;
        for topic in self.rings.topics() {
            if !self.feed.has_topic(&topic) {
                continue;
            }
            let payload = json!({"position": position}).to_string();
            let bytes = encode_broadcast(Vsn::V2, &topic, BOOKMARK_EVENT, payload.as_bytes());
            let position = Some(position);
            self.push(&topic, Frame { bytes, position }, trace);
        }
    }

    /// A client connects, replacing its earlier connection.
    pub(crate) fn connect(&mut self, reader: u32) {
        self.sockets.insert(reader, Socket::new(self.now_ms));
    }

    /// Takes a frame from a client.
    pub(crate) fn receive(&mut self, reader: u32, text: &str) {
        let now_ms = self.now_ms;
        let Some(socket) = self.sockets.get_mut(&reader) else {
            return;
        };
        for Wish { channel, since } in socket.receive(text, now_ms) {
            let topic = channel.topic().to_string();
            let joined = self.join(&topic, since);
            let late = self.fault == Some(Fault::HandOverLate);
            let cursor = self.rings.end(&topic);
            if let Some(socket) = self.sockets.get_mut(&reader) {
                socket.answer(channel, joined, (!late).then_some(cursor), now_ms);
            }
        }
    }

    fn join(
        &self,
        topic: &str,
        mut since: Option<Option<Position>>,
    ) -> Result<Joined, JoinRefusal> {
        let here = self.feed.position();
        if let (Some(Fault::ComparePlacesAcrossHistories), Some(Some(since))) =
            (self.fault, &mut since)
        {
            since.incarnation = here.incarnation;
        }
        let mut joined = self.feed.join(topic, since)?;
        let ours = since.flatten().and_then(|since| since.place_in(here.incarnation));
        match (self.fault, joined.mode) {
            (Some(Fault::ResumeAtHead), Mode::Resume) => joined.notices.clear(),
            (Some(Fault::ResumeBelowFloor), Mode::Reset) if ours.is_some() => {
                joined = self.feed.join(topic, Some(Some(here)))?;
            }
            (Some(Fault::ResetKeepsRows), Mode::Reset) if ours.is_some() => {
                joined.mode = Mode::Resume;
            }
            _ => {}
        }
        Ok(joined)
    }

    /// Moves what a socket takes to it: first what comes before the ring, then the ring.
    pub(crate) fn pump(&mut self, reader: u32, trace: &mut Vec<Event>) {
        let others_full =
            self.sockets.iter().any(|(other, socket)| *other != reader && socket.is_full());
        if self.fault == Some(Fault::SlowReaderBlocksOthers) && others_full {
            return;
        }
        while self.pump_one(reader, trace) {}
    }

    /// Moves one frame; false when there is nothing to move, or no room.
    fn pump_one(&mut self, reader: u32, trace: &mut Vec<Event>) -> bool {
        let Some(socket) = self.sockets.get_mut(&reader) else {
            return false;
        };
        if !socket.flush() || socket.is_full() {
            let held = socket.sent.len();
            self.hold("frames of a socket", held, SOCKET_FRAMES, trace);
            return false;
        }
        let Some(joining) = socket.joined() else {
            return false;
        };
        let topic = joining.channel.topic().to_string();
        let cursor = joining.cursor.unwrap_or_else(|| self.rings.end(&topic));
        joining.cursor = Some(cursor);
        let told = joining.told;
        match self.rings.read(&topic, cursor) {
            Found::Nothing => false,
            Found::Frame(frame) => {
                joining.cursor = Some(cursor + 1);
                joining.told = frame.position.unwrap_or(told);
                socket.sent.push_back(frame.bytes);
                true
            }
            Found::Lagged => {
                let end = self.rings.end(&topic);
                let now_ms = self.now_ms;
                match self.join(&topic, Some(Some(told))) {
                    Ok(joined) => {
                        if let Some(socket) = self.sockets.get_mut(&reader) {
                            socket.catch_up(&joined, end, now_ms);
                        }
                        true
                    }
                    // The topic is gone: so is the connection, and the next join is refused.
                    Err(_) => {
                        self.sockets.remove(&reader);
                        false
                    }
                }
            }
        }
    }

    /// Position of the feed.
    pub(crate) fn feed_position(&self) -> Position {
        self.feed.position()
    }
}

fn is_absence(body: &Body) -> bool {
    match body {
        Body::Gone | Body::Left { .. } => true,
        Body::Row(_) | Body::Fields(_) => false,
    }
}
