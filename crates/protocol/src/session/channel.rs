//! A channel: one join of one topic on one socket, and the messages that wait for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::encode::{Address, Body, Frame};
use crate::reference::Ref;

/// The number of a channel within its session. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// One join of one topic on one socket.
///
/// The session hands it out with [`Effect::Join`](super::Effect::Join) and takes it back in
/// events. A rejoin is another channel even if the client repeats its join_ref, so news of an
/// old channel can never be taken for news of its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel(Arc<Join>);

#[derive(Debug, PartialEq, Eq)]
struct Join {
    id: ChannelId,
    topic: Arc<str>,
    join_ref: Option<Ref<'static>>,
    reference: Option<Ref<'static>>,
}

impl Channel {
    pub(crate) fn new(
        id: ChannelId,
        topic: Arc<str>,
        join_ref: Option<Ref<'static>>,
        reference: Option<Ref<'static>>,
    ) -> Self {
        Self(Arc::new(Join { id, topic, join_ref, reference }))
    }

    /// The number of the channel within its session.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.0.id
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.0.topic
    }

    /// The join_ref as the client gave it; version 1 clients give none.
    #[must_use]
    pub fn join_ref(&self) -> Option<&Ref<'static>> {
        self.0.join_ref.as_ref()
    }

    /// Returns true if a message with this join_ref means this channel. Clients that leave the
    /// join_ref out, at the join or later, mean whatever is joined.
    pub(super) fn is_meant_by(&self, join_ref: Option<&Ref<'_>>) -> bool {
        match (self.join_ref(), join_ref) {
            (Some(own), Some(theirs)) => own == theirs,
            _ => true,
        }
    }

    pub(super) fn address<'a>(&'a self, reference: Option<&'a Ref<'a>>) -> Address<'a> {
        Address { join_ref: self.join_ref(), reference, topic: self.topic() }
    }

    /// Returns the address of the answer to the join.
    pub(super) fn join_address(&self) -> Address<'_> {
        self.address(self.0.reference.as_ref())
    }

    /// Returns the address of `phx_close` and `phx_error`: their ref is the join_ref. Without one
    /// it is the ref of the join, by which version 1 clients tell a close of an older join.
    pub(super) fn end_address(&self) -> Address<'_> {
        self.address(self.join_ref().or(self.0.reference.as_ref()))
    }
}

/// The right to answer one push, once. A second use has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    pub(super) channel: Channel,
    pub(super) number: u64,
    pub(super) reference: Ref<'static>,
}

impl ReplyTo {
    /// The right to answer something that has no ref on its wire.
    pub(crate) fn unnamed(channel: Channel, number: u64) -> Self {
        Self { channel, number, reference: Ref::string("") }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The channel that the push was made on.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The ref of the push.
    #[must_use]
    pub fn reference(&self) -> &Ref<'static> {
        &self.reference
    }
}

/// Entry of a channel in its session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) channel: Channel,
    pub(super) phase: Phase,
}

/// The channels of a session, by topic: few on most, so that they take no more room than they
/// need.
#[derive(Debug, Default)]
pub(super) struct Entries(Vec<Entry>);

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    pub(super) fn get(&self, topic: &str) -> Option<&Entry> {
        self.place(topic).ok().map(|at| &self.0[at])
    }

    pub(super) fn get_mut(&mut self, topic: &str) -> Option<&mut Entry> {
        self.place(topic).ok().map(|at| &mut self.0[at])
    }

    /// Adds a channel, in the place of another one of the same topic.
    pub(super) fn insert(&mut self, entry: Entry) {
        match self.place(entry.channel.topic()) {
            Ok(at) => self.0[at] = entry,
            Err(at) => {
                if self.0.len() < 4 {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, entry);
            }
        }
    }

    pub(super) fn remove(&mut self, topic: &str) -> Option<Entry> {
        self.place(topic).ok().map(|at| self.0.remove(at))
    }

    fn place(&self, topic: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|entry| (**entry.channel.topic()).cmp(topic))
    }
}

impl IntoIterator for Entries {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The join is not answered yet. Nothing of the channel is sent meanwhile.
    Joining {
        /// The channel that this join replaced: its close follows the answer.
        replaced: Option<Channel>,
        /// Pushes and answers that are held meanwhile, in order.
        held: VecDeque<HeldMessage>,
    },
    /// The client knows that it has joined.
    Joined {
        /// Pushes without an answer, by number.
        unanswered: BTreeMap<u64, Ref<'static>>,
    },
}

/// Message that waits for the answer to a join.
#[derive(Debug)]
pub(super) enum HeldMessage {
    /// A push of the client.
    Push(ClientPush),
    /// An answer that is already known.
    Answer(Frame),
    /// A push of the server.
    ServerPush(Frame),
}

/// A push of the client.
#[derive(Debug)]
pub(super) struct ClientPush {
    pub(super) reference: Option<Ref<'static>>,
    pub(super) event: String,
    pub(super) payload: Body,
}

impl HeldMessage {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Push(push) => push.event.len() + push.payload.as_bytes().len(),
            Self::Answer(frame) | Self::ServerPush(frame) => frame_bytes(frame).len(),
        }
    }
}

fn frame_bytes(frame: &Frame) -> &Bytes {
    match frame {
        Frame::Text(bytes) | Frame::Binary(bytes) => bytes,
    }
}
