use super::*;

/// Decodes a stream that comes in these pieces.
fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut shown = Vec::new();
    for mut piece in pieces {
        while let Some(frame) = decoder.decode(&mut piece) {
            shown.push(match frame {
                Ok(frame) => show(&frame),
                Err(error) => error.code().to_owned(),
            });
        }
        assert!(piece.is_empty(), "everything has been taken in");
    }
    shown
}

fn show(frame: &Frame<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match frame {
        Frame::Ping => "ping".to_owned(),
        Frame::Pong => "pong".to_owned(),
        Frame::Request(bytes) => format!("request {}", text(bytes)),
        Frame::Publish(bytes) => format!("publish {}", text(bytes)),
    }
}

const STREAM: &[u8] = b"<regular-socket/>\0{\"action\":\"subscribe\",\"data\":\"a\"}\0\
    <regular-socket/>\0PING\0PONG\0<regular-socket/>\0\0\0<regular-socket/>\0PONG\0\
    <regular-socket/>\0PUBLISH\0{\"data\":{\"}\":\"\\\"}\"}}\0<regular-socket/>\0x\0";

#[test]
fn jan_11_many_frames_come_in_one_write() {
    let wanted = [
        r#"request {"action":"subscribe","data":"a"}"#,
        "ping",
        "pong",
        "pong",
        r#"publish {"data":{"}":"\"}"}}"#,
        "request x",
    ];

    assert_eq!(decoded([STREAM]), wanted);
}

#[test]
fn jan_11_jan_r3_a_frame_may_be_split_at_each_byte() {
    let whole = decoded([STREAM]);

    assert_eq!(decoded(STREAM.chunks(1)), whole);
    for at in 0..STREAM.len() {
        let (before, after) = STREAM.split_at(at);
        assert_eq!(decoded([before, after]), whole, "split at {at}");
    }
}

#[test]
fn jan_u2_a_publisher_of_old_ends_its_message_with_nothing() {
    let stream = b"<regular-socket/>\0PUBLISH\0 {\"a\":[{}],\"b\":\"{\"}";

    assert_eq!(decoded([&stream[..]]), [r#"publish  {"a":[{}],"b":"{"}"#]);
}

#[test]
fn a_published_text_that_is_no_object_ends_with_a_zero_byte() {
    for text in ["[{}]", "}{}", "\"{}\"", "", "{"] {
        let stream = format!("<regular-socket/>\0PUBLISH\0{text}\0");
        assert_eq!(decoded([stream.as_bytes()]), [format!("publish {text}")]);
    }
}

#[test]
fn jan_r5_bytes_without_the_tag_are_told_at_once_and_nothing_follows() {
    for stream in [
        &b"hello"[..],
        b"\r\n",
        b"{\"action\":\"subscribe\",\"data\":\"a\"}\0",
        b"PINGS\0",
        b"PIN\0",
        b"<regular-socket/ >\0",
        b"<regular-socket/>x",
    ] {
        let stream = [stream, STREAM].concat();
        assert_eq!(decoded([&stream[..]]), ["no_tag"]);
        assert_eq!(decoded(stream.chunks(1)), ["no_tag"]);
    }
}

#[test]
fn law_6_a_frame_over_the_limit_is_refused_and_not_kept() {
    let frame = |bytes| [TAG, b"\0", &vec![b'x'; bytes][..], b"\0"].concat();
    let publish = |bytes| [TAG, b"\0PUBLISH\0{\"", &vec![b'x'; bytes][..]].concat();

    assert_eq!(decoded([&frame(limits::FRAME_BYTES)[..]]).len(), 1);
    for stream in [frame(limits::FRAME_BYTES + 1), publish(limits::FRAME_BYTES - 1)] {
        assert_eq!(decoded([&stream[..]]), ["frame_too_large"]);
        assert_eq!(decoded(stream.chunks(60_000)), ["frame_too_large"]);
    }
    let mut decoder = Decoder::default();
    let stream = publish(limits::FRAME_BYTES);
    let outcome = decoder.decode(&mut &stream[..]);
    assert_eq!((outcome, decoder.kept_bytes()), (Some(Err(DecodeError::FrameTooLarge)), 0));
}

#[test]
fn a_decoder_between_frames_owns_no_memory() {
    let mut decoder = Decoder::default();
    for piece in STREAM.chunks(3) {
        let mut piece = piece;
        while decoder.decode(&mut piece).is_some() {}
    }

    assert_eq!(decoder.kept_bytes(), 0);
    assert!(size_of::<Decoder>() <= 40);
}

#[test]
fn jan_15_a_message_of_another_door_is_the_data() {
    let at = Timestamp(1_000_000_000_001);
    for (payload, wanted) in [
        (r#"{"message_id":7,"data":[1.0]}"#, r#""message_id":7,"data":[1.0]"#),
        (r#"{ "data":null, "message_id":"" }"#, r#""message_id":"","data":null"#),
        (r#"{"data":1}"#, r#""message_id":"","data":{"data":1}"#),
        (
            r#"{"message_id":7,"data":1,"x":2}"#,
            r#""message_id":"","data":{"message_id":7,"data":1,"x":2}"#,
        ),
    ] {
        let frame = encode_message(at, "röm", "e\"", payload.as_bytes());

        let wanted = format!(
            "{{\"timestamp\":[1,0,1],\"topic\":\"röm\",\"event\":\"e\\\"\",{wanted}}}\u{1}"
        );
        assert_eq!(String::from_utf8(frame.to_vec()).unwrap(), wanted);
    }
}
