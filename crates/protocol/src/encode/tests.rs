use super::*;

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_numeric_ref_comes_back_as_the_same_token() {
    let reference = number("7.0");
    let join_ref = Ref::string("3");
    let to = Address { join_ref: Some(&join_ref), reference: Some(&reference), topic: "t" };

    let frame = encode_reply(Vsn::V2, &to, "ok", b"{}");

    assert_eq!(text(&frame), r#"["3",7.0,"t","phx_reply",{"status":"ok","response":{}}]"#);
}

#[test]
fn names_are_escaped_as_json_demands() {
    let name: String = (0..128_u8).map(char::from).chain("ö\u{2028}😀".chars()).collect();

    let frame = encode_broadcast(Vsn::V2, &name, &name, b"{}");

    let (_, _, topic, event, _): ((), (), String, String, serde_json::Value) =
        serde_json::from_slice(&frame).unwrap();
    assert_eq!((&topic, &event), (&name, &name));
}

#[test]
fn a_payload_is_copied_byte_for_byte() {
    let payload = r#"{ "b":1.0,"a":1e2, "b":2 }"#;

    let frame = encode_broadcast(Vsn::V1, "t", "e", payload.as_bytes());

    assert!(text(&frame).contains(payload));
}

#[test]
fn the_room_for_a_frame_is_reserved_once() {
    let reference = Ref::string("12345");
    let to = Address { join_ref: Some(&reference), reference: Some(&reference), topic: "room:1" };
    for vsn in [Vsn::V1, Vsn::V2] {
        let mut out = Vec::with_capacity(capacity(&to, "event", b"{}"));
        let before = out.capacity();
        write_message(&mut out, vsn, &to, "event", |out| out.extend_from_slice(b"{}"));
        assert_eq!(out.capacity(), before);
    }
}

#[test]
fn a_name_of_256_bytes_does_not_fit_a_binary_frame() {
    let long = "n".repeat(256);

    assert_eq!(binary_broadcast("t", &long, b""), Err(FieldTooLong { bytes: 256 }));
    assert!(binary_broadcast("t", &long[1..], b"").is_ok());
}

fn number(token: &str) -> Ref<'_> {
    Ref::from_json(serde_json::from_str(token).unwrap()).unwrap()
}

#[test]
fn a_broadcast_of_bytes_has_a_kind_of_its_own_for_supabases_clients() {
    let frame = binary_named_broadcast("room", "said", &[0, 0xff]).unwrap();

    assert_eq!(&frame[..], b"\x04\x04\x04\x00\x00roomsaid\x00\xff");
}
