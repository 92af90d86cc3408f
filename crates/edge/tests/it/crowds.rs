//! Many at once: who has been here for a while is served meanwhile.

use std::io::Write;
use std::time::Duration;

use instep_edge::DoorOptions;
use instep_model::limits;
use instep_model::ring::RingLimits;
use serde_json::json;

use crate::client::{Client, frame};
use crate::fixture::{Fixture, eventually};

/// Connections of a storm, and what each of them joins as soon as it is there.
const STORM: usize = 300;
const JOINS: usize = limits::SOCKET_CHANNELS;

#[test]
fn law_9_a_storm_of_newcomers_does_not_starve_heartbeats() {
    let options = DoorOptions { shards: 1, ..DoorOptions::default() };
    let fixture = Fixture::open(RingLimits::default(), options);
    let mut steady = fixture.join("room:1");
    // Until then it is a newcomer itself.
    std::thread::sleep(Duration::from_millis(limits::NEWCOMER_MS));
    let mut answered = 0;
    let mut beat = |steady: &mut Client| {
        steady.send(&json!([null, "1", "phoenix", "heartbeat", {}]));
        assert_eq!(steady.next().unwrap()[4]["status"], "ok");
        answered += 1;
    };
    beat(&mut steady);

    let mut storm: Vec<_> = (0..STORM).map(|_| fixture.connect()).collect();
    let joins: Vec<u8> = (0..JOINS)
        .flat_map(|n| frame(&json!([n.to_string(), "1", format!("room:{n}"), "phx_join", {}])))
        .collect();
    let heard = |fixture: &Fixture| fixture.count(|counts| counts.frames_in);
    let before = heard(&fixture);
    for client in &mut storm {
        client.stream.write_all(&joins).unwrap();
    }
    let all = before + (STORM * JOINS) as u64;
    let mut at_half = 0;
    while heard(&fixture) < all {
        beat(&mut steady);
        if heard(&fixture) < all - (STORM * JOINS / 2) as u64 {
            at_half += 1;
        }
    }

    // Before, the bytes of all clients were read in one turn: a beat waited for the whole storm.
    assert!(at_half >= 10, "{at_half} beats while half of the storm came in");
    for client in &mut storm {
        assert_eq!(client.next().unwrap()[4]["status"], "ok");
    }
}

/// A crowd is given what is new in parts, and between two parts its members change their places.
#[test]
fn law_3_a_crowd_hears_everything_in_order_while_others_come_and_go() {
    const STAY: usize = 3 * limits::GIVEN_PER_TURN;
    const MESSAGES: usize = 300;
    let options = DoorOptions { shards: 1, ..DoorOptions::default() };
    let fixture = Fixture::open(RingLimits::default(), options);
    let join = || fixture.join("room:1");
    // Between clients that stay stand some that leave, so that places change everywhere.
    let (mut stay, mut leave): (Vec<_>, Vec<_>) = (0..STAY).map(|_| (join(), join())).unzip();

    let mut come = vec![];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES {
                fixture.publish(number, "");
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for _ in 0..STAY / 2 {
            drop((leave.pop(), leave.pop()));
            come.push(join());
        }
    });

    let number = |client: &mut Client| client.next().unwrap()[4]["n"].as_u64().unwrap() as usize;
    for client in &mut stay {
        assert!((0..MESSAGES).all(|wanted| number(client) == wanted));
    }
    fixture.publish(MESSAGES, "");
    for client in &mut come {
        let first = number(client);
        assert!((first + 1..=MESSAGES).all(|wanted| number(client) == wanted));
    }
}

#[test]
fn who_ends_its_side_still_hears_what_it_is_owed() {
    const BEATS: usize = 60_000;
    let options = DoorOptions { shards: 1, ..DoorOptions::default() };
    let fixture = Fixture::open(RingLimits::default(), options);
    let mut client = fixture.connect();
    let beats: Vec<u8> = (0..BEATS)
        .flat_map(|n| frame(&json!([null, n.to_string(), "phoenix", "heartbeat", {}])))
        .collect();

    // More than sockets hold, so that a part still waits in the server when the end comes.
    let writer = client.stream.try_clone().unwrap();
    let heard = std::thread::scope(|scope| {
        scope.spawn(move || {
            (&writer).write_all(&beats).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        std::thread::sleep(Duration::from_millis(300));
        client.rest()
    });

    assert_eq!(heard.len(), BEATS);
    assert_eq!(heard.last().unwrap()[1], (BEATS - 1).to_string());
    eventually("its place is free", || fixture.connections() == 0);
}

/// Law 6: unfinished frames have a limit together, too.
#[test]
fn law_6_large_messages_that_never_end_are_bounded_together() {
    let options = DoorOptions { shards: 1, ..DoorOptions::default() };
    let fixture = Fixture::open(RingLimits::default(), options);
    let most = limits::UNFINISHED_BYTES / limits::FRAME_BYTES;
    let large = limits::FRAME_BYTES - 4_096;
    let length = u32::try_from(large).unwrap().to_be_bytes();
    let begun = [&length[..], &vec![b'['; large - 1]].concat();
    let unfinished = || fixture.count(|counts| counts.unfinished_bytes);
    let refused = || fixture.count(|counts| counts.overfull);

    let mut crowd = vec![];
    for _ in 0..most {
        let mut client = fixture.connect();
        client.stream.write_all(&begun).unwrap();
        crowd.push(client);
    }
    eventually("they all are unfinished", || unfinished() >= (most * large) as u64);
    assert_eq!(refused(), 0);
    let mut late = fixture.connect();
    late.stream.write_all(&begun).unwrap();
    let [_, _, _, event, payload] = crowd[0].next().unwrap();
    assert_eq!((event, &payload["code"]), (json!("close"), &json!(1013)));
    assert_eq!(refused(), 1, "who has held one for the longest is sent away");
    late.stream.write_all(b"]").unwrap();
    assert_eq!(late.next().unwrap()[3], "error", "who goes on is read");
    assert!(unfinished() <= (limits::UNFINISHED_BYTES + limits::READ_BYTES) as u64);

    // A small message is taken even so, however it is cut.
    let mut small = fixture.connect();
    let beat = frame(&json!([null, "1", "phoenix", "heartbeat", {}]));
    let (front, rest) = beat.split_at(20);
    small.stream.write_all(front).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    small.stream.write_all(rest).unwrap();
    assert_eq!(small.next().unwrap()[4]["status"], "ok");

    drop(crowd);
    eventually("what was unfinished is forgotten", || unfinished() == 0);
    let mut again = fixture.connect();
    again.stream.write_all(&begun).unwrap();
    again.stream.write_all(b"]").unwrap();
    assert_eq!(again.next().unwrap()[3], "error", "it is read, and told that it is no message");
}
