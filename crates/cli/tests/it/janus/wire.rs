//! Bytes on the wire, one by one.

use std::collections::HashSet;
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Client, Fixture, TAG, publication, request};
use crate::running::{binary, instep, stderr, text};

/// JAN-01: the port stands in the configuration or on the command line; 8081 if only the door is
/// enabled. If the port is taken, the reason names it (JAN-02).
#[test]
fn jan_01_the_port_is_chosen_or_8081() {
    let directory = tempfile::tempdir().unwrap();
    let configured = Fixture::open(directory.path(), "");
    configured.client().greeting();

    for (option, address) in [("--janus=127.0.0.1:0", None), ("--janus", Some("127.0.0.1:8081"))] {
        let data = tempfile::tempdir().unwrap();
        let arguments = ["serve", "--http=127.0.0.1:0", option, "--data", text(data.path())];
        let mut child = binary()
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let announced = std::io::BufRead::lines(stdout)
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening janus://").map(str::to_owned));
        match (&announced, address) {
            (Some(announced), address) => {
                assert!(address.is_none_or(|address| announced == address), "{announced}");
                Client::connect(announced).greeting();
                child.kill().unwrap();
                child.wait().unwrap();
            }
            (None, Some(address)) => {
                let told = stderr(&child.wait_with_output().unwrap());
                assert!(told.contains(&format!("cannot listen on {address}")), "{told}");
            }
            (None, None) => panic!("{}", stderr(&child.wait_with_output().unwrap())),
        }
    }
}

#[test]
fn jan_02_a_port_in_use_fails_the_start_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let door = format!("--janus={address}");

    let data = text(directory.path());
    let output = instep(&["serve", "--http=127.0.0.1:0", &door, "--data", data]);

    assert!(!output.status.success());
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

/// JAN-09, and that the door is not open to other machines unless the configuration says so.
#[test]
fn jan_09_the_server_speaks_first_with_time_and_token() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let before = since_1970();

    let greeting = house.client().frame();

    let after = since_1970();
    let read: Value = serde_json::from_str(&greeting).unwrap();
    let time: Vec<u128> = serde_json::from_value(read["timestamp"].clone()).unwrap();
    let token = read["token"].as_str().unwrap();
    let [mega, seconds, micros] = time[..] else { panic!("{greeting}") };
    let time = (mega * 1_000_000 + seconds) * 1_000_000 + micros;
    assert!((before..=after).contains(&time), "{before} <= {time} <= {after}");
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let exact = format!("{{\"timestamp\":[{mega},{seconds},{micros}],\"token\":\"{token}\"}}");
    assert_eq!(greeting, exact);
}

#[test]
fn jan_10_tokens_are_unique_and_go_with_their_session() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "janus_detached_ms = 200");
    let mut tokens = HashSet::new();
    for _ in 0..20_000 {
        let mut client = house.client();
        assert!(tokens.insert(client.greeting()), "a token came twice");
        client.reset();
    }
    let find = |token: &str| {
        let mut other = house.client();
        other.greeting();
        other.asks("attach", token);
        (other.frame(), other)
    };

    let mut open = house.client();
    let token = open.greeting();
    open.asks("subscribe", "room:a");
    assert_eq!(open.frame(), "ACK");
    let (found, mut holder) = find(&token);
    assert_eq!(found, "ACK", "the session of an open connection is found");
    house.publish("room:a", "e", &json!(1));
    assert_eq!(holder.data(), json!(1));
    holder.reset();
    super::eventually("no subscriber is left", || house.subscribers("room:a") == 0);

    let (gone, _) = find(&token);
    assert!(gone.contains("\"expired\""), "{gone}");
    let unknown = tokens.iter().next().unwrap();
    assert!(find(unknown).0.contains("\"expired\""));
}

