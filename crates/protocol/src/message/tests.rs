use super::*;

fn v2(frame: &str) -> Result<Message<'_>, Rejected> {
    decode_text(Vsn::V2, frame)
}

fn code(decoded: Result<Message<'_>, Rejected>) -> &'static str {
    decoded.unwrap_err().error.code()
}

#[test]
fn a_ref_is_the_exact_string_that_was_sent() {
    let message = v2(r#"["007","1.0","t","e",{}]"#).unwrap();

    assert_eq!(message.join_ref, Some(Ref::string("007")));
    assert_eq!(message.reference, Some(Ref::string("1.0")));
}

#[test]
fn a_numeric_ref_keeps_its_token_and_differs_from_the_string() {
    let message = v2(r#"[1.0,-3e0,"t","e",{}]"#).unwrap();

    assert_eq!(message.join_ref, Some(number("1.0")));
    assert_eq!(message.reference, Some(number("-3e0")));
    assert_ne!(message.join_ref, Some(Ref::string("1.0")));
}

#[test]
fn other_refs_are_bad_frames() {
    for reference in ["true", "{}", "[]", r#""\ud800""#] {
        assert_eq!(code(v2(&format!(r#"[null,{reference},"t","e",{{}}]"#))), "bad_frame");
    }
}

#[test]
fn elements_beyond_the_fifth_are_ignored() {
    let message = v2(r#" [null, null ,"t","e", {"a": [1] } , 6, {"x":[]}] "#).unwrap();

    assert_eq!(message.payload, Payload::Json(r#"{"a": [1] }"#));
}

#[test]
fn nothing_is_copied_unless_it_is_escaped() {
    let message = v2(r#"[null,"\u0037","r\u00f6m","e",{}]"#).unwrap();

    assert_eq!(message.reference, Some(Ref::string("7")));
    assert_eq!(message.topic, "röm");
    assert!(matches!(message.event, Cow::Borrowed("e")));
}

#[test]
fn version_one_messages_are_objects_with_keys_in_any_order() {
    let frame = r#"{"payload":{"a":1},"x":[{}],"ref":"2","event":"e","topic":"t"}"#;

    let message = decode_text(Vsn::V1, frame).unwrap();

    assert_eq!(message.join_ref, None);
    assert_eq!(message.reference, Some(Ref::string("2")));
    assert_eq!((&*message.topic, &*message.event), ("t", "e"));
    assert_eq!(message.payload, Payload::Json(r#"{"a":1}"#));
    let with_join = r#"{"topic":"t","event":"e","payload":{},"ref":3,"join_ref":"1"}"#;
    let message = decode_text(Vsn::V1, with_join).unwrap();
    assert_eq!(message.join_ref, Some(Ref::string("1")));
    assert_eq!(message.reference, Some(number("3")));
}

#[test]
fn the_form_of_the_other_version_is_a_bad_frame() {
    let object = r#"{"topic":"t","event":"e","payload":{},"ref":"1"}"#;

    assert_eq!(code(v2(object)), "bad_frame");
    assert_eq!(code(decode_text(Vsn::V1, r#"["1","1","t","e",{}]"#)), "bad_frame");
}

#[test]
fn texts_that_are_no_json_are_told_from_json_that_is_no_message() {
    for frame in ["", "hello", "[", r#"["1","1","t","e",{}"#, r#"["1","1","t","e",{}] x"#] {
        assert_eq!(code(v2(frame)), "bad_json", "{frame}");
    }
    for frame in ["7", "null", "[]", r#"["1","1","t","e"]"#, r#"["1","1",2,"e",{}]"#] {
        assert_eq!(code(v2(frame)), "bad_frame", "{frame}");
    }
    assert_eq!(code(decode_text(Vsn::V1, r#"{"ref":"1","payload":{}}"#)), "bad_frame");
}

#[test]
fn events_of_the_protocol_may_come_without_a_payload() {
    for (topic, event, payload) in [
        ("t", "phx_join", ",null"),
        ("t", "phx_join", ""),
        ("t", "phx_leave", ",null"),
        ("t", "phx_leave", ""),
        ("t", "phx_leave", ",[1]"),
        ("phoenix", "heartbeat", ",null"),
        ("phoenix", "heartbeat", ""),
        ("phoenix", "heartbeat", ",\"\""),
    ] {
        let frame = format!(r#"["3","7","{topic}","{event}"{payload}]"#);

        assert_eq!(v2(&frame).unwrap().payload, Payload::Json("{}"), "{frame}");
    }
    let one = r#"{"topic":"t","event":"phx_leave","ref":"7"}"#;
    assert_eq!(decode_text(Vsn::V1, one).unwrap().payload, Payload::Json("{}"));
    let params = v2(r#"["3","7","t","phx_join",[]]"#).unwrap_err();
    assert_eq!(params.error, DecodeError::PayloadNotObject, "parameters would be lost");
    assert_eq!(code(v2(r#"["3","7","t","heartbeat",null]"#)), "payload_not_object");
}

#[test]
fn version_one_is_json_however_it_travels() {
    let frame = r#"{"topic":"t","event":"e","payload":{"a":1},"ref":"7"}"#;

    let text = decode_text(Vsn::V1, frame).unwrap();

    assert_eq!(decode_binary(Vsn::V1, frame.as_bytes()), Ok(text));
}

#[test]
fn a_payload_that_is_no_object_is_refused_with_the_ref_of_its_request() {
    for payload in ["null", "1", "\"a\"", "[]", "true"] {
        let frame = format!(r#"["3","7","t","e",{payload}]"#);

        let rejected = v2(&frame).unwrap_err();

        assert_eq!(rejected.error, DecodeError::PayloadNotObject);
        let origin = rejected.origin.unwrap();
        assert_eq!(origin.join_ref, Some(Ref::string("3")));
        assert_eq!(origin.reference, Ref::string("7"));
        assert_eq!(origin.topic, "t");
    }
}

#[test]
fn a_frame_cut_in_its_payload_still_tells_its_reference() {
    let rejected = v2(r#"["3","7","t","e",{"a":"#).unwrap_err();

    assert_eq!(rejected.error.code(), "bad_json");
    assert_eq!(rejected.origin.unwrap().reference, Ref::string("7"));
    assert_eq!(v2(r#"["3",null,"t","e",{"a":"#).unwrap_err().origin, None);
}

#[test]
fn a_frame_at_the_limit_is_read_and_one_byte_more_is_not() {
    let frame = |bytes: usize| {
        let around = r#"["3","7","t","e",{"a":""}]"#.len();
        format!(r#"["3","7","t","e",{{"a":"{}"}}]"#, "x".repeat(bytes - around))
    };

    assert!(v2(&frame(limits::FRAME_BYTES)).is_ok());
    let too_large = frame(limits::FRAME_BYTES + 1);
    let rejected = v2(&too_large).unwrap_err();
    assert_eq!(rejected.error, DecodeError::FrameTooLarge);
    assert_eq!(rejected.origin.unwrap().reference, Ref::string("7"));
    let binary = vec![0; limits::FRAME_BYTES + 1];
    assert_eq!(code(decode_binary(Vsn::V2, &binary)), "frame_too_large");
}

#[test]
fn names_at_their_limits_are_read_and_one_byte_more_is_not() {
    let frame = |reference: usize, topic: usize, event: usize| {
        let [reference, topic, event] = [reference, topic, event].map(|bytes| "n".repeat(bytes));
        format!(r#"[null,"{reference}","{topic}","{event}",{{}}]"#)
    };
    let (topic, event) = (limits::TOPIC_BYTES, limits::EVENT_BYTES);

    assert!(v2(&frame(REF_BYTES, topic, event)).is_ok());
    assert_eq!(code(v2(&frame(REF_BYTES + 1, topic, event))), "ref_too_long");
    assert_eq!(code(v2(&frame(REF_BYTES, topic + 1, event))), "topic_too_long");
    assert_eq!(code(v2(&frame(REF_BYTES, topic, event + 1))), "event_too_long");
}

#[test]
fn a_deeply_nested_payload_does_not_exhaust_the_stack() {
    let depth = limits::FRAME_BYTES / 2 - 64;
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));

    assert!(v2(&format!(r#"[null,"1","t","e",{nested}]"#)).is_ok());
    assert!(v2(&format!(r#"[null,"1","t","e",{{}},{nested}]"#)).is_ok());
}

#[test]
fn a_binary_push_has_five_bytes_of_header() {
    let message = decode_binary(Vsn::V2, b"\x00\x01\x02\x03\x05378topevent\x00\xff").unwrap();

    assert_eq!(message.join_ref, Some(Ref::string("3")));
    assert_eq!(message.reference, Some(Ref::string("78")));
    assert_eq!((&*message.topic, &*message.event), ("top", "event"));
    assert_eq!(message.payload, Payload::Binary(b"\x00\xff"));
}

#[test]
fn a_binary_push_whose_names_are_not_utf8_is_refused() {
    assert_eq!(code(decode_binary(Vsn::V2, b"\x00\x01\x01\x01\x0111t\xff")), "bad_utf8");
}

#[test]
fn an_empty_join_ref_of_a_binary_push_is_the_empty_string_not_null() {
    let message = decode_binary(Vsn::V2, b"\x00\x00\x00\x01\x01te").unwrap();

    assert_eq!(message.join_ref, Some(Ref::string("")));
    assert_eq!(message.reference, Some(Ref::string("")));
}

#[test]
fn clients_may_send_binary_frames_of_kinds_zero_and_three_only() {
    for kind in (1..=255).filter(|kind| *kind != 3) {
        let frame = [kind, 0, 0, 1, 1, b't', b'e'];
        let rejected = decode_binary(Vsn::V2, &frame).unwrap_err();
        assert_eq!(rejected.error, DecodeError::UnknownBinaryKind(kind));
    }
}

#[test]
fn a_broadcast_of_kind_three_carries_json_or_bytes_and_nothing_else() {
    let decode = |encoding: u8, meta: &str, payload: &[u8]| {
        let lengths = [3, 0, 0, 1, 1, meta.len() as u8, encoding];
        decode_binary(Vsn::V2, &[&lengths, &b"te"[..], meta.as_bytes(), payload].concat())
            .map(|message| message.payload == Payload::Binary(b""))
            .map_err(|rejected| rejected.error.code())
    };

    assert_eq!(decode(1, "{}", b"7"), Ok(false));
    assert_eq!(decode(0, "", b""), Ok(true));
    assert_eq!(decode(2, "", b"{}"), Err("bad_frame"));
    assert_eq!(decode(1, "[]", b"{}"), Err("bad_frame"));
    for (meta, payload) in [("", &b""[..]), ("", b"{} {}"), ("{", b"{}"), ("", b"{\"a\"}")] {
        assert_eq!(decode(1, meta, payload), Err("bad_json"));
    }
    assert_eq!(decode(1, "", b"\"\xff\""), Err("bad_utf8"));
}

#[test]
fn bytes_of_kind_three_are_a_push_of_their_name() {
    let lengths = [3, 1, 0, 2, 4, 2, 0];
    let frame = [&lengths[..], b"1", b"ro", b"said", b"{}", &[0, 0xff]].concat();

    let message = decode_binary(Vsn::V2, &frame).unwrap();

    assert_eq!((&*message.topic, &*message.event), ("ro", "said"));
    assert_eq!((message.join_ref, message.reference), (Some(Ref::string("1")), None));
    assert_eq!(message.payload, Payload::Binary(b"\x00\xff"));
}

#[test]
fn a_binary_frame_that_ends_early_is_a_bad_frame() {
    let frame = b"\x00\x01\x02\x03\x05378topevent";
    for end in 0..frame.len() {
        assert_eq!(code(decode_binary(Vsn::V2, &frame[..end])), "bad_frame", "{end}");
    }
    assert!(decode_binary(Vsn::V2, frame).is_ok());
}

#[test]
fn version_one_has_no_binary_frames() {
    assert_eq!(code(decode_binary(Vsn::V1, b"\x00\x00\x00\x01\x01te")), "bad_json");
    assert_eq!(code(decode_binary(Vsn::V1, b"\xff")), "bad_utf8");
}

#[test]
fn events_that_clients_act_on_by_themselves_are_reserved() {
    for event in ["phx_close", "phx_error", "phx_reply", "phx_join", "chan_reply_7"] {
        assert!(is_reserved_event(event), "{event}");
    }
    for event in ["message", "presence_state", "phx", "close"] {
        assert!(!is_reserved_event(event), "{event}");
    }
}

fn number(token: &str) -> Ref<'_> {
    Ref::from_json(serde_json::from_str(token).unwrap()).unwrap()
}
