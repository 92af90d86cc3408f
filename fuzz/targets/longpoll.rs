//! Bodies of long-poll, and texts that have to survive its answers.
#![no_main]

use bytes::Bytes;
use instep_fuzz::allowance::within;
use instep_model::limits;
use instep_protocol::longpoll::{Answer, PostedFrame, decode_body};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Every byte may be a line, and so a frame, and so a value of the answer as it is read here.
    within(64 * 1024, 512, input.len(), || {
        let lines = decode_body(Some("application/x-ndjson"), input);
        assert!(lines.len() <= limits::LONGPOLL_LINES);
        let bytes: usize = lines.iter().map(bytes_of).sum();
        assert!(bytes <= input.len());
        assert_eq!(decode_body(None, input).len(), 1);

        let Ok(text) = std::str::from_utf8(input) else { return };
        let frames: Vec<Bytes> =
            text.lines().map(|line| Bytes::copy_from_slice(line.as_bytes())).collect();
        let answer = Answer::Polled { token: text, frames: &frames }.to_json();
        let json: serde_json::Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        assert_eq!(json["token"], text);
        let messages = json["messages"].as_array().expect("messages are a list");
        assert!(messages.iter().map(|text| text.as_str()).eq(text.lines().map(Some)));
    });
});

fn bytes_of(frame: &PostedFrame<'_>) -> usize {
    match frame {
        PostedFrame::Text(text) => text.len(),
        PostedFrame::Binary(bytes) => bytes.len(),
        PostedFrame::Malformed(_) => 0,
    }
}
