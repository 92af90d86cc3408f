use proptest::prelude::*;

use super::*;

fn frame(number: usize, bytes: usize) -> Arc<Frame> {
    let payload = Payload::Json(Bytes::from(number.to_string()));
    Arc::new(Frame {
        event: "e".into(),
        payload,
        position: None,
        offset: None,
        encoded: Bytes::from(vec![0; bytes]),
    })
}

fn numbers(read: Read) -> Vec<usize> {
    let Read::Frames(frames) = read else { panic!("lagged") };
    let number = |frame: &Arc<Frame>| match &frame.payload {
        Payload::Json(text) => std::str::from_utf8(text).unwrap().parse().unwrap(),
        Payload::Binary(_) => unreachable!(),
    };
    frames.iter().map(number).collect()
}

#[test]
fn cursors_read_every_frame_once_and_in_order() {
    let mut ring = Ring::default();
    let mut cursor = ring.end();
    (0..5).for_each(|number| ring.push(frame(number, 1), 0));

    assert_eq!(numbers(ring.read(&mut cursor, 3)), [0, 1, 2]);
    assert_eq!(numbers(ring.read(&mut cursor, 3)), [3, 4]);
    assert_eq!(numbers(ring.read(&mut cursor, 3)), [] as [usize; 0]);
}

#[test]
fn law_9_a_cursor_that_falls_off_is_told_how_much_it_missed_and_goes_on() {
    let mut ring = Ring::default();
    let mut cursor = ring.end();
    (0..=limits::RING_FRAMES).for_each(|number| ring.push(frame(number, 1), 0));

    let missed = limits::RING_FRAMES as u64 + 1;
    assert_eq!(ring.read(&mut cursor, 3), Read::Lagged { missed });
    ring.push(frame(7, 1), 0);
    assert_eq!(numbers(ring.read(&mut cursor, 3)), [7]);
}

#[test]
fn law_6_a_ring_is_bounded_by_age() {
    let mut ring = Ring::new(RingLimits { ms: 10, ..RingLimits::default() });
    let mut cursor = ring.end();
    (0..3).for_each(|number| ring.push(frame(number, 1), number as u64));

    ring.push(frame(3, 1), 12);
    assert_eq!(ring.occupancy(), (2, 2));
    ring.expire(30);

    assert_eq!(ring.occupancy(), (0, 0));
    assert_eq!(ring.read(&mut cursor, 9), Read::Lagged { missed: 4 });
}

#[test]
fn a_read_takes_about_as_many_bytes_as_asked_for_and_at_least_one_frame() {
    let mut ring = Ring::default();
    let mut cursor = ring.end();
    (0..4).for_each(|number| ring.push(frame(number, 10), 0));

    assert_eq!(numbers(ring.read_within(&mut cursor, 9, 1)), [0]);
    assert_eq!(numbers(ring.read_within(&mut cursor, 9, 11)), [1, 2]);
    assert_eq!(numbers(ring.read_within(&mut cursor, 9, 11)), [3]);
}

#[test]
fn law_6_a_ring_is_bounded_by_bytes_but_always_holds_the_newest_frame() {
    let mut ring = Ring::default();
    let mut cursor = ring.end();

    ring.push(frame(0, 10), 0);
    ring.push(frame(1, limits::RING_BYTES + 1), 0);

    assert_eq!((ring.frames.len(), ring.occupancy().1), (1, limits::RING_BYTES + 1));
    assert_eq!(ring.read(&mut cursor, 9), Read::Lagged { missed: 2 });
}

fn message(number: usize) -> Message {
    let Frame { payload, encoded, .. } = Arc::into_inner(frame(number, 1)).unwrap();
    Message { payload, encoded }
}

