//! A bug that makes a shard panic costs connections, not the server.

use std::io::{Read, Write};
use std::net::TcpStream;

use instep_edge::DoorOptions;
use instep_model::ring::RingLimits;
use serde_json::json;

use crate::fixture::{Fixture, LIVENESS, eventually};

/// A text in one frame, under a mask of zeros.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// A WebSocket whose handshake is done.
fn websocket(fixture: &Fixture, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(fixture.http()).unwrap();
    stream.set_read_timeout(Some(LIVENESS)).unwrap();
    let ask = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

#[test]
fn law_3_when_a_shard_panics_its_clients_are_told_to_come_back_and_it_begins_again() {
    let fixture =
        Fixture::open(RingLimits::default(), DoorOptions { shards: 2, ..DoorOptions::default() });
    let mut plain: Vec<_> = (0..10).map(|_| fixture.join("room:1")).collect();
    let mut channels: Vec<_> = (0..10).map(|_| websocket(&fixture, "/channels")).collect();
    let mut bug = websocket(&fixture, "/panics");
    eventually("all are there", || fixture.connections() == 21);

    bug.write_all(&text("now")).unwrap();
    eventually("the shard has panicked", || fixture.count(|counts| counts.panics) == 1);
    let left = fixture.connections();
    assert!((8..=13).contains(&left), "one shard of two: {left} of 21 stay");
    fixture.publish(7, "");

    // Each of them hears on, or is told to come back.
    let mut lost = 0;
    for client in &mut plain {
        let [_, _, _, event, payload] = client.next().unwrap();
        if event == "close" {
            assert_eq!(payload["code"], 1012);
            assert!(client.next().is_none());
            lost += 1;
        } else {
            assert_eq!((event, &payload["n"]), (json!("tick"), &json!(7)));
        }
    }
    for stream in &mut channels {
        stream.write_all(&text(r#"[null,"1","phoenix","heartbeat",{}]"#)).unwrap_or_default();
        let mut head = [0; 4];
        stream.read_exact(&mut head).unwrap();
        match head[0] {
            0x88 => {
                assert_eq!(u16::from_be_bytes([head[2], head[3]]), 1012);
                lost += 1;
            }
            first => assert_eq!(first, 0x81),
        }
    }
    // The one with the bug is the last of them.
    assert_eq!(lost + 1, 21 - left);
    let gauges = || fixture.count(|counts| counts.tcp + counts.websocket);
    assert_eq!(gauges(), left as u64);

    drop((plain, channels, bug));
    eventually("no connection is left", || fixture.connections() == 0 && gauges() == 0);
    let mut again: Vec<_> = (0..10).map(|_| fixture.join("room:1")).collect();
    fixture.publish(8, "");
    for client in &mut again {
        assert_eq!(client.next().unwrap()[4]["n"], 8);
    }
}
