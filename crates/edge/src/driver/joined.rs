//! Topic that a client has joined.

use std::sync::Arc;

use instep_model::position::Position;
use instep_model::presence::Greeting;
use instep_model::ring::{Cursor, Frame as RingFrame, Read, complete_up_to};
use instep_node::mail::Registration;
use instep_node::{Dataset, Subscription};
use instep_protocol::session::{Channel, ChannelId};

use super::presence::PresenceHandle;
use super::rest::Rest;
use super::role::MailRole;
use crate::states::TopicState;

/// A topic that the client has joined. First what every message looks at and leaves behind: with
/// many subscribers each line of memory is one more wait.
#[repr(C)]
pub(crate) struct Joined {
    pub(super) id: ChannelId,
    /// Seat, on a live topic that keeps presence. It is dropped before the subscription: who leaves
    /// is told while there is a topic.
    pub(super) presence: Option<Box<PresenceHandle>>,
    pub(crate) subscription: Subscription,
    pub(super) channel: Channel,
    /// Membership, on a topic of mail.
    pub(super) mail: Option<Box<MailRole>>,
    /// Dataset behind the topic; none for live topics.
    pub(super) dataset: Option<Dataset>,
    /// Rest of the join, to be sent before it reads on.
    pub(super) rest: Option<Box<Rest>>,
    /// The client is complete up to here.
    pub(super) position: Option<Position>,
    pub(super) anyone_publishes: bool,
    /// Mark of the topic in the shard that has noted this subscriber …
    pub(crate) mark: u32,
    /// … and its place among the subscribers.
    pub(crate) place: u32,
}

/// Result of reading a topic for a subscriber.
pub(crate) enum News {
    /// Frames, in order.
    Frames(Vec<Arc<RingFrame>>),
    /// It fell off the ring and missed this many.
    Missed(u64),
}

impl Joined {
    pub(super) fn new(channel: Channel, subscription: Subscription) -> Self {
        Self {
            id: channel.id(),
            presence: None,
            subscription,
            channel,
            mail: None,
            dataset: None,
            rest: None,
            position: None,
            anyone_publishes: false,
            mark: 0,
            place: 0,
        }
    }

    /// Presence that a joiner gets first, where presence is kept.
    pub(super) fn greeting(&self) -> Option<Greeting> {
        self.presence.as_ref()?;
        self.subscription.topic().greet()
    }

    /// The dataset behind the topic; none behind a live one.
    pub(super) fn dataset(&self) -> Option<&Dataset> {
        self.dataset.as_ref().or_else(|| self.mail.as_ref().map(|part| part.dataset()))
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }

    /// True while rows that did not fit an answer are to be told.
    pub(crate) fn owes(&self) -> bool {
        self.rest.is_some()
    }

    /// The topic and how far behind it is, for people who look.
    pub(crate) fn state(&self) -> TopicState {
        let topic = self.subscription.topic().name().to_string();
        TopicState { topic, lag: self.subscription.lag() }
    }

    /// True when it is a server that takes its mail.
    pub(crate) fn is_server(&self) -> bool {
        self.server().is_some()
    }

    pub(super) fn server(&self) -> Option<&Registration> {
        match self.mail.as_deref() {
            Some(MailRole::Server { registration, .. }) => Some(registration),
            Some(MailRole::Sender { .. }) | None => None,
        }
    }

    /// Reads on for this subscriber alone.
    pub(crate) fn read(&mut self, most: usize, bytes: usize) -> News {
        let from = self.subscription.cursor();
        match self.subscription.read_within(most, bytes) {
            Read::Frames(frames) => {
                self.position = complete_up_to(&frames).or(self.position);
                News::Frames(frames)
            }
            Read::Lagged { missed } => {
                // It has missed them still until it has been told what is there instead.
                if self.dataset.is_some() {
                    self.subscription.go_to(from);
                }
                News::Missed(missed)
            }
        }
    }

    /// Notes that the client has been given everything before `cursor`.
    pub(crate) fn go_to(&mut self, cursor: Cursor, position: Option<Position>) {
        self.subscription.go_to(cursor);
        if position.is_some() {
            self.position = position;
        }
    }
}
