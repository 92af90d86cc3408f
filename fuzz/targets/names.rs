//! Values parsed from texts of clients and operators: positions, names, versions, tokens.
#![no_main]

use instep_fuzz::allowance::within;
use instep_model::limits;
use instep_model::name::{Key, Name};
use instep_model::position::Position;
use instep_model::view::TopicPattern;
use instep_protocol::janus::Token;
use instep_protocol::subprotocol;
use instep_protocol::vsn::Vsn;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    within(64 * 1024, 64, text.len(), || {
        if let Ok(position) = text.parse::<Position>() {
            assert_eq!(position.to_string(), text, "a position has one spelling");
        }
        if let Ok(name) = Name::new(text) {
            assert!(name.as_str() == text && text.len() <= limits::NAME_BYTES);
        }
        if let Ok(key) = Key::new(text) {
            assert!(key.as_str() == text && text.len() <= limits::KEY_BYTES);
        }
        if let Some(token) = Token::parse(text) {
            assert_eq!(token.to_string(), text);
        }
        if let Ok(pattern) = TopicPattern::parse(text) {
            let _ = pattern.matches("room:1");
            let plain = !text.contains(['{', '}']);
            assert!(!plain || pattern.matches(text), "a pattern without holes is its topic");
        }
        let _ = Vsn::parse(Some(text));
        if let Ok(found) = subprotocol::parse([text]) {
            let is_offered = text.split(',').any(|offer| offer.trim() == subprotocol::PHOENIX);
            assert_eq!(found.answer.is_some(), is_offered);
        }
    });
});
