//! Delivery to subscribers: the feed, the rings, and their sockets.

use instep_model::feed::{Body, JoinRefusal, Joined, Mode, Notice};
use instep_model::position::Position;
use instep_model::ring::{Cursor, Frame, Read, Ring, RingLimits, complete_up_to};
use instep_protocol::payload::frame;

use super::{Arc, Fault, Node, RING, VIEWS_LIMIT};
use crate::history::Event;
use crate::socket::{SOCKET_FRAMES, Socket};

impl Node {
    /// Takes one committed entry into the feed, and tells the joined topics.
    pub(crate) fn show(&mut self, trace: &mut Vec<Event>) {
        self.hold("entries for the views", self.shown.len(), VIEWS_LIMIT + 1, trace);
        let Some(committed) = self.shown.pop_front() else {
            return;
        };
        let notices = self.feed.apply(&committed.commits, committed.tables, committed.place);
        for notice in self.spoil_notices(notices) {
            self.push(&notice.topic, frame::of_notice(&notice), trace);
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
        if let Some(ring) = self.rings.get_mut(topic) {
            ring.push(Arc::new(frame), self.steady_ms);
            let (frames, _) = ring.occupancy();
            self.hold("frames of a ring", frames, RING.frames, trace);
        }
    }

    /// The place behind everything on a topic's ring, which is there from now on.
    fn end(&mut self, topic: &str) -> Cursor {
        let limits = match self.fault {
            Some(Fault::UnboundedRing) => {
                RingLimits { frames: usize::MAX, bytes: usize::MAX, ms: u64::MAX }
            }
            _ => RING,
        };
        self.rings.entry(topic.into()).or_insert_with(|| Ring::new(limits)).end()
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
        let topics: Vec<_> = self.rings.keys().cloned().collect();
        for topic in topics {
            if self.feed.has_topic(&topic) {
                self.push(&topic, frame::bookmark(&topic, position), trace);
            }
        }
    }

    /// A client connects, replacing its earlier connection.
    pub(crate) fn connect(&mut self, reader: u32) {
        self.sockets.insert(reader, Socket::new(self.steady_ms));
    }

    /// Takes a frame from a client.
    pub(crate) fn receive(&mut self, reader: u32, text: &str) {
        let (fault, steady_ms) = (self.fault, self.steady_ms);
        let Some(socket) = self.sockets.get_mut(&reader) else {
            return;
        };
        for request in socket.receive(text, steady_ms) {
            let topic = request.channel.topic().to_string();
            let joined = self.join(&topic, request.since);
            let cursor = self.end(&topic);
            let cursor = (fault != Some(Fault::HandOverLate)).then_some(cursor);
            if let Some(socket) = self.sockets.get_mut(&reader) {
                socket.answer(request, joined, cursor, (fault, steady_ms));
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

    /// Moves frames to a socket as it takes them: first those before the ring, then the ring.
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
        if socket.tell_rest(self.steady_ms) {
            return true;
        }
        let Some(joining) = socket.joined() else {
            return false;
        };
        let topic = joining.channel.topic().to_string();
        let Some(ring) = self.rings.get(&*topic) else { return false };
        let mut cursor = joining.cursor.unwrap_or_else(|| ring.end());
        let read = ring.read(&mut cursor, 1);
        let since = joining.position;
        match read {
            Read::Frames(frames) => {
                joining.cursor = Some(cursor);
                joining.position = complete_up_to(&frames).or(since);
                socket.sent.extend(frames.iter().map(|frame| frame.encoded.clone()));
                !frames.is_empty()
            }
            Read::Lagged { missed } => {
                let joined = self.join(&topic, Some(since));
                if let Some(socket) = self.sockets.get_mut(&reader) {
                    match joined {
                        Ok(joined) => socket.catch_up(missed, joined, cursor),
                        // The topic is gone: the client joins again and is told why.
                        Err(_) => socket.end_channel(self.steady_ms),
                    }
                }
                true
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
