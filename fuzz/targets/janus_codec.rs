//! The Janus wire: a stream means the same wherever it is cut, and published data arrives.
#![no_main]

use instep_fuzz::allowance::within;
use instep_fuzz::pieces::Cut;
use instep_protocol::janus::Timestamp;
use instep_protocol::janus::codec::{
    DecodeError, Decoder, Frame, SERVER_END, encode_message, encode_publish,
};
use instep_protocol::janus::request::{Publish, read_publish, read_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    within(64 * 1024, 64, input.len(), || {
        let cut = Cut::of(input);
        let whole = frames([cut.stream]);
        assert_eq!(frames(cut.pieces()), whole);
        assert_eq!(frames(cut.stream.chunks(1)), whole);
        for frame in whole {
            match frame {
                Ok(Frame::Request(bytes)) => {
                    let _ = read_request(&bytes);
                }
                Ok(Frame::Publish(bytes)) => {
                    let Ok(publish) = read_publish(&bytes) else { continue };
                    check_publish(&publish);
                }
                Ok(Frame::Ping | Frame::Pong) | Err(_) => {}
            }
        }
    });
});

fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Frame<'a>, DecodeError>> {
    let mut decoder = Decoder::default();
    let mut frames: Vec<Result<Frame<'a>, DecodeError>> = Vec::new();
    let (mut bytes, mut kept) = (0, 0);
    for mut piece in pieces {
        bytes += piece.len();
        while let Some(frame) = decoder.decode(&mut piece) {
            assert!(!matches!(frames.last(), Some(Err(_))), "nothing follows an error");
            kept += match &frame {
                Ok(Frame::Request(bytes) | Frame::Publish(bytes)) => bytes.len(),
                Ok(Frame::Ping | Frame::Pong) | Err(_) => 0,
            };
            frames.push(frame);
        }
        assert!(piece.is_empty());
    }
    assert!(kept <= bytes);
    frames
}

/// It travels on its topic, arrives as one frame, and can be published again as it was.
fn check_publish(publish: &Publish<'_>) {
    let out = encode_message(Timestamp(7), &publish.topic, &publish.event, &publish.payload);
    let (end, json) = out.split_last().expect("a frame has an end");
    assert_eq!(*end, SERVER_END);
    assert!(!json.contains(&SERVER_END));
    let message: serde_json::Value = match serde_json::from_slice(json) {
        Ok(message) => message,
        // Deeper than a reader follows: it is passed on as it came.
        Err(error) => return assert!(error.to_string().contains("recursion"), "{error}"),
    };
    assert_eq!(message["topic"], *publish.topic);
    assert_eq!(message["event"], *publish.event);
    let raw: std::collections::BTreeMap<&str, &serde_json::value::RawValue> =
        serde_json::from_slice(&publish.payload).expect("a payload is an object of two");
    let (id, data) = (raw["message_id"].get(), raw["data"].get());
    let sent = encode_publish(&publish.topic, &publish.event, id.as_bytes(), data.as_bytes());
    let again = frames([&sent[..]]);
    let [Ok(Frame::Publish(bytes))] = &again[..] else { panic!("{again:?}") };
    let again = read_publish(bytes).expect("it was one before");
    assert_eq!(again, Publish { key: None, ..publish.clone() });
}
