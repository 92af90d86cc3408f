//! Binary frames of Channels: a parsed frame has the same bytes when it is written again.
#![no_main]

use std::collections::BTreeMap;

use instep_fuzz::allowance::within;
use instep_protocol::encode::{Address, binary_client_push};
use instep_protocol::message::{Named, Payload, decode_binary};
use instep_protocol::vsn::Vsn;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

const NAMED: u8 = 3;

fuzz_target!(|input: &[u8]| {
    within(16 * 1024, 16, input.len(), || {
        let _ = decode_binary(Vsn::V1, input).expect_err("version 1 has no binary frames");
        let Ok(message) = decode_binary(Vsn::V2, input) else { return };
        let payload = match message.payload {
            // A named broadcast of bytes comes in another kind than a push of the same.
            Payload::Binary(payload) if input[0] == NAMED => {
                return assert!(input.ends_with(payload));
            }
            Payload::Binary(payload) => payload,
            Payload::Named(named) => return check_named(&named),
            Payload::Json(_) => panic!("bytes carry bytes"),
        };
        let from = Address {
            join_ref: message.join_ref.as_ref(),
            reference: message.reference.as_ref(),
            topic: &message.topic,
        };
        let written = binary_client_push(&from, &message.event, payload);
        assert_eq!(written.as_deref(), Ok(input));
    });
});

/// Its parts come back from the object that it stands for.
fn check_named(named: &Named<'_>) {
    let json = named.to_json();
    let parts: BTreeMap<&str, &RawValue> = serde_json::from_slice(&json).expect("it is an object");
    let name: String = serde_json::from_str(parts["event"].get()).expect("it is a string");
    assert_eq!((&*name, parts["type"].get()), (named.name, "\"broadcast\""));
    assert_eq!(parts["payload"].get(), named.payload.trim_ascii());
    assert_eq!(parts.get("meta").map_or("", |meta| meta.get()), named.meta.trim_ascii());
}
