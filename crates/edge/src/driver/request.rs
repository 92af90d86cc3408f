//! Requests of a session that others answer, and what a session driver wants done.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use instep_protocol::encode::{Body, Frame};
use instep_protocol::janus::Token;
use instep_protocol::session::{Channel, ReplyTo};
use serde_json::Value;

use super::joined::Joined;
use super::presence::Joiner;
use super::refusal::Refusal;
use super::role::MailRole;

/// Completion of what a session driver has waited for.
pub(crate) enum Completion {
    /// The rules let a client join, and the topic is settled.
    Allowed(Channel, Box<Joiner>),
    /// A join was refused.
    Refused(Channel, Refusal),
    /// A join has registered a server, or found the queue to send to.
    Entered(Channel, Box<MailRole>),
    /// A push was answered, with JSON if that was good.
    Answered(Option<ReplyTo>, Result<Bytes, Refusal>),
    /// A rule failed in the middle.
    Crashed(Channel),
}

impl Completion {
    /// The same, but no client joins while more waits than may: a client that is refused tries
    /// again.
    pub(crate) fn or_overloaded(self) -> Self {
        match self {
            Self::Allowed(channel, _) => Self::Refused(channel, Refusal::Overloaded),
            Self::Refused(..) | Self::Entered(..) | Self::Answered(..) | Self::Crashed(_) => self,
        }
    }

    pub(super) fn answered(reply_to: Option<ReplyTo>, answer: Result<Value, Refusal>) -> Self {
        let text = |response: Value| match &reply_to {
            Some(_) => response.to_string().into(),
            // No client hears it.
            None => Bytes::new(),
        };
        let answer = answer.map(text);
        Self::Answered(reply_to, answer)
    }
}

/// Request that has to be answered before the session driver goes on with a channel.
pub(crate) enum Request {
    /// Join to be allowed.
    Join { channel: Channel, params: Bytes },
    /// Join that was allowed, and found its dataset busy with an entry.
    Enter { channel: Channel, join: Box<Joiner> },
    /// Push to be answered.
    Push(PushRequest),
}

/// Push of a client that wants to be answered.
pub(crate) struct PushRequest {
    pub(super) channel: Channel,
    pub(super) reply_to: Option<ReplyTo>,
    pub(super) event: String,
    pub(super) payload: Body,
}

impl Request {
    pub(crate) fn channel(&self) -> &Channel {
        match self {
            Self::Join { channel, .. } | Self::Enter { channel, .. } => channel,
            Self::Push(push) => &push.channel,
        }
    }

    pub(super) fn refused(self, reason: Refusal) -> Completion {
        match self {
            Self::Join { channel, .. } | Self::Enter { channel, .. } => {
                Completion::Refused(channel, reason)
            }
            Self::Push(push) => Completion::Answered(push.reply_to, Err(reason)),
        }
    }
}

/// An answer, or the wait for one.
pub(crate) enum Answer {
    /// Known at once.
    Now(Completion),
    /// Awaited: a commit, which is another thread's work; nothing is done here but to wait.
    Awaited(Wait),
    /// Computed by an application, which may take long.
    Later(Wait),
}

/// The wait for an answer.
pub(crate) type Wait = Pin<Box<dyn Future<Output = Completion> + Send>>;

/// Actions that a session driver wants done, in order: first the frames, then the requests.
#[derive(Default)]
pub(crate) struct Actions {
    /// Frames to be sent.
    pub(crate) frames: Vec<Frame>,
    /// Requests to be answered.
    pub(crate) requests: VecDeque<Request>,
    /// Topics that were left.
    pub(crate) left: Vec<Joined>,
    /// Topics whose right has ended: what was queued of them is not for this client any more.
    pub(crate) revoked: Vec<Revoked>,
    /// The session that should have this client's connection.
    pub(crate) attach: Option<Token>,
}

/// A channel that was closed because its right had ended.
pub(crate) struct Revoked {
    /// Its topic.
    pub(crate) topic: String,
    /// Reason code.
    pub(crate) reason: &'static str,
}

/// Close code and reason of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}
