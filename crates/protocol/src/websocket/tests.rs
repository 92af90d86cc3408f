use super::*;

const LIMIT: usize = 70_000;

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn owned(message: Message<'_>) -> Message<'static> {
    match message {
        Message::Text(text) => Message::Text(Cow::Owned(text.into_owned())),
        Message::Binary(bytes) => Message::Binary(Cow::Owned(bytes.into_owned())),
        Message::Ping(bytes) => Message::Ping(Cow::Owned(bytes.into_owned())),
        Message::Pong => Message::Pong,
        Message::Close(code) => Message::Close(code),
    }
}

/// Decodes a stream that arrives in pieces of `piece` bytes.
fn read(stream: &[u8], piece: usize) -> (Vec<Message<'static>>, Result<(), Violation>) {
    let mut decoder = Decoder::default();
    let mut messages = vec![];
    for piece in stream.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            match decoder.decode(&mut piece[at..], LIMIT) {
                Ok(Decoded { consumed, message, .. }) => {
                    at += consumed;
                    messages.extend(message.map(owned));
                }
                Err(violation) => return (messages, Err(violation)),
            }
        }
    }
    (messages, Ok(()))
}

fn text(text: &str) -> Message<'static> {
    Message::Text(Cow::Owned(text.into()))
}

#[test]
fn ins_18_a_stream_means_the_same_however_it_is_cut() {
    let long = "x".repeat(66_000);
    let medium = vec![7; 300];
    let stream = [
        frame(0x81, b"one"),
        frame(0x82, &medium),
        frame(0x01, "hal".as_bytes()),
        frame(0x89, b"ping between"),
        frame(0x00, "f \u{20ac}".as_bytes()),
        frame(0x80, b""),
        frame(0x8a, b""),
        frame(0x81, b""),
        frame(0x81, long.as_bytes()),
        frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
    ]
    .concat();
    let expected = vec![
        text("one"),
        Message::Binary(Cow::Owned(medium)),
        Message::Ping(Cow::Borrowed(b"ping between")),
        text("half \u{20ac}"),
        Message::Pong,
        text(""),
        text(&long),
        Message::Close(Some(1000)),
    ];

    for piece in [1, 2, 3, 7, 64, 1000, stream.len()] {
        assert_eq!(read(&stream, piece), (expected.clone(), Ok(())), "pieces of {piece}");
    }
}

#[test]
fn a_decoder_owns_memory_only_while_something_is_unfinished() {
    let mut decoder = Decoder::default();
    let mut whole = frame(0x81, b"one");
    let mut start = frame(0x01, b"two");
    let mut ping = frame(0x89, b"");
    let mut end = frame(0x80, b"!");
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());

    decoder.decode(&mut whole, LIMIT).unwrap();
    assert!(decoder.is_empty());
    decoder.decode(&mut start, LIMIT).unwrap();
    decoder.decode(&mut ping, LIMIT).unwrap();
    assert!(!decoder.is_empty());
    let last = decoder.decode(&mut end, LIMIT).unwrap();

    assert_eq!(last.message, Some(text("two!")));
    assert!(decoder.is_empty());
}

#[test]
fn a_text_that_cannot_become_utf_8_is_refused_before_its_end() {
    let start = frame(0x01, b"\xce\xba\xe1\xbd\xb9\xf4\x90");

    assert_eq!(read(&start, start.len()), (vec![], Err(Violation::NotUtf8)));
    assert_eq!(read(&start, 1), (vec![], Err(Violation::NotUtf8)));
    assert_eq!(read(&frame(0x81, b"\xce"), 64), (vec![], Err(Violation::NotUtf8)));
    let cut = [frame(0x01, b"\xce"), frame(0x80, b"")].concat();
    assert_eq!(read(&cut, 1), (vec![], Err(Violation::NotUtf8)));
    let joined = [frame(0x01, b"\xce"), frame(0x80, b"\xba")].concat();
    assert_eq!(read(&joined, 1), (vec![text("\u{3ba}")], Ok(())));
}

#[test]
fn streams_that_break_the_protocol_are_refused_with_1002() {
    let unmasked = vec![0x81, 0x01, b'x'];
    let cases = [
        frame(0xc1, b""),
        frame(0x83, b""),
        frame(0x8b, b""),
        frame(0x09, b""),
        frame(0x89, &[0; 126]),
        frame(0x80, b""),
        [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        unmasked,
        frame(0x88, &[3]),
        frame(0x88, &999_u16.to_be_bytes()),
        frame(0x88, &1005_u16.to_be_bytes()),
        frame(0x88, &1016_u16.to_be_bytes()),
        frame(0x88, &2999_u16.to_be_bytes()),
        frame(0x88, &5000_u16.to_be_bytes()),
        vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
    ];

    for case in cases {
        for piece in [1, case.len()] {
            let (messages, end) = read(&case, piece);
            assert_eq!(end.map_err(Violation::code), Err(CLOSE_PROTOCOL), "{case:x?}");
            assert_eq!(messages, []);
        }
    }
    let reason = frame(0x88, &[0x03, 0xe8, 0xff]);
    assert_eq!(read(&reason, 64).1, Err(Violation::NotUtf8));
}

#[test]
fn law_6_a_message_over_the_limit_is_refused_when_its_length_is_said() {
    let said = &frame(0x82, &vec![0; LIMIT + 1])[..14];
    let pieces = [frame(0x02, &vec![0; LIMIT]), frame(0x80, b"x")].concat();

    assert_eq!(read(said, 14).1, Err(Violation::TooLarge { limit: LIMIT }));
    assert_eq!(read(&pieces, 999).1, Err(Violation::TooLarge { limit: LIMIT }));
    assert_eq!(read(&frame(0x82, &vec![0; LIMIT]), 999).1, Ok(()));
}

#[test]
fn heads_have_the_shortest_length_that_fits() {
    let head = |length| {
        let mut out = vec![];
        write_head(&mut out, true, length);
        out
    };

    assert_eq!(head(125), [0x81, 125]);
    assert_eq!(head(126), [0x81, 126, 0, 126]);
    assert_eq!(head(65_535), [0x81, 126, 0xff, 0xff]);
    assert_eq!(head(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(&encode_pong(b"p")[..], [0x8a, 1, b'p']);
    assert_eq!(&encode_close(Some(1012), "later")[..], b"\x88\x07\x03\xf4later");
    assert_eq!(&encode_close(None, "")[..], [0x88, 0]);
    assert_eq!(encode_close(Some(1000), &"\u{20ac}".repeat(60)).len(), 2 + 2 + 123);
}
