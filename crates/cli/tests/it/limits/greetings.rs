//! Greetings of presence: the list is told in pieces, as the joiner takes it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, Limited};
use crate::running::PATIENCE;

/// So many are there, and so much is said of each.
const CROWD: usize = 300;
const META: usize = 3_900;

fn limited() -> Limited {
    Limited::start("[[live]]\ntopic = 'who:*'\npresence = 'list'")
}

impl Limited {
    fn join_as(&self, key: &str, meta: Value) -> (Client, String, Value) {
        let mut client = self.connect();
        let params = json!({"presence": {"key": key, "meta": meta}});
        let join = ["1".into(), "1".into(), "who:1".into(), "phx_join".into(), params];
        let (status, told) = client.ask(join);
        (client, status, told)
    }

    fn crowd(&self) -> Vec<Client> {
        let filling = "x".repeat(META);
        let all = (0..CROWD).map(|number| {
            let (client, status, told) =
                self.join_as(&format!("k{number}"), json!({"filling": filling}));
            assert_eq!(status, "ok", "{told}");
            client
        });
        all.collect()
    }
}

/// The keys that an event of presence shows.
fn keys(event: &str, payload: &Value) -> BTreeSet<String> {
    let shown = match event {
        "presence_state" => payload,
        "presence_diff" => &payload["joins"],
        _ => return BTreeSet::new(),
    };
    shown.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn presences_are_told_in_pieces_at_every_door() {
    let limited = limited();
    let _crowd = limited.crowd();
    let most = 70_000;

    let (mut joiner, ..) = limited.join_as("joiner", json!({}));
    let (mut seen, mut pieces) = (BTreeSet::new(), 0);
    while seen.len() <= CROWD {
        let heard = joiner.next().expect("the rest of the presences");
        assert!(heard.to_string().len() < most);
        seen.extend(keys(heard[3].as_str().unwrap(), &heard[4]));
        pieces += 1;
    }
    assert!(pieces > 10, "{pieces}");

    let mut stream = TcpStream::connect(limited.server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "GET /v1/topics/who:1/events HTTP/1.1\r\nHost: x\r\n\
                Accept: application/x-ndjson\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut seen = BTreeSet::new();
    while seen.len() <= CROWD {
        let line = lines.next().unwrap();
        assert!(line.len() < most);
        let Ok(told) = serde_json::from_str::<Value>(&line) else { continue };
        seen.extend(told["event"].as_str().map_or(BTreeSet::new(), |e| keys(e, &told["payload"])));
    }

    let (_, opened) = limited.server.request("GET", "/socket/longpoll?vsn=2.0.0");
    let opened: Value = serde_json::from_str(&opened).unwrap();
    let path = format!("/socket/longpoll?vsn=2.0.0&token={}", opened["token"].as_str().unwrap());
    let join = json!(["1", "1", "who:1", "phx_join", {}]).to_string();
    let head = "content-type: application/x-ndjson\r\n";
    assert_eq!(limited.server.post(&path, head, &join).0, 200);
    let mut seen = BTreeSet::new();
    while seen.len() <= CROWD {
        let (_, polled) = limited.server.request("GET", &path);
        let polled: Value = serde_json::from_str(&polled).unwrap();
        for message in polled["messages"].as_array().unwrap() {
            let message = message.as_str().unwrap();
            assert!(message.len() < most);
            let message: Value = serde_json::from_str(message).unwrap();
            seen.extend(keys(message[3].as_str().unwrap(), &message[4]));
        }
    }
}

#[test]
fn joiners_that_read_nothing_have_no_copy_of_the_crowd_of_their_own() {
    let limited = limited();
    let _crowd = limited.crowd();
    let before = limited.server.resident_kib();

    let watch = json!(["1", "1", "who:1", "phx_join", {}]);
    let held: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = limited.connect();
            client.send(&watch);
            client
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));

    // One greeting in full would be more than a megabyte for each of them.
    let more = limited.server.resident_kib().saturating_sub(before);
    assert!(more < 60_000, "{} joiners take {more} KiB", held.len());
}

#[test]
fn the_65th_under_one_key_is_told_which_limit_that_is_and_may_watch() {
    let limited = limited();
    let _all: Vec<Client> = (0..64)
        .map(|_| {
            let (client, status, told) = limited.join_as("ann", json!({}));
            assert_eq!(status, "ok", "{told}");
            client
        })
        .collect();

    let (mut one_more, status, told) = limited.join_as("ann", json!({}));
    assert_eq!((status.as_str(), &told["reason"]), ("error", &json!("bad_presence")));
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains("\"ann\" is there 64 times, the limit"), "{detail}");
    let watch = json!({"key": "ann", "presence": false});
    let join = ["2".into(), "2".into(), "who:1".into(), "phx_join".into(), watch];
    assert_eq!(one_more.ask(join).0, "ok");
    let (status, told) = limited.server.request("GET", "/v1/topics/who:1/events?key=ann");
    assert!(status == 400 && told.contains("bad_presence") && told.contains("64 times"), "{told}");
}
