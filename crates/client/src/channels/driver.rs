//! The task that owns the socket.

mod topics;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use instep_protocol::message::SOCKET_TOPIC;
use reqwest::Url;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use self::topics::Topic;
use super::frame::{self, Content, Frame, FrameError, REPLY_EVENT};
use super::stream::Stream;
use super::{ChannelError, ChannelEvent};
use crate::backoff::Backoff;
use crate::error::Problem;
use crate::trust::{Trust, TrustError};

/// Timeout of an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// The server closes a socket from which it hears nothing for 60 seconds.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Timeout of connecting.
const CONNECT: Duration = Duration::from_secs(10);
/// Waits before a lost connection is made again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Largest frame of a server: a chunk of a snapshot and one more row are far below.
const FRAME_BYTES: usize = 16 * 1024 * 1024;

type Socket = WebSocketStream<Stream>;
type Answer = oneshot::Sender<Result<Value, ChannelError>>;

/// Request to the driver.
#[derive(Debug)]
pub(super) enum Command {
    Join { topic: String, params: Value, events: mpsc::Sender<ChannelEvent>, reply: Answer },
    Push { topic: String, event: String, payload: Value, reply: Answer },
    Leave { topic: String, reply: Option<Answer> },
}

/// A request that was sent and not answered.
enum Waiting {
    Join { topic: String },
    Push { reply: Answer },
    Leave { reply: Option<Answer> },
    Heartbeat,
}

pub(super) struct Driver {
    server: ServerAddress,
    /// The key or token.
    shown: Option<String>,
    socket: Option<Socket>,
    commands: mpsc::Receiver<Command>,
    topics: BTreeMap<String, Topic>,
    /// Requests that wait for a reply, by ref, which is also by age.
    waiting: BTreeMap<u64, (Instant, Waiting)>,
    /// Events for which their reader's channel is full. While there are any, the socket is not
    /// read.
    undelivered: VecDeque<(mpsc::Sender<ChannelEvent>, ChannelEvent)>,
    /// Topics whose reader was dropped without a word.
    abandoned: Vec<String>,
    last_ref: u64,
    heartbeat_at: Instant,
    backoff: Backoff,
}

