//! Text frames of Channels, both versions: a parsed frame says the same when it is written again.
#![no_main]

use instep_fuzz::allowance::within;
use instep_model::limits;
use instep_protocol::encode::{Address, encode_message};
use instep_protocol::message::{Message, Payload, decode_text};
use instep_protocol::vsn::Vsn;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for vsn in [Vsn::V1, Vsn::V2] {
        within(64 * 1024, 16, text.len(), || check(vsn, text));
    }
});

fn check(vsn: Vsn, text: &str) {
    let message = match decode_text(vsn, text) {
        Ok(message) => message,
        Err(rejected) => {
            assert!(!rejected.error.code().is_empty());
            if let Some(origin) = rejected.origin {
                assert!(origin.topic.len() <= text.len());
            }
            return;
        }
    };
    assert!(message.topic.len() <= limits::TOPIC_BYTES);
    assert!(message.event.len() <= limits::EVENT_BYTES);
    let Payload::Json(payload) = message.payload else { panic!("a text carries JSON") };
    let to = Address {
        join_ref: message.join_ref.as_ref(),
        reference: message.reference.as_ref(),
        topic: &message.topic,
    };
    let written = encode_message(vsn, &to, &message.event, payload.as_bytes());
    let again = decode_text(vsn, std::str::from_utf8(&written).expect("JSON is UTF-8"));
    // The join_ref does not travel in version 1.
    let join_ref = message.join_ref.clone().filter(|_| vsn == Vsn::V2);
    assert_eq!(again.as_ref(), Ok(&Message { join_ref, ..message.clone() }));
}
