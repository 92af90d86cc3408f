//! Payloads of clients: parameters of joins, pushes about presence. The parsed values are those of
//! the text.
#![no_main]

use instep_fuzz::allowance::within;
use instep_model::json::read_value;
use instep_model::limits;
use instep_protocol::payload::params::{JoinParams, PresencePush, token_of};
use instep_protocol::payload::refusal::RefusalPayload;
use instep_protocol::payload::since::Since;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    within(64 * 1024, 256, input.len(), || {
        let Ok(said) = read_value(input, limits::CARRIED_DEPTH) else { return };
        let params = JoinParams::read(&said);
        assert!(params.key.as_deref() != Some(""), "an empty key is none");
        assert!(said.get("since").is_some() || params.since == Since::Nothing);
        assert!(said.get("presence").is_some() || params.meta.as_ref().is_ok_and(|m| m.is_empty()));
        assert!(!params.tracks || said.pointer("/config/presence").is_none());
        let names_event = said.get("event").is_some_and(Value::is_string);
        assert!(names_event || PresencePush::read(&said).is_none());
        let reason = token_of(&said).unwrap_or("none");
        let refusal = RefusalPayload { detail: params.key.as_deref(), reason }.encode();
        let told: Value = serde_json::from_slice(&refusal).expect("a refusal is JSON");
        assert_eq!(told["reason"], reason);
    });
});
