//! Binary frames of Channels: what is read has the same bytes when it is written again.
#![no_main]

use instep_fuzz::allowance::within;
use instep_protocol::encode::{Address, binary_client_push};
use instep_protocol::message::{Payload, decode_binary};
use instep_protocol::vsn::Vsn;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    within(16 * 1024, 4, input.len(), || {
        let _ = decode_binary(Vsn::V1, input).expect_err("version 1 has no binary frames");
        let Ok(message) = decode_binary(Vsn::V2, input) else { return };
        let Payload::Binary(payload) = message.payload else { panic!("bytes carry bytes") };
        let from = Address {
            join_ref: message.join_ref.as_ref(),
            reference: message.reference.as_ref(),
            topic: &message.topic,
        };
        let written = binary_client_push(&from, &message.event, payload);
        assert_eq!(written.as_deref(), Ok(input));
    });
});
