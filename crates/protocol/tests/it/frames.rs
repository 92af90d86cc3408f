//! Properties of every frame.

use instep_protocol::encode::{
    Address, binary_broadcast, binary_client_push, binary_push, binary_reply, encode_message,
    encode_reply,
};
use instep_protocol::longpoll::{Answer, decode_body};
use instep_protocol::message::{Message, Payload, decode_binary, decode_text};
use instep_protocol::reference::Ref;
use instep_protocol::session::{Event, Incoming, Options, Session};
use instep_protocol::subprotocol;
use instep_protocol::vsn::Vsn;
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_bytes_from_outside_panic(bytes: Vec<u8>, text: String, kind in 0..4_u8) {
        let almost = [&[kind], &bytes[..]].concat();
        for vsn in [Vsn::V1, Vsn::V2] {
            let mut session = Session::new(Options::websocket(vsn), 0);
            for frame in [
                Incoming::Text(&text),
                Incoming::Binary(&bytes),
                Incoming::Binary(&almost),
            ] {
                session.handle(Event::Received(frame), 0);
            }
        }
        let _ = decode_body(Some("application/x-ndjson"), &bytes);
        let _ = decode_body(None, &bytes);
        let _ = subprotocol::parse([&*text]);
        let _ = Vsn::parse(Some(&text));
    }

    #[test]
    fn no_damaged_message_panics(frame in damaged()) {
        for vsn in [Vsn::V1, Vsn::V2] {
            let mut session = Session::new(Options::websocket(vsn), 0);
            session.handle(Event::Received(Incoming::Text(&frame)), 0);
            while session.next_effect().is_some() {}
        }
    }

    #[test]
    fn a_text_message_reads_as_it_was_written(
        join_ref in reference(),
        own_ref in reference(),
        topic in ".{0,60}",
        event in ".{0,60}",
        payload in object(),
    ) {
        let (join_ref, own_ref) = (parsed(&join_ref), parsed(&own_ref));
        let to = Address {
            join_ref: join_ref.as_ref(),
            reference: own_ref.as_ref(),
            topic: &topic,
        };
        for vsn in [Vsn::V1, Vsn::V2] {
            let frame = encode_message(vsn, &to, &event, payload.as_bytes());
            let text = std::str::from_utf8(&frame).unwrap();

            let wanted = Message {
                join_ref: join_ref.clone().filter(|_| vsn == Vsn::V2),
                reference: own_ref.clone(),
                topic: (&*topic).into(),
                event: (&*event).into(),
                payload: Payload::Json(&payload),
            };
            prop_assert_eq!(decode_text(vsn, text), Ok(wanted));
        }
    }

    #[test]
    fn a_reply_is_json_that_carries_status_and_response(
        topic: String,
        status: String,
        response in object(),
    ) {
        let name = Ref::string(&*topic);
        let to = Address { join_ref: None, reference: Some(&name), topic: &topic };

        let frame = encode_reply(Vsn::V2, &to, &status, response.as_bytes());

        let json: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        prop_assert_eq!(&json[1], &*topic);
        prop_assert_eq!(&json[4]["status"], &*status);
        let response: serde_json::Value = serde_json::from_str(&response).unwrap();
        prop_assert_eq!(&json[4]["response"], &response);
    }

    #[test]
    fn binary_frames_read_as_they_were_written(
        names in prop::array::uniform4(".{0,63}"),
        payload: Vec<u8>,
    ) {
        let [join_ref, own_ref, topic, event] = &names;
        let refs = [Ref::string(&**join_ref), Ref::string(&**own_ref)];
        let [join, own] = refs.each_ref().map(Some);
        let to = Address { join_ref: join, reference: own, topic };

        let push = binary_client_push(&to, event, &payload).unwrap();
        let message = decode_binary(Vsn::V2, &push).unwrap();
        prop_assert_eq!(message.join_ref.as_ref(), join);
        prop_assert_eq!(message.reference.as_ref(), own);
        prop_assert_eq!((&*message.topic, &*message.event), (&**topic, &**event));
        prop_assert_eq!(message.payload, Payload::Binary(&payload));

        let served = |kind, names: &[&String]| {
            let names: Vec<String> = names.iter().map(|&name| name.clone()).collect();
            (kind, names, payload.clone())
        };
        let frame = binary_push(join, topic, event, &payload).unwrap();
        prop_assert_eq!(as_phoenix_js(&frame), served(0, &[join_ref, topic, event]));
        let frame = binary_reply(&to, event, &payload).unwrap();
        prop_assert_eq!(as_phoenix_js(&frame), served(1, &[join_ref, own_ref, topic, event]));
        let frame = binary_broadcast(topic, event, &payload).unwrap();
        prop_assert_eq!(as_phoenix_js(&frame), served(2, &[topic, event]));
    }

    #[test]
    fn frames_survive_the_answer_of_a_poll(token: String, texts: Vec<String>) {
        let frames: Vec<_> = texts.iter().map(|text| text.clone().into()).collect();

        let json = Answer::Polled { token: &token, frames: &frames }.to_json();

        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&json["token"], &*token);
        prop_assert_eq!(&json["messages"], &serde_json::json!(texts));
    }
}

/// Reads a binary frame of the server as phoenix.js does: kind, names, payload.
fn as_phoenix_js(frame: &[u8]) -> (u8, Vec<String>, Vec<u8>) {
    let names = match frame[0] {
        0 => 3,
        1 => 4,
        2 => 2,
        kind => panic!("no kind {kind}"),
    };
    let mut at = 1 + names;
    let texts = frame[1..=names].iter().map(|&length| {
        let text = &frame[at..at + usize::from(length)];
        at += text.len();
        String::from_utf8(text.to_vec()).unwrap()
    });
    let texts = texts.collect();
    (frame[0], texts, frame[at..].to_vec())
}

/// The JSON of a ref.
fn reference() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        ".{0,60}".prop_map(|text| serde_json::json!(text).to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f32>()
            .prop_map(|number| format!("{:e}", if number.is_finite() { number } else { 1.0 })),
    ]
}

fn parsed(json: &str) -> Option<Ref<'_>> {
    Ref::from_json(serde_json::from_str(json).unwrap())
}

/// The text of a JSON object.
fn object() -> impl Strategy<Value = String> {
    prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4)
        .prop_map(|map| serde_json::json!(map).to_string())
}

/// A good frame with a few characters replaced, doubled or missing.
fn damaged() -> impl Strategy<Value = String> {
    let good = prop_oneof![
        Just(r#"["3","7","room:1","phx_join",{"a":[1,"\u0041"]}]"#.to_owned()),
        Just(r#"{"topic":"t","event":"e","payload":{"a":{}},"ref":"1","join_ref":2}"#.to_owned()),
    ];
    let damage = (any::<prop::sample::Index>(), ".{0,2}");
    (good, prop::collection::vec(damage, 0..4)).prop_map(|(good, damages)| {
        let mut frame: Vec<String> = good.chars().map(String::from).collect();
        for (index, text) in damages {
            let at = index.index(frame.len());
            frame[at] = text;
        }
        frame.concat()
    })
}