/// JAN-11: many frames in one write, and byte by byte.
#[test]
fn jan_11_frames_come_in_pieces_and_in_heaps() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let frames = ["room:a", "room:b", "room:c"].map(|topic| request("subscribe", topic)).concat();
    let frames = [&frames[..], &request("unsubscribe", "room:b")].concat();

    let mut heap = house.client();
    heap.sends(&frames);
    heap.greeting();
    let mut pieces = house.client();
    for byte in &frames {
        pieces.sends(&[*byte]);
    }
    pieces.greeting();

    for client in [&mut heap, &mut pieces] {
        let answers: Vec<_> = (0..4).map(|_| client.frame()).collect();
        assert_eq!(answers, ["ACK"; 4]);
    }
    for topic in ["room:a", "room:b", "room:c"] {
        house.publish(topic, "e", &json!(topic));
    }
    for client in [&mut heap, &mut pieces] {
        assert_eq!([client.data(), client.data()], [json!("room:a"), json!("room:c")]);
    }
}

/// JAN-R3: a message that is split over two packets, at each byte.
#[test]
fn jan_r3_a_frame_that_is_split_anywhere_is_one_frame() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut subscriber = house.subscriber(&["room:a"]);
    let subscribe = request("subscribe", "room:b");
    let message = publication("room:a", "e", &json!("}\"\\{"), None);

    for cut in 1..subscribe.len() {
        let mut client = house.client();
        client.greeting();
        client.sends(&subscribe[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        client.sends(&subscribe[cut..]);
        assert_eq!(client.frame(), "ACK", "cut at {cut}");
    }
    // The zero byte at the end may be missing, and is after the last brace.
    for cut in 1..message.len() - 1 {
        let mut client = house.client();
        client.greeting();
        client.sends(&message[..cut]);
        std::thread::sleep(Duration::from_millis(1));
        client.sends(&message[cut..message.len() - 1]);
        assert_eq!(client.rest(), Vec::<String>::new(), "cut at {cut}");
        assert_eq!(subscriber.data(), json!("}\"\\{"), "cut at {cut}");
    }
}

/// JAN-R4: the keys of a message come in any order.
#[test]
fn jan_r4_keys_come_in_any_order() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut subscriber = house.subscriber(&["room:a"]);
    let keys = ["\"topic\":\"room:a\"", "\"event\":\"e\"", "\"message_id\":7", "\"data\":[1]"];

    for order in orders(&keys) {
        let mut client = house.client();
        client.greeting();
        client.sends(format!("{TAG}PUBLISH\0{{{}}}\0", order.join(",")).as_bytes());
        assert_eq!(client.rest(), Vec::<String>::new(), "{order:?}");
        let message = subscriber.frame();
        let rest = "\"topic\":\"room:a\",\"event\":\"e\",\"message_id\":7,\"data\":[1]}";
        assert!(message.ends_with(rest), "{order:?}: {message}");
    }
}

fn orders<'a>(keys: &[&'a str]) -> Vec<Vec<&'a str>> {
    if keys.is_empty() {
        return vec![vec![]];
    }
    let with = |at: usize| {
        let rest = [&keys[..at], &keys[at + 1..]].concat();
        orders(&rest).into_iter().map(move |order| [vec![keys[at]], order].concat())
    };
    (0..keys.len()).flat_map(with).collect()
}

/// JAN-R5: bad input is told before the connection is closed.
#[test]
fn jan_r5_bad_input_is_told_and_closes_its_own_connection_alone() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut other = house.subscriber(&["room:a"]);
    let cases: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\n\r\n", "no_tag"),
        (b"\x80\x01", "no_tag"),
        (b"<regular-socket/>\0{\"action\":\0", "bad_json"),
        (b"<regular-socket/>\0\xff\xfe\0", "bad_utf8"),
        (b"<regular-socket/>\0PUBLISH\0{\"topic\":1}\0", "bad_frame"),
        (b"<regular-socket/>\0PUBLISH\0nonsense\0", "bad_json"),
    ];

    for (bytes, code) in cases {
        let mut client = house.client();
        client.greeting();
        client.sends(bytes);
        assert_eq!(client.error(), *code);
        assert_eq!(client.rest(), Vec::<String>::new(), "{code}");
    }
    let mut large = house.client();
    large.greeting();
    large.sends(TAG.as_bytes());
    large.sends(&vec![b'x'; 1024 * 1024 + 1]);
    assert_eq!(large.error(), "frame_too_large");

    house.publish("room:a", "e", &json!("still here"));
    assert_eq!(other.data(), json!("still here"));
}
