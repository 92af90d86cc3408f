//! Framing of messages in the stream of a connection.

use instep_model::ring::{Frame as RingFrame, Payload};
use instep_node::live::UNCOUNTED_EVENTS;
use instep_node::now_us;
use instep_protocol::encode::{Frame, binary_named_broadcast, encode_broadcast};
use instep_protocol::vsn::Vsn;
use instep_protocol::{janus, length, websocket};

use crate::counts::DoorKind;

/// Reads the stream of one connection.
pub(crate) enum Wire {
    WebSocket(websocket::Decoder),
    Length(length::Decoder),
    Janus(Box<janus::codec::Decoder>),
}

/// The forms in which topics are put into streams. Everything of a topic is encoded once for each
/// of them that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    WebSocketV1,
    WebSocketV2,
    /// The same for Supabase's clients, which take bytes in a kind of their own.
    WebSocketNamed,
    Length,
    Janus,
}

impl Form {
    pub(super) const COUNT: usize = 5;

    /// The form for a client that has shown that it is one of Supabase's.
    pub(super) fn named(self) -> Self {
        match self {
            Self::WebSocketV2 | Self::WebSocketNamed => Self::WebSocketNamed,
            Self::WebSocketV1 | Self::Length | Self::Janus => self,
        }
    }
}

impl Wire {
    pub(super) fn form(&self, vsn: Vsn) -> Form {
        match (self, vsn) {
            (Self::WebSocket(_), Vsn::V1) => Form::WebSocketV1,
            (Self::WebSocket(_), Vsn::V2) => Form::WebSocketV2,
            (Self::Length(_), _) => Form::Length,
            (Self::Janus(_), _) => Form::Janus,
        }
    }

    pub(super) fn kind(&self) -> DoorKind {
        match self {
            Self::WebSocket(_) => DoorKind::WebSocket,
            Self::Length(_) => DoorKind::Tcp,
            Self::Janus(_) => DoorKind::Janus,
        }
    }

    /// Bytes of a frame or message that is not complete; at least one if there is any.
    pub(super) fn unfinished(&self) -> usize {
        match self {
            Self::WebSocket(decoder) => decoder.kept_bytes().max(usize::from(!decoder.is_empty())),
            Self::Length(decoder) => decoder.kept_bytes(),
            Self::Janus(decoder) => decoder.kept_bytes(),
        }
    }

    /// Forgets what has come of a frame. Nothing can be read after it.
    pub(super) fn forget(&mut self) {
        match self {
            Self::WebSocket(decoder) => *decoder = websocket::Decoder::default(),
            Self::Length(decoder) => *decoder = length::Decoder::default(),
            Self::Janus(decoder) => **decoder = janus::codec::Decoder::default(),
        }
    }

    /// Appends a frame of the session.
    pub(super) fn write(&self, out: &mut Vec<u8>, frame: &Frame) {
        let (is_text, bytes) = match frame {
            Frame::Text(bytes) => (true, bytes),
            Frame::Binary(bytes) => (false, bytes),
        };
        match self {
            Self::WebSocket(_) => websocket::write_head(out, is_text, bytes.len()),
            Self::Length(_) => length::write_head(out, bytes.len()),
            // Its frames bring their end along.
            Self::Janus(_) => {}
        }
        out.extend_from_slice(bytes);
    }
}

/// Appends a topic's frame, unless the form has no place for it.
pub(super) fn write_ring_frame(out: &mut Vec<u8>, form: Form, topic: &str, frame: &RingFrame) {
    let is_text = matches!(frame.payload, Payload::Json(_));
    match (form, &frame.payload) {
        (Form::WebSocketV1, Payload::Json(json)) => {
            let encoded = encode_broadcast(Vsn::V1, topic, &frame.event, json);
            websocket::write_head(out, true, encoded.len());
            out.extend_from_slice(&encoded);
        }
        (Form::WebSocketV1, Payload::Binary(_)) => {}
        (Form::WebSocketNamed, Payload::Binary(bytes)) => {
            // Names of topics and events are short enough, or the frame would not be here.
            if let Ok(encoded) = binary_named_broadcast(topic, &frame.event, bytes) {
                websocket::write_head(out, false, encoded.len());
                out.extend_from_slice(&encoded);
            }
        }
        (Form::WebSocketV2 | Form::WebSocketNamed, _) => {
            websocket::write_head(out, is_text, frame.encoded.len());
            out.extend_from_slice(&frame.encoded);
        }
        // Who is there has no word on this wire.
        (Form::Janus, _) if frame.offset.is_none() && UNCOUNTED_EVENTS.contains(&&*frame.event) => {
        }
        (Form::Janus, Payload::Json(json)) => {
            let at = janus::Timestamp(now_us());
            out.extend_from_slice(&janus::codec::encode_message(at, topic, &frame.event, json));
        }
        (Form::Janus, Payload::Binary(_)) => {}
        (Form::Length, _) => {
            length::write_head(out, frame.encoded.len());
            out.extend_from_slice(&frame.encoded);
        }
    }
}
