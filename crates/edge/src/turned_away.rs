//! Refusals of connections: what a client is told before its connection is closed, in the words of
//! the wire that it speaks.

use instep_node::now_us;
use instep_protocol::encode::encode_broadcast;
use instep_protocol::message::SOCKET_TOPIC;
use instep_protocol::payload::ended::ConnectionClosed;
use instep_protocol::session::{CLOSE_POLICY, CLOSE_TRY_LATER};
use instep_protocol::vsn::Vsn;
use instep_protocol::{janus, length};

use crate::counts::DoorKind;
use crate::permits::NoPermit;

/// Reason why a connection is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// Rate limit of its address.
    TooOften,
    /// Limit of places.
    Full(NoPermit),
}

impl From<NoPermit> for TurnedAway {
    fn from(full: NoPermit) -> Self {
        Self::Full(full)
    }
}

impl TurnedAway {
    /// Message to its client.
    pub(crate) fn words(self, kind: DoorKind) -> Vec<u8> {
        match kind {
            DoorKind::Tcp | DoorKind::WebSocket => self.of_channels(),
            DoorKind::Janus => {
                let at = janus::Timestamp(now_us());
                let (code, why) = self.of_janus();
                janus::codec::encode_error(at, code, why, None).to_vec()
            }
        }
    }

    fn of_channels(self) -> Vec<u8> {
        let (code, reason) = match self {
            Self::TooOften => (CLOSE_POLICY, "rate_limited"),
            Self::Full(NoPermit::Address) => (CLOSE_TRY_LATER, "too_many_sockets"),
            Self::Full(NoPermit::Server) => (CLOSE_TRY_LATER, "overloaded"),
        };
        let payload = ConnectionClosed { code: Some(code), reason }.encode();
        let close = encode_broadcast(Vsn::V2, SOCKET_TOPIC, "close", &payload);
        let mut said = vec![];
        length::write_head(&mut said, close.len());
        said.extend_from_slice(&close);
        said
    }

    fn of_janus(self) -> (&'static str, &'static str) {
        match self {
            Self::TooOften => ("rate_limited", "too many connections of this address"),
            Self::Full(NoPermit::Address) => {
                ("too_many_sockets", "too many connections of this address at a time")
            }
            Self::Full(NoPermit::Server) => ("overloaded", "there is no place for a connection"),
        }
    }
}
