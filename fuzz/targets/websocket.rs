//! Frames of a WebSocket: a stream means the same wherever it is cut.
#![no_main]

use instep_fuzz::allowance::within;
use instep_fuzz::pieces::Cut;
use instep_protocol::websocket::{Decoder, Message, Violation};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 512;

fuzz_target!(|input: &[u8]| {
    within(64 * 1024, 256, input.len(), || {
        let cut = Cut::of(input);
        let whole = messages([cut.stream]);
        assert_eq!(messages(cut.pieces()), whole);
        assert_eq!(messages(cut.stream.chunks(1)), whole);
    });
});

/// The messages in full, then what ended the stream.
fn messages<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<Violation>) {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let decoded = match decoder.decode(rest, LIMIT) {
                Ok(decoded) => decoded,
                Err(violation) => return (messages, Some(violation)),
            };
            let consumed = decoded.consumed;
            assert!(consumed > 0, "it goes on");
            if let Some(message) = decoded.message {
                messages.push(format!("{message:?}"));
                match message {
                    Message::Text(text) => assert!(text.len() <= LIMIT),
                    Message::Binary(bytes) => assert!(bytes.len() <= LIMIT),
                    Message::Ping(payload) => assert!(payload.len() <= 125),
                    Message::Pong => {}
                    Message::Close(_) => return (messages, None),
                }
            }
            rest = &mut rest[consumed..];
        }
    }
    (messages, None)
}
