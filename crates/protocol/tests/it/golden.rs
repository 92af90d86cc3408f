//! The bytes of every kind of frame, in both directions, as written down in `tests/golden`.

use std::path::Path;

use instep_protocol::encode::{
    Address, binary_broadcast, binary_client_push, binary_named_broadcast, binary_push,
    binary_reply, encode_broadcast, encode_close, encode_error, encode_push, encode_reply,
};
use instep_protocol::message::{Payload, decode_binary, decode_text};
use instep_protocol::reference::Ref;
use instep_protocol::vsn::Vsn;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

#[test]
fn every_frame_from_a_client_reads_as_written_down() {
    for vector in golden::<Decode>("decode.json") {
        let name = &vector.name;
        let vsn = Vsn::parse(Some(&vector.vsn)).unwrap();
        let bytes = vector.hex.as_deref().map(unhex).unwrap_or_default();
        let decoded = match &vector.text {
            Some(text) => decode_text(vsn, text),
            None => decode_binary(vsn, &bytes),
        };

        match vector.message {
            Some(wanted) => {
                let message = decoded.expect(name);
                assert_eq!(message.join_ref, reference(wanted.join_ref.as_deref()), "{name}");
                assert_eq!(message.reference, reference(wanted.reference.as_deref()), "{name}");
                assert_eq!(message.topic, wanted.topic, "{name}");
                assert_eq!(message.event, wanted.event, "{name}");
                match message.payload {
                    Payload::Json(text) => assert_eq!(text, wanted.payload.unwrap().get()),
                    Payload::Named(named) => {
                        let json = String::from_utf8(named.to_json()).unwrap();
                        assert_eq!(json, wanted.payload.unwrap().get(), "{name}");
                    }
                    Payload::Binary(bytes) => assert_eq!(bytes, unhex(&wanted.hex.unwrap())),
                }
            }
            None => {
                let rejected = decoded.expect_err(name);
                assert_eq!(Some(rejected.error.code()), vector.error.as_deref(), "{name}");
                let origin = rejected.origin.map(|origin| origin.reference);
                assert_eq!(origin, vector.reference.map(Ref::string), "{name}");
            }
        }
    }
}

#[test]
fn every_frame_to_a_client_is_as_written_down() {
    for vector in golden::<Encode>("encode.json") {
        let name = &vector.name;
        let vsn = Vsn::parse(Some(&vector.vsn)).unwrap();
        let join_ref = reference(vector.join_ref.as_deref());
        let reference = reference(vector.reference.as_deref());
        let (topic, event) = (&*vector.topic, &*vector.event);
        let to = Address { join_ref: join_ref.as_ref(), reference: reference.as_ref(), topic };
        let json = vector.payload.as_deref().map_or("", RawValue::get).as_bytes();
        let bytes = vector.hex_payload.as_deref().map(unhex).unwrap_or_default();

        let frame = match &*vector.kind {
            "reply" => encode_reply(vsn, &to, event, json),
            "push" => encode_push(vsn, to.join_ref, topic, event, json),
            "broadcast" => encode_broadcast(vsn, topic, event, json),
            "error" => encode_error(vsn, &to),
            "close" => encode_close(vsn, &to),
            "binary push" => binary_push(to.join_ref, topic, event, &bytes).unwrap(),
            "binary reply" => binary_reply(&to, event, &bytes).unwrap(),
            "binary named broadcast" => binary_named_broadcast(topic, event, &bytes).unwrap(),
            "binary broadcast" => binary_broadcast(topic, event, &bytes).unwrap(),
            "binary client push" => binary_client_push(&to, event, &bytes).unwrap(),
            kind => panic!("{name}: unknown kind {kind}"),
        };

        match (&vector.text, &vector.hex) {
            (Some(text), None) => assert_eq!(std::str::from_utf8(&frame).unwrap(), text, "{name}"),
            (None, Some(hex)) => assert_eq!(frame, unhex(hex), "{name}"),
            _ => panic!("{name}: either text or hex"),
        }
    }
}

#[derive(Deserialize)]
struct Decode {
    name: String,
    vsn: String,
    text: Option<String>,
    hex: Option<String>,
    message: Option<Wanted>,
    error: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Wanted {
    join_ref: Option<Box<RawValue>>,
    #[serde(rename = "ref")]
    reference: Option<Box<RawValue>>,
    topic: String,
    event: String,
    payload: Option<Box<RawValue>>,
    hex: Option<String>,
}

#[derive(Deserialize)]
struct Encode {
    name: String,
    vsn: String,
    kind: String,
    join_ref: Option<Box<RawValue>>,
    #[serde(rename = "ref")]
    reference: Option<Box<RawValue>>,
    topic: String,
    event: String,
    payload: Option<Box<RawValue>>,
    hex_payload: Option<String>,
    text: Option<String>,
    hex: Option<String>,
}

fn golden<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let vectors: Vec<T> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!vectors.is_empty());
    vectors
}

fn reference(json: Option<&RawValue>) -> Option<Ref<'_>> {
    json.map(|json| Ref::from_json(json).unwrap())
}

fn unhex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