/// Address of a server, and TLS where its scheme asks for it.
struct ServerAddress {
    /// The address of the socket.
    address: String,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

/// Cause of a wake-up of the driver.
enum WakeUp {
    Command(Option<Command>),
    Socket(Option<Result<Message, tungstenite::Error>>),
    Room(Result<mpsc::OwnedPermit<ChannelEvent>, ()>),
    Time,
}

/// Error in the address of a server, or in its trust anchors.
#[derive(Debug, thiserror::Error)]
enum ServerAddressError {
    #[error("{0}")]
    Url(String),
    #[error("it must be http://HOST:PORT or https://HOST:PORT")]
    Scheme,
    #[error("it names no host")]
    NoHost,
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl ServerAddress {
    fn parse(base_url: &str, trust: &Trust) -> Result<Self, ServerAddressError> {
        let base =
            Url::parse(base_url).map_err(|error| ServerAddressError::Url(error.to_string()))?;
        let scheme = match base.scheme() {
            "http" => "ws",
            "https" => "wss",
            _ => return Err(ServerAddressError::Scheme),
        };
        let (Some(host), Some(port)) = (base.host_str(), base.port_or_known_default()) else {
            return Err(ServerAddressError::NoHost);
        };
        let tls = match scheme {
            "wss" => Some(Arc::new(trust.config(true)?)),
            _ => None,
        };
        let path = base.path().trim_end_matches('/');
        let address = format!("{scheme}://{host}:{port}{path}/socket/websocket?vsn=2.0.0");
        Ok(Self { address, host: host.to_owned(), port, tls })
    }
}

impl Driver {
    pub(super) async fn connect(
        base_url: &str,
        shown: Option<String>,
        trust: &Trust,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, ChannelError> {
        let server = ServerAddress::parse(base_url, trust).map_err(|error| {
            ChannelError::Address { address: base_url.to_owned(), problem: error.to_string() }
        })?;
        let socket = open(&server, shown.as_deref()).await?;
        Ok(Self {
            server,
            shown,
            socket: Some(socket),
            commands,
            topics: BTreeMap::new(),
            waiting: BTreeMap::new(),
            undelivered: VecDeque::new(),
            abandoned: Vec::new(),
            last_ref: 0,
            heartbeat_at: Instant::now() + HEARTBEAT,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        })
    }

    /// Works until the last handle of the socket is dropped.
    pub(super) async fn run(mut self) {
        loop {
            if self.socket.is_none() && !self.reconnect().await {
                return;
            }
            match self.wake().await {
                WakeUp::Command(Some(command)) => self.obey(command).await,
                WakeUp::Command(None) => break,
                WakeUp::Socket(Some(Ok(Message::Text(text)))) => {
                    self.take(frame::decode(&text)).await;
                }
                WakeUp::Socket(Some(Ok(Message::Binary(bytes)))) => {
                    self.take(frame::decode_binary(&bytes)).await;
                }
                // The library answers pings itself.
                WakeUp::Socket(Some(Ok(
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
                ))) => {}
                WakeUp::Socket(Some(Ok(Message::Close(_)) | Err(_)) | None) => self.lost(),
                WakeUp::Room(room) => self.deliver(room),
                WakeUp::Time => self.tick().await,
            }
        }
        if let Some(mut socket) = self.socket {
            let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
        }
    }

    async fn wake(&mut self) -> WakeUp {
        let deadline = self.next_deadline();
        let full = self.undelivered.front().map(|(reader, _)| reader.clone());
        let is_full = full.is_some();
        let room = async {
            match full {
                Some(reader) => reader.reserve_owned().await.map_err(drop),
                None => std::future::pending().await,
            }
        };
        let socket = &mut self.socket;
        let read = async {
            match socket {
                Some(socket) if !is_full => socket.next().await,
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = self.commands.recv() => WakeUp::Command(command),
            message = read => WakeUp::Socket(message),
            room = room => WakeUp::Room(room),
            () = tokio::time::sleep_until(deadline) => WakeUp::Time,
        }
    }

    fn next_deadline(&self) -> Instant {
        let answer = self.waiting.first_key_value().map(|(_, (deadline, _))| *deadline);
        let rejoin = self.topics.values().filter_map(|topic| topic.rejoin_at).min();
        [answer, rejoin].into_iter().flatten().fold(self.heartbeat_at, Instant::min)
    }

    /// Sends a heartbeat, and joins topics again, when due.
    async fn tick(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry()
            && entry.get().0 <= now
        {
            match entry.remove().1 {
                Waiting::Join { topic } => self.join_failed(&topic, ChannelError::Timeout).await,
                Waiting::Push { reply } | Waiting::Leave { reply: Some(reply) } => {
                    let _ = reply.send(Err(ChannelError::Timeout));
                }
                // The socket is not read while a reader is full: the answer may lie in it.
                Waiting::Heartbeat if self.undelivered.is_empty() => return self.lost(),
                Waiting::Leave { reply: None } | Waiting::Heartbeat => {}
            }
        }
        if self.heartbeat_at <= now {
            self.heartbeat_at = now + HEARTBEAT;
            self.send(None, SOCKET_TOPIC, "heartbeat", &json!({}), Waiting::Heartbeat).await;
        }
        let due = |topic: &Topic| topic.rejoin_at.is_some_and(|at| at <= now);
        let due: Vec<String> =
            self.topics.iter().filter(|(_, t)| due(t)).map(|(name, _)| name.clone()).collect();
        for topic in due {
            self.send_join(&topic).await;
        }
    }

    /// Sends a request and remembers that it waits for its answer. Answers the ref.
    async fn send(
        &mut self,
        join_ref: Option<u64>,
        topic: &str,
        event: &str,
        payload: &Value,
        waiting: Waiting,
    ) -> u64 {
        self.last_ref += 1;
        let reference = self.last_ref;
        let Some(socket) = &mut self.socket else {
            return reference;
        };
        // A join is its own join_ref.
        let join_ref = if event == "phx_join" { Some(reference) } else { join_ref };
        self.waiting.insert(reference, (Instant::now() + ANSWER, waiting));
        let text = frame::encode(join_ref, reference, topic, event, payload);
        let sent = tokio::time::timeout(ANSWER, socket.send(Message::Text(text))).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.lost();
        }
        reference
    }

    /// The connection is gone: requests end without an answer, topics wait to be joined again.
    fn lost(&mut self) {
        self.socket = None;
        for (_, (_, waiting)) in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Push { reply } | Waiting::Leave { reply: Some(reply) } => {
                    let _ = reply.send(Err(ChannelError::Disconnected));
                }
                Waiting::Leave { reply: None } | Waiting::Join { .. } | Waiting::Heartbeat => {}
            }
        }
        self.topics_lost();
    }

