//! WebSocket frames (RFC 6455) as a server reads and writes them; no extension is spoken.
//!
//! ```text
//! byte 0   fin 1 | reserved 3 | opcode 4
//! byte 1   masked 1 | length 7: 0 to 125, or 126: 2 more bytes, or 127: 8 more bytes
//! then     the mask, 4 bytes, from clients only; then the payload
//! ```
//!
//! A [`Decoder`] owns memory only while a frame or a message is unfinished. A message that arrives
//! whole is unmasked where it lies and borrowed from there.

mod head;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use instep_model::limits;
use instep_model::text::cut;

use self::head::{Head, Opcode};

/// A client ends the connection in order.
pub const CLOSE_NORMAL: u16 = 1000;
/// Close code for a broken stream.
pub const CLOSE_PROTOCOL: u16 = 1002;
/// Close code for a text that is none.
pub const CLOSE_NOT_UTF8: u16 = 1007;
/// Close code for a message over the limit.
pub const CLOSE_TOO_LARGE: u16 = 1009;

/// Message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// Bytes.
    Binary(Cow<'a, [u8]>),
    /// To be answered by a pong with the same payload.
    Ping(Cow<'a, [u8]>),
    /// An answer to a ping, or a sign of life.
    Pong,
    /// The client closes, for a reason if it says one. Nothing follows.
    Close(Option<u16>),
}

/// The stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It breaks the protocol.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text is not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A message is over the limit.
    #[error("the message is over the limit of {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
}

impl Violation {
    /// The close code that tells the client.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => CLOSE_PROTOCOL,
            Self::NotUtf8 => CLOSE_NOT_UTF8,
            Self::TooLarge { .. } => CLOSE_TOO_LARGE,
        }
    }
}

/// Result of decoding the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Bytes that are done with.
    pub consumed: usize,
    /// A message; without one the whole input is consumed.
    pub message: Option<Message<'a>>,
    /// Frames of unfinished messages that ended in it and brought next to nothing.
    pub crumbs: u32,
}

/// Decoder of the frames of one client.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Unfinished>>);

#[derive(Debug, Default)]
struct Unfinished {
    /// The bytes of a head that is not complete.
    head: Vec<u8>,
    frame: Option<Frame>,
    message: Option<Opened>,
    control: Vec<u8>,
}

/// A frame whose payload is not complete.
#[derive(Debug, Clone, Copy)]
struct Frame {
    head: Head,
    done: usize,
}

/// A data message whose last frame has not come.
#[derive(Debug)]
struct Opened {
    is_text: bool,
    data: Vec<u8>,
    /// UTF-8 up to here.
    checked: usize,
}

impl Decoder {
    /// Takes the next message from the front of `input`, which is unmasked on the way. Messages
    /// may have up to `limit` bytes.
    ///
    /// # Errors
    /// [`Violation`]; the decoder is of no use after it.
    pub fn decode<'a>(
        &mut self,
        input: &'a mut [u8],
        limit: usize,
    ) -> Result<Decoded<'a>, Violation> {
        if self.0.is_none()
            && let Some(head) = Head::parse(input)?
        {
            head.check(None, limit)?;
            let end = head.bytes.saturating_add(head.length);
            if head.fin && input.len() >= end {
                let payload = &mut input[head.bytes..end];
                head.unmask(payload, 0);
                let message = whole(head.opcode, Cow::Borrowed(payload))?;
                return Ok(Decoded { consumed: end, message: Some(message), crumbs: 0 });
            }
        }
        self.decode_pieces(input, limit)
    }

    /// Bytes of an unfinished frame or message that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |unfinished| {
            let message = unfinished.message.as_ref().map_or(0, |opened| opened.data.capacity());
            unfinished.head.capacity() + message + unfinished.control.capacity()
        })
    }

    /// True when nothing is unfinished, and no memory is owned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn decode_pieces<'a>(
        &mut self,
        input: &'a mut [u8],
        limit: usize,
    ) -> Result<Decoded<'a>, Violation> {
        let (mut at, mut crumbs) = (0, 0);
        while at < input.len() || self.is_frame_complete() {
            let unfinished = self.0.get_or_insert_default();
            match &mut unfinished.frame {
                None => {
                    unfinished.head.push(input[at]);
                    at += 1;
                    if let Some(head) = Head::parse(&unfinished.head)? {
                        unfinished.begin(head, limit)?;
                    }
                }
                Some(frame) => {
                    let wanted = frame.head.length - frame.done;
                    let end = at + wanted.min(input.len() - at);
                    let piece = &mut input[at..end];
                    frame.head.unmask(piece, frame.done);
                    frame.done += piece.len();
                    at = end;
                    let frame = *frame;
                    unfinished.take_in(frame.head.opcode, piece)?;
                    if frame.done == frame.head.length {
                        if let Some(message) = self.end(frame.head)? {
                            return Ok(Decoded { consumed: at, message: Some(message), crumbs });
                        }
                        crumbs += u32::from(frame.head.length < limits::TRICKLE_BYTES);
                    }
                }
            }
        }
        Ok(Decoded { consumed: at, message: None, crumbs })
    }

    fn is_frame_complete(&self) -> bool {
        let frame = self.0.as_ref().and_then(|unfinished| unfinished.frame);
        frame.is_some_and(|frame| frame.done == frame.head.length)
    }

    /// Ends a frame; the message, if it was the last one of it.
    fn end(&mut self, head: Head) -> Result<Option<Message<'static>>, Violation> {
        let Some(unfinished) = &mut self.0 else {
            return Ok(None);
        };
        unfinished.frame = None;
        let (opcode, data) = if head.opcode.is_control() {
            (head.opcode, std::mem::take(&mut unfinished.control))
        } else if !head.fin {
            return Ok(None);
        } else {
            match unfinished.message.take() {
                Some(Opened { is_text: true, data, checked }) if checked == data.len() => {
                    (Opcode::Text, data)
                }
                Some(Opened { is_text: true, .. }) => return Err(Violation::NotUtf8),
                Some(Opened { is_text: false, data, .. }) => (Opcode::Binary, data),
                None => return Ok(None),
            }
        };
        if unfinished.message.is_none() {
            self.0 = None;
        }
        whole(opcode, Cow::Owned(data)).map(Some)
    }
}