#[test]
fn messages_of_a_live_topic_are_counted_and_what_stands_between_them_is_not() {
    let mut ring = Ring::new(RingLimits { frames: 3, ..RingLimits::default() });
    let limits = ring.limits;
    ring.become_live(limits);
    let mut slow = ring.end();
    let mut quick = slow;

    ring.push_message("e", message(1), 0);
    ring.push(frame(0, 1), 0);
    ring.push_message("e", message(2), 0);
    ring.read(&mut quick, 9);
    ring.push_message("e", message(3), 0);

    assert_eq!((quick.offset(), ring.end().offset()), (2, 3));
    assert_eq!(ring.read(&mut slow, 9), Read::Lagged { missed: 3 });
    assert_eq!(slow, ring.end());
}

#[derive(Debug, Clone)]
enum Put {
    Message(usize),
    Other,
    Passes(u64),
}

fn puts() -> impl Strategy<Value = Vec<Put>> {
    let put = prop_oneof![
        4 => (1_usize..40).prop_map(Put::Message),
        1 => Just(Put::Other),
        1 => (0_u64..20).prop_map(Put::Passes),
    ];
    proptest::collection::vec(put, 0..60)
}

proptest! {
    /// History replays exactly the missed messages, or says that it cannot.
    #[test]
    fn history_is_whole_or_refused(
        puts in puts(),
        frames in 1_usize..20,
        bytes in 20_usize..400,
    ) {
        let mut ring = Ring::new(RingLimits { frames, bytes, ms: 30 });
        let limits = ring.limits;
    ring.become_live(limits);
        let (mut now, mut told) = (0, vec![]);
        for put in puts {
            match put {
                Put::Message(bytes) => {
                    let number = told.len() + 1;
                    let Frame { payload, encoded, .. } =
                        Arc::into_inner(frame(number, bytes)).unwrap();
                    ring.push_message("e", Message { payload, encoded }, now);
                    told.push(number);
                }
                Put::Other => ring.push(frame(0, 1), now),
                Put::Passes(ms) => {
                    now += ms;
                    ring.expire(now);
                }
            }
        }

        let mut whole = true;
        for since in (0..=told.len()).rev() {
            let replayed = ring.behind(since as u64).map(|mut cursor| {
                let read = ring.read(&mut cursor, usize::MAX);
                assert_eq!(cursor, ring.end());
                let Read::Frames(mut frames) = read else { panic!("lagged") };
                frames.retain(|frame| frame.offset.is_some());
                numbers(Read::Frames(frames))
            });
            // From some number on downwards nothing is known any more.
            whole &= replayed.is_some();
            prop_assert_eq!(replayed, whole.then(|| told[since..].to_vec()));
        }
        prop_assert_eq!(ring.behind(told.len() as u64 + 1), None);
    }
}

#[test]
fn rings_that_are_large_together_become_smaller_and_small_ones_of_others_do_not() {
    let budget = Arc::default();
    let limits = RingLimits { bytes: usize::MAX, ..RingLimits::default() };
    let large = limits::RINGS_BYTES / 16;
    let frame = |bytes: usize| {
        let encoded = Bytes::from(vec![0; bytes]);
        let payload = Payload::Binary(Bytes::new());
        Arc::new(Frame { event: "e".into(), payload, position: None, offset: None, encoded })
    };
    let mut small = Ring::within(limits, &budget);
    (0..10).for_each(|_| small.push(frame(100), 0));
    let mut many: Vec<_> = (0..7).map(|_| Ring::within(limits, &budget)).collect();

    for _ in 0..8 {
        many.iter_mut().for_each(|ring| ring.push(frame(large), 0));
    }
    small.push(frame(100), 0);

    assert_eq!(small.occupancy(), (11, 1_100));
    let all: usize = many.iter().map(|ring| ring.occupancy().1).sum();
    assert!(all <= limits::RINGS_BYTES + large, "{all}");
    assert!(many.iter().all(|ring| ring.occupancy().0 >= 1), "the newest frame stays");
    drop(many);
    assert_eq!(budget.bytes.load(Ordering::Relaxed), 1_100);
}