    /// Connects again, however long it takes, and joins all topics. False when the last handle of
    /// the socket is dropped.
    async fn reconnect(&mut self) -> bool {
        loop {
            let at = Instant::now() + self.backoff.next_wait();
            loop {
                tokio::select! {
                    command = self.commands.recv() => match command {
                        Some(command) => self.obey(command).await,
                        None => return false,
                    },
                    () = tokio::time::sleep_until(at) => break,
                }
            }
            match open(&self.server, self.shown.as_deref()).await {
                Ok(socket) => {
                    self.socket = Some(socket);
                    break;
                }
                Err(error) => tracing::debug!(%error, "the server is not there yet"),
            }
        }
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            self.send_join(&topic).await;
        }
        true
    }

    /// Takes a frame. One that cannot be read may have been for any reader, so all are told.
    async fn take(&mut self, frame: Result<Frame, FrameError>) {
        match frame {
            Ok(frame) => self.receive(frame),
            Err(error) => self.tell_unreadable(&error.to_string()),
        }
        while let Some(topic) = self.abandoned.pop() {
            self.leave(&topic, None).await;
        }
    }

    /// Takes a frame of the server.
    fn receive(&mut self, frame: Frame) {
        // The server is well: the next loss is a new one.
        self.backoff.reset();
        let waiting = match (&*frame.event, frame.reference) {
            (REPLY_EVENT, Some(reference)) => self.waiting.remove(&reference),
            _ => return self.receive_on_topic(frame),
        };
        let Some((_, waiting)) = waiting else { return };
        let answer = match frame.payload {
            Content::Json(mut payload) => {
                let response = payload["response"].take();
                match payload["status"].as_str() {
                    Some("ok") => Ok(response),
                    _ => Err(ChannelError::Refused(response)),
                }
            }
            Content::Bytes(_) => Err(ChannelError::Unreadable("it is bytes".to_owned())),
            Content::Unreadable(problem) => Err(ChannelError::Unreadable(problem)),
        };
        match waiting {
            Waiting::Join { topic } => self.join_answered(&topic, answer),
            Waiting::Push { reply } | Waiting::Leave { reply: Some(reply) } => {
                let _ = reply.send(answer);
            }
            Waiting::Leave { reply: None } | Waiting::Heartbeat => {}
        }
    }
}

async fn open(server: &ServerAddress, shown: Option<&str>) -> Result<Socket, ChannelError> {
    let address = &server.address;
    let unreachable = |reason: String| {
        let address = address.split('?').next().unwrap_or(address).to_owned();
        ChannelError::Unreachable { address, reason }
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(FRAME_BYTES))
        .max_frame_size(Some(FRAME_BYTES));
    let mut request = address.into_client_request().map_err(|error| ChannelError::Address {
        address: address.to_owned(),
        problem: error.to_string(),
    })?;
    if let Some(shown) = shown {
        let value = HeaderValue::try_from(format!("Bearer {shown}"));
        let value =
            value.map_err(|_| unreachable("the key or token is no text of a header".into()))?;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let connect = async {
        let stream = Stream::connect(&server.host, server.port, server.tls.clone()).await?;
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await
    };
    match tokio::time::timeout(CONNECT, connect).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(response)))
            if [403, 429].contains(&response.status().as_u16()) =>
        {
            let body = response.body().as_deref().unwrap_or_default();
            Err(ChannelError::Refused(refusal(body)))
        }
        Ok(Err(tungstenite::Error::Http(response))) => {
            Err(unreachable(format!("the server answers {}", response.status())))
        }
        Ok(Err(tungstenite::Error::Url(error))) => {
            Err(ChannelError::Address { address: address.to_owned(), problem: error.to_string() })
        }
        Ok(Err(error)) => Err(unreachable(crate::error::reason(&error))),
        Err(_) => Err(unreachable(format!("no connection within {} seconds", CONNECT.as_secs()))),
    }
}

/// Reason of a refused handshake. Most refusals have a problem as their body; the socket's door
/// writes one line, `code: detail`.
fn refusal(body: &[u8]) -> Value {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return json!({"reason": problem.code, "detail": problem.detail});
    }
    let body = String::from_utf8_lossy(body);
    let (code, detail) = body.split_once(": ").unwrap_or(("refused", &body));
    json!({"reason": code, "detail": detail})
}
