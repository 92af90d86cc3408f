//! Frames with their length in front: cut anywhere they are the same, and written again as well.
#![no_main]

use bytes::Bytes;
use instep_fuzz::allowance::within;
use instep_fuzz::pieces::Cut;
use instep_protocol::encode::Frame;
use instep_protocol::length::{Decoder, TooLarge, encode, incoming};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 512;

fuzz_target!(|input: &[u8]| {
    within(16 * 1024, 64, input.len(), || {
        let cut = Cut::of(input);
        let (whole, error) = frames([cut.stream]);
        assert_eq!(frames(cut.pieces()), (whole.clone(), error));
        assert_eq!(frames(cut.stream.chunks(1)), (whole.clone(), error));
        let mut written = Vec::new();
        for frame in &whole {
            assert!(frame.len() <= LIMIT);
            let _ = incoming(frame);
            written.extend(encode(&Frame::Binary(Bytes::copy_from_slice(frame))));
        }
        assert!(cut.stream.starts_with(&written));
    });
});

fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<TooLarge>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            let decoded = match decoder.decode(rest, LIMIT) {
                Ok(decoded) => decoded,
                Err(error) => return (frames, Some(error)),
            };
            assert!(decoded.consumed > 0, "it goes on");
            frames.extend(decoded.frame.map(std::borrow::Cow::into_owned));
            rest = &rest[decoded.consumed..];
        }
    }
    (frames, None)
}
