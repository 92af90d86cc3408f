//! Streams that are cut, glued together, broken or thrown away.

use std::io::Write;

use instep_edge::DoorOptions;
use instep_model::limits;
use instep_model::ring::RingLimits;
use serde_json::json;
use socket2::SockRef;

use crate::client::frame;
use crate::fixture::{Fixture, TABLE_TOPIC, eventually};

fn fixture() -> Fixture {
    Fixture::open(RingLimits::default(), DoorOptions { shards: 2, ..DoorOptions::default() })
}

#[test]
fn ins_18_messages_over_tcp_mean_the_same_however_they_are_cut_or_glued() {
    let fixture = fixture();
    let talk = [
        json!(["1", "1", "room:1", "phx_join", {}]),
        json!(["1", "2", "room:1", "a", {"euro": "€"}]),
        json!([null, "3", "phoenix", "heartbeat", {}]),
        json!(["1", "4", "room:1", "phx_leave", {}]),
    ];
    let stream: Vec<u8> = talk.iter().flat_map(frame).collect();

    for piece in [1, 2, 3, 5, 50, stream.len()] {
        let mut client = fixture.connect();
        for piece in stream.chunks(piece) {
            client.stream.write_all(piece).unwrap();
        }
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let heard: Vec<_> = client
            .rest()
            .into_iter()
            .map(|[_, reference, _, event, _]| (reference, event))
            .collect();

        let reply = |reference: &str| (json!(reference), json!("phx_reply"));
        let answered = |reference| heard.contains(&reply(reference));
        assert!(["1", "2", "3", "4"].into_iter().all(answered), "pieces of {piece}: {heard:?}");
    }
}

#[test]
fn law_6_a_frame_over_the_limit_is_answered_with_the_limit_and_the_end() {
    let fixture = fixture();
    let mut client = fixture.connect();

    let length = u32::try_from(limits::FRAME_BYTES + 1).unwrap().to_be_bytes();
    client.stream.write_all(&length).unwrap();

    let [error, close] = &client.rest()[..] else { panic!("two messages and the end") };
    assert_eq!((&error[3], &error[4]["code"]), (&json!("error"), &json!("frame_too_large")));
    assert!(error[4]["message"].as_str().unwrap().contains(&limits::FRAME_BYTES.to_string()));
    assert_eq!((&close[3], &close[4]["code"]), (&json!("close"), &json!(1009)));
}

/// JSON by its grammar, and no value: half a surrogate, a number beyond a double, lists in lists.
#[test]
fn a_join_whose_parameters_cannot_be_read_is_refused_and_the_next_one_is_not() {
    let fixture = fixture();
    let mut client = fixture.connect();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));

    for (number, odd) in [r#""\ud83d""#, "1e999", &deep].into_iter().enumerate() {
        let join =
            format!(r#"["{number}","{number}","room:1","phx_join",{{"since":null,"odd":{odd}}}]"#);
        let length = u32::try_from(join.len()).unwrap().to_be_bytes();
        client.stream.write_all(&[&length[..], join.as_bytes()].concat()).unwrap();

        let [.., event, payload] = client.next().unwrap();
        assert_eq!((&event, &payload["status"]), (&json!("phx_reply"), &json!("error")));
        assert_eq!(payload["response"]["reason"], "bad_json", "{payload}");
    }
    client.join("room:1");
}

#[test]
fn a_flood_is_taken_in_turns_and_others_are_served() {
    let fixture = fixture();
    let mut flood = fixture.join("room:flood");
    let mut other = fixture.join("room:other");
    let push = frame(&json!(["1", "9", "room:flood", "a", {"filling": "x".repeat(900)}]));
    let many = push.repeat(64);

    // Nothing is read: answers pile up until the server stops reading, and then writes block.
    flood.stream.set_nonblocking(true).unwrap();
    let (mut blocked, mut at) = (0, 0);
    while blocked < 50 {
        match flood.stream.write(&many[at..]) {
            Ok(written) => (blocked, at) = (0, (at + written) % many.len()),
            Err(_) => {
                blocked += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }

    other.send(&json!([null, "1", "phoenix", "heartbeat", {}]));
    assert_eq!(other.next().unwrap()[4]["status"], "ok");
    // What one read brings is answered before the next look at the limit.
    let most = limits::OUTBOX_BYTES + 2 * limits::BATCH_BYTES + limits::READ_BYTES;
    let waiting = fixture.waiting_bytes();
    assert!(waiting > 0, "the flood is not answered into the void");
    assert!(waiting <= most, "{waiting} bytes wait, more than {most}");
}

#[test]
fn connections_that_come_and_are_reset_leave_nothing_behind() {
    const CONNECTIONS: usize = 300;
    let fixture = fixture();
    let mut witness = fixture.join("room:1");
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = files();

    for round in 0..3 {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let topic = if number % 2 == 0 { "room:1" } else { TABLE_TOPIC };
                fixture.join(topic)
            })
            .collect();
        assert_eq!(fixture.connections(), CONNECTIONS + 1);
        for client in &clients {
            SockRef::from(&client.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
        drop(clients);
        fixture.publish(round, "");
        assert_eq!(witness.next().unwrap()[4]["n"], round);
        eventually("all are gone", || fixture.connections() == 1);
    }

    eventually("all descriptors are given back", || files() <= before);
    assert_eq!(fixture.topics_joined(), 1);
    assert_eq!(fixture.count(|counts| counts.tcp), 1);
    assert_eq!(fixture.count(|counts| counts.accepted), 3 * CONNECTIONS as u64 + 1);
}