impl Unfinished {
    fn begin(&mut self, head: Head, limit: usize) -> Result<(), Violation> {
        head.check(self.message.as_ref().map(|message| message.data.len()), limit)?;
        self.head = Vec::new();
        self.frame = Some(Frame { head, done: 0 });
        if matches!(head.opcode, Opcode::Text | Opcode::Binary) {
            let is_text = head.opcode == Opcode::Text;
            self.message = Some(Opened { is_text, data: vec![], checked: 0 });
        }
        Ok(())
    }

    fn take_in(&mut self, opcode: Opcode, piece: &[u8]) -> Result<(), Violation> {
        match &mut self.message {
            Some(message) if !opcode.is_control() => {
                message.data.extend_from_slice(piece);
                message.check_text()
            }
            _ => {
                self.control.extend_from_slice(piece);
                Ok(())
            }
        }
    }
}

impl Opened {
    /// A text that cannot become UTF-8 any more is refused before its end has come.
    fn check_text(&mut self) -> Result<(), Violation> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.data[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_some() => return Err(Violation::NotUtf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

fn whole(opcode: Opcode, payload: Cow<'_, [u8]>) -> Result<Message<'_>, Violation> {
    Ok(match opcode {
        Opcode::Text => Message::Text(match payload {
            Cow::Borrowed(bytes) => {
                Cow::Borrowed(std::str::from_utf8(bytes).map_err(|_| Violation::NotUtf8)?)
            }
            Cow::Owned(bytes) => {
                Cow::Owned(String::from_utf8(bytes).map_err(|_| Violation::NotUtf8)?)
            }
        }),
        Opcode::Binary | Opcode::Continuation => Message::Binary(payload),
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong,
        Opcode::Close => Message::Close(close_code(&payload)?),
    })
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Violation::Protocol("a close with half a code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let is_known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !is_known {
        return Err(Violation::Protocol("a close code that may not be sent"));
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(code))
}

/// Appends the head of a whole text (or binary) message.
pub fn write_head(out: &mut Vec<u8>, is_text: bool, length: usize) {
    head::write(out, if is_text { Opcode::Text } else { Opcode::Binary }, length);
}

/// Encodes the answer to a ping.
#[must_use]
pub fn encode_pong(payload: &[u8]) -> Bytes {
    encode(Opcode::Pong, payload)
}

/// Encodes a close. The reason is cut to what a close has room for.
#[must_use]
pub fn encode_close(code: Option<u16>, reason: &str) -> Bytes {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(cut(reason, head::CONTROL_BYTES - 2).as_bytes());
    }
    encode(Opcode::Close, &payload)
}

fn encode(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(payload.len() + 2);
    head::write(&mut out, opcode, payload.len());
    out.extend_from_slice(payload);
    out.into()
}
