//! Channels over WebSocket: topics that are joined again where they were left.

mod driver;
mod frame;
mod stream;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use self::driver::{Command, Driver};
use crate::trust::Trust;

/// Events that wait for the reader of one topic. A reader that is further behind holds up its
/// socket, and the server conflates what it missed.
const EVENTS: usize = 1024;
/// Commands that wait for the socket.
const COMMANDS: usize = 256;

/// One socket with any number of topics, kept open: a lost connection is made again with growing
/// waits, and every topic is joined again with the newest position as `since`. Cheap to clone;
/// the socket closes with the last clone and the last [`Channel`].
#[derive(Debug, Clone)]
pub struct Channels {
    commands: mpsc::Sender<Command>,
}

/// A topic that was joined. Dropping it leaves the topic.
#[derive(Debug)]
pub struct Channel {
    topic: String,
    events: mpsc::Receiver<ChannelEvent>,
    commands: mpsc::Sender<Command>,
}

/// Event of a topic, as its reader gets it.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelEvent {
    /// An event of the topic, as the server sent it.
    Event {
        /// The event.
        event: String,
        /// The payload.
        payload: Value,
    },
    /// An event of the topic that carries bytes.
    Bytes {
        /// The event.
        event: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A message of the server cannot be read here: it is lost to this reader. On a live topic it
    /// counts as a message, and is not told again.
    Unreadable {
        /// The event; none when it may have been of any topic of the socket.
        event: Option<String>,
        /// Reason why it cannot be read.
        problem: String,
    },
    /// The connection was lost; the topic will be joined again.
    Lost,
    /// The topic was joined again, and this is the reply. In mode `resume` nothing was missed; in
    /// mode `reset` everything known before must be forgotten.
    Joined(Value),
    /// The topic is over, for this reason: nothing follows.
    Ended(Value),
}

/// Failure on a socket.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChannelError {
    /// The address of the server cannot be used.
    #[error("the server's address {address:?}: {problem}")]
    Address {
        /// The text.
        address: String,
        /// Reason why it cannot be used.
        problem: String,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// Reason, as the system or the server gives it.
        reason: String,
    },
    /// The server refused the join or the push, for this reason.
    #[error("{}", words(.0))]
    Refused(Value),
    /// The server answered, and the answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// No answer came in time.
    #[error("no answer came within {} seconds", driver::ANSWER.as_secs())]
    Timeout,
    /// The connection is lost at the moment. Pushed messages may or may not have arrived.
    #[error("the connection is lost")]
    Disconnected,
    /// The topic is joined on this socket already.
    #[error("the topic is joined on this socket already")]
    AlreadyJoined,
    /// The topic is not joined any more.
    #[error("the topic is not joined any more")]
    Ended,
}

/// A refusal in words: `reason: detail`.
fn words(refusal: &Value) -> String {
    match (refusal["reason"].as_str(), refusal["detail"].as_str()) {
        (Some(reason), Some(detail)) => format!("{reason}: {detail}"),
        (Some(reason), None) => reason.to_owned(),
        (None, _) => refusal.to_string(),
    }
}

impl Channels {
    /// Connects to the server at `base_url` (`http://…` or `https://…`). The first connection is
    /// tried once.
    ///
    /// # Errors
    /// [`ChannelError::Address`], [`ChannelError::Unreachable`].
    pub async fn connect(base_url: &str) -> Result<Self, ChannelError> {
        Self::connect_with(base_url, None).await
    }

    /// Connects, and shows a key or a token.
    ///
    /// # Errors
    /// As [`Channels::connect`], and [`ChannelError::Refused`] when the credential is invalid.
    pub async fn connect_with(base_url: &str, shown: Option<String>) -> Result<Self, ChannelError> {
        Self::connect_trusting(base_url, shown, &Trust::system()).await
    }

    /// Connects with other trust anchors than those of this machine.
    ///
    /// # Errors
    /// As [`Channels::connect_with`].
    pub async fn connect_trusting(
        base_url: &str,
        shown: Option<String>,
        trust: &Trust,
    ) -> Result<Self, ChannelError> {
        let (commands, wanted) = mpsc::channel(COMMANDS);
        let driver = Driver::connect(base_url, shown, trust, wanted).await?;
        tokio::spawn(driver.run());
        Ok(Self { commands })
    }

    /// Joins a topic; the reply has `mode`, `position` and, if they are few, `rows`. With `since`
    /// in `params` (an object) a view topic resumes there.
    ///
    /// # Errors
    /// [`ChannelError::Refused`], [`ChannelError::Timeout`], [`ChannelError::Disconnected`],
    /// [`ChannelError::AlreadyJoined`].
    pub async fn join(&self, topic: &str, params: Value) -> Result<(Value, Channel), ChannelError> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (reply, answer) = oneshot::channel();
        let topic = topic.to_owned();
        let join = Command::Join { topic: topic.clone(), params, events, reply };
        let reply = tell(&self.commands, join, answer).await?;
        let commands = self.commands.clone();
        Ok((reply, Channel { topic, events: receiver, commands }))
    }
}

impl Channel {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns the next event; none when the topic is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<ChannelEvent> {
        self.events.recv().await
    }

    /// Sends an event and waits for the reply. Go on reading events meanwhile if more than a
    /// thousand may come.
    ///
    /// # Errors
    /// [`ChannelError::Refused`], [`ChannelError::Timeout`], [`ChannelError::Disconnected`],
    /// [`ChannelError::Ended`].
    pub async fn push(&self, event: &str, payload: Value) -> Result<Value, ChannelError> {
        let (reply, answer) = oneshot::channel();
        let (topic, event) = (self.topic.clone(), event.to_owned());
        tell(&self.commands, Command::Push { topic, event, payload, reply }, answer).await
    }

    /// Leaves the topic, and waits until the server knows.
    ///
    /// # Errors
    /// [`ChannelError::Timeout`], [`ChannelError::Disconnected`]: the topic is left all the same.
    pub async fn leave(mut self) -> Result<(), ChannelError> {
        self.events.close();
        let (reply, answer) = oneshot::channel();
        let leave = Command::Leave { topic: self.topic.clone(), reply: Some(reply) };
        tell(&self.commands, leave, answer).await.map(drop)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.events.close();
        // If there is no room, the topic is left when the next event finds no reader.
        let _ = self.commands.try_send(Command::Leave { topic: self.topic.clone(), reply: None });
    }
}

async fn tell(
    commands: &mpsc::Sender<Command>,
    command: Command,
    answer: oneshot::Receiver<Result<Value, ChannelError>>,
) -> Result<Value, ChannelError> {
    commands.send(command).await.map_err(|_| ChannelError::Ended)?;
    answer.await.unwrap_or(Err(ChannelError::Ended))
}
