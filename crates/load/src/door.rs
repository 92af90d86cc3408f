//! Doors that a run can go through: Instep's, and those of the servers it is compared with.

use std::net::SocketAddr;

use crate::wire::{Found, Template, janus, mqtt, nats, phoenix, redis, websocket};

/// A protocol that publishes to topics and subscribes to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Phoenix Channels over WebSocket.
    WebSocket,
    /// The same messages over TCP, behind four bytes of length.
    Tcp,
    /// The legacy frames of Janus. It only subscribes; a message comes in through another door.
    Janus,
    /// Redis: RESP2, `SUBSCRIBE` and `PUBLISH`.
    Redis,
    /// NATS without streams.
    Nats,
    /// MQTT 3.1.1 at QoS 0.
    Mqtt,
    /// A WebSocket whose path is the topic and whose messages are passed on as they are.
    PlainWebSocket,
}

impl Door {
    /// First bytes of a client, sent as soon as it is connected.
    pub(crate) fn opening(self, address: SocketAddr, topic: &str) -> Vec<u8> {
        match self {
            Self::WebSocket => {
                websocket::upgrade(address, "/socket/websocket?vsn=2.0.0").into_bytes()
            }
            Self::PlainWebSocket => websocket::upgrade(address, &format!("/{topic}")).into_bytes(),
            Self::Mqtt => mqtt::CONNECT.to_vec(),
            Self::Nats => nats::CONNECT.to_vec(),
            Self::Tcp | Self::Redis | Self::Janus => vec![],
        }
    }

    /// Returns true if the server sends a greeting before a client may subscribe.
    pub(crate) fn greets(self) -> bool {
        match self {
            Self::WebSocket | Self::PlainWebSocket | Self::Mqtt | Self::Nats | Self::Janus => true,
            Self::Tcp | Self::Redis => false,
        }
    }

    /// Request to subscribe to a topic; empty where the opening has done it.
    pub(crate) fn subscribe(self, topic: &str) -> Vec<u8> {
        match self {
            Self::WebSocket => websocket::text(phoenix::join(topic).as_bytes()),
            Self::Tcp => phoenix::with_length(phoenix::join(topic).as_bytes()),
            Self::Janus => janus::subscribe(topic),
            Self::Redis => redis::command(&["SUBSCRIBE", topic]),
            Self::Nats => nats::subscribe(topic),
            Self::Mqtt => mqtt::subscribe(topic),
            Self::PlainWebSocket => vec![],
        }
    }

    /// A message for a topic, in which only the stamp changes from time to time.
    pub(crate) fn message(self, topic: &str, bytes: usize) -> Template {
        let (payload, mark) = crate::stamp::payload(bytes);
        let (before, after) = match self {
            Self::WebSocket | Self::Tcp => phoenix::around(topic),
            Self::Redis => redis::around(topic, payload.len()),
            Self::Nats => nats::around(topic, payload.len()),
            Self::Mqtt => mqtt::around(topic, payload.len()),
            Self::PlainWebSocket | Self::Janus => (vec![], vec![]),
        };
        let body = [&before[..], &payload, &after].concat();
        let length = body.len();
        let bytes = match self {
            Self::WebSocket | Self::PlainWebSocket => websocket::text(&body),
            Self::Tcp => phoenix::with_length(&body),
            Self::Redis | Self::Nats | Self::Mqtt | Self::Janus => body,
        };
        let mark = bytes.len() - length + before.len() + mark;
        Template { bytes, mark }
    }

    /// Topics that one publishing connection serves; `None`: as many as there are.
    pub(crate) fn topics_per_publisher(self) -> Option<usize> {
        match self {
            // A socket joins at most so many channels, and only a subscriber may push.
            Self::WebSocket | Self::Tcp => Some(100),
            Self::PlainWebSocket => Some(1),
            Self::Redis | Self::Nats | Self::Mqtt | Self::Janus => None,
        }
    }

    /// Returns true if a publisher must have subscribed to the topics that it publishes to.
    pub(crate) fn publishers_subscribe(self) -> bool {
        match self {
            Self::WebSocket | Self::Tcp | Self::PlainWebSocket => true,
            Self::Redis | Self::Nats | Self::Mqtt | Self::Janus => false,
        }
    }

    /// Heartbeat that an idle client sends so that the server keeps it.
    pub(crate) fn heartbeat(self) -> Option<Vec<u8>> {
        match self {
            Self::WebSocket => Some(websocket::text(phoenix::HEARTBEAT)),
            Self::Tcp => Some(phoenix::with_length(phoenix::HEARTBEAT)),
            Self::Janus => Some(janus::frame(b"PONG")),
            Self::Redis | Self::Nats | Self::Mqtt | Self::PlainWebSocket => None,
        }
    }

    /// The answer to a server that asks whether the client is there.
    pub(crate) fn pong(self) -> Vec<u8> {
        match self {
            Self::WebSocket | Self::PlainWebSocket => websocket::PONG.to_vec(),
            Self::Nats => nats::PONG.to_vec(),
            Self::Janus => janus::frame(b"PONG"),
            Self::Tcp | Self::Redis | Self::Mqtt => vec![],
        }
    }

    /// Looks for the first frame in `bytes`. `greeted`: whether the greeting is behind.
    /// `hint`: where the mark stood in the frame before, which is where it mostly stands again.
    #[inline]
    pub(crate) fn find(self, greeted: bool, bytes: &[u8], hint: &mut usize) -> Found {
        match self {
            Self::WebSocket | Self::PlainWebSocket if !greeted => websocket::upgraded(bytes),
            Self::WebSocket | Self::PlainWebSocket => websocket::find(bytes, hint),
            Self::Tcp => phoenix::find(bytes, hint),
            Self::Redis => redis::find(bytes, hint),
            Self::Nats => nats::find(bytes, hint),
            Self::Mqtt => mqtt::find(bytes, hint),
            Self::Janus => janus::find(greeted, bytes, hint),
        }
    }
}
