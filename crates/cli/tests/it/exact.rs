//! Exactness of values at every door: one table of values, and whatever takes one.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use instep_client::{ChannelEvent, Channels};
use serde_json::{Value, json};

use crate::running::{PATIENCE, Server, free_address};

/// Value that comes back, or the code of the refusal.
type Told = Result<Value, String>;

/// Values that come back as they were sent.
const EXACT: [&str; 10] = [
    "null",
    "18446744073709551615",
    "-9223372036854775808",
    "9007199254740993",
    "0.9215686321258545",
    "5e-324",
    "100000000000000000000",
    r#""\ud83d\ude00""#,
    r#"{"a":{"b":1},"b":[{"a":""}]}"#,
    DEEPEST,
];

/// Values that would come back as something else, or that some readers could not parse.
const INEXACT: [&str; 7] = [
    "1e999",
    "18446744073709551616",
    "-9223372036854775809",
    r#""\ud83d""#,
    r#"{"\ude00":1}"#,
    r#"{"a":1,"b":2,"a":1}"#,
    r#"[{"a":1,"\u0061":2}]"#,
];

/// As deep as something may be that stands in an object.
const DEEPEST: &str = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]";

const CONFIG: &str = "
[[table]]
dataset = 'd'
name = 't'
public = true

[[mail]]
dataset = 'm'

[[live]]
topic = 'room:*'
anyone_publishes = true
history = 4
presence = 'list'
";

struct Fixture {
    server: Server,
    tcp: SocketAddr,
    janus: SocketAddr,
    rooms: Cell<u32>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (tcp, janus) = (free_address(), free_address());
        let config = format!("tcp = '{tcp}'\njanus = '{janus}'\n{CONFIG}");
        let server = Server::serve_with(directory.path(), &config);
        let routes = r#"{"endpoint":"org/1","to":"7"}"#;
        assert_eq!(server.post("/v1/datasets/m/moves", "", routes).0, 200);
        let row = r#"{"ops":[{"op":"put","table":"t","key":"k","row":{"v":1}}]}"#;
        assert_eq!(server.post("/v1/datasets/d/commits", "", row).0, 200);
        Self { server, tcp, janus, rooms: Cell::new(0), _directory: directory }
    }

    fn post(&self, path: &str, body: &str) -> Told {
        let (status, answer) = self.server.post(path, "", body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        match status {
            200 | 201 => Ok(answer),
            _ => Err(answer["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()),
        }
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.server.request("GET", path);
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn commit(&self, operation: &str) -> Told {
        self.post("/v1/datasets/d/commits", &format!(r#"{{"ops":[{operation}]}}"#))?;
        Ok(self.get("/v1/datasets/d/tables/t/rows/k")["row"]["v"].clone())
    }

    fn message(&self, sent: &Value) -> Value {
        let seq = &sent["messages"][0]["seq"];
        self.get(&format!("/v1/datasets/m/queues/mail/messages/{seq}"))["body"].clone()
    }

    /// A join of `topic` over TCP, which is answered.
    fn join(&self, topic: &str, params: &str) -> Result<Talker, String> {
        let mut talker = Talker::connect(self.tcp);
        talker.say(format!(r#"["1","1","{topic}","phx_join",{params}]"#).as_bytes());
        talker.answer("1")?;
        Ok(talker)
    }

    fn new_room(&self) -> String {
        self.rooms.set(self.rooms.get() + 1);
        format!("room:new-{}", self.rooms.get())
    }

    /// Value that the key `ann` states about itself in the presence of a topic.
    fn present(&self, topic: &str) -> Value {
        let told = self.get(&format!("/v1/topics/{topic}/presence"));
        told["present"]["ann"]["metas"][0]["v"].clone()
    }
}

/// A client of plain TCP.
struct Talker(TcpStream);

impl Talker {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn say(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], frame].concat()).unwrap();
    }

    fn next(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        // Bytes are nothing that is looked at here.
        serde_json::from_slice(&frame).unwrap_or_default()
    }

    fn answer(&mut self, reference: &str) -> Told {
        loop {
            let heard = self.next();
            if heard[1] == reference && heard[3] == "phx_reply" {
                let told = &heard[4];
                let response = told["response"].clone();
                return match told["status"].as_str().unwrap() {
                    "ok" => Ok(response),
                    _ => Err(response["reason"].as_str().unwrap().to_owned()),
                };
            }
        }
    }

    fn hear(&mut self, event: &str) -> Value {
        loop {
            let heard = self.next();
            if heard[3] == event {
                return heard[4].clone();
            }
        }
    }
}

fn bodies(house: &Fixture, value: &str) -> Vec<(&'static str, Told)> {
    let letter = format!(r#"{{"to":"org/1","body":{{"v":{value}}}}}"#);
    let sent = |sent: Value| house.message(&sent)["v"].clone();
    let over_http = house.post("/v1/datasets/m/queues/mail/messages", &letter).map(sent);
    let channels = || {
        let key = std::fs::read_to_string(house.server.data.join("admin.key")).unwrap();
        let params = format!(r#"{{"access_token":"{}"}}"#, key.trim());
        let mut talker = house.join("mail:m/mail", &params)?;
        talker.say(format!(r#"["1","2","mail:m/mail","send",{letter}]"#).as_bytes());
        talker.answer("2").map(sent)
    };
    let operation = format!(
        r#"{{"ops":[{{"op":"send","queue":"mail","to":"org/1","body":{{"v":{value}}}}}]}}"#
    );
    let by_commit = house
        .post("/v1/datasets/m/commits", &operation)
        .map(|committed| sent(json!({"messages": [{"seq": committed["results"][0]}]})));
    vec![("message", over_http), ("send", channels()), ("ops send", by_commit)]
}

fn rows(house: &Fixture, value: &str) -> Vec<(&'static str, Told)> {
    let put = format!(r#"{{"op":"put","table":"t","key":"k","row":{{"v":{value}}}}}"#);
    let patch = format!(r#"{{"op":"patch","table":"t","key":"k","fields":{{"v":{value}}}}}"#);
    let equals =
        format!(r#"{{"op":"require","table":"t","key":"k","equals":{{"v":{value}}}}},{put}"#);
    vec![
        ("put", house.commit(&put)),
        ("patch", house.commit(&patch)),
        ("equals", house.commit(&equals)),
    ]
}

fn publications(house: &Fixture, value: &str) -> Vec<(&'static str, Told)> {
    let payload = format!(r#"{{"v":{value}}}"#);
    let mut reader = house.join("room:1", "{}").unwrap();
    let mut heard = |told: Told| told.map(|_| reader.hear("said")["v"].clone());
    let mut talker = house.join("room:1", "{}").unwrap();
    let one = format!(r#"{{"event":"said","payload":{payload}}}"#);
    let one = heard(house.post("/v1/topics/room:1", &one));
    let many =
        format!(r#"{{"messages":[{{"topic":"room:1","event":"said","payload":{payload}}}]}}"#);
    let many = heard(house.post("/v1/topics", &many));
    talker.say(format!(r#"["1","2","room:1","said",{payload}]"#).as_bytes());
    let pushed = heard(talker.answer("2"));
    let polled = heard(poll(house, &payload));
    // As Supabase's clients send it.
    let head: [&[u8]; 2] = [b"\x03\x01\x01\x06\x04\x00\x01", b"13room:1said"];
    talker.say(&[&head.concat(), value.as_bytes()].concat());
    let named = talker.answer("3").map(|_| reader.hear("broadcast")["payload"].clone());
    let janus = heard_by_janus(house, value);
    vec![
        ("publish", one),
        ("publish many", many),
        ("push", pushed),
        ("long-poll", polled),
        ("kind 3", named),
        ("janus", janus),
    ]
}

/// Joins and pushes over long-poll.
fn poll(house: &Fixture, payload: &str) -> Told {
    let (_, opened) = house.server.request("GET", "/socket/longpoll?vsn=2.0.0");
    let opened: Value = serde_json::from_str(&opened).unwrap();
    let path = format!("/socket/longpoll?vsn=2.0.0&token={}", opened["token"].as_str().unwrap());
    let frames = format!(
        "[\"1\",\"1\",\"room:1\",\"phx_join\",{{}}]\n[\"1\",\"2\",\"room:1\",\"said\",{payload}]"
    );
    let head = "content-type: application/x-ndjson\r\n";
    assert_eq!(house.server.post(&path, head, &frames).0, 200);
    loop {
        let (_, polled) = house.server.request("GET", &path);
        let polled: Value = serde_json::from_str(&polled).unwrap();
        for message in polled["messages"].as_array().unwrap() {
            let message: Value = serde_json::from_str(message.as_str().unwrap()).unwrap();
            if message[1] == "2" {
                return match message[4]["status"].as_str().unwrap() {
                    "ok" => Ok(Value::Null),
                    _ => Err(message[4]["response"]["reason"].as_str().unwrap().to_owned()),
                };
            }
        }
    }
}

fn heard_by_janus(house: &Fixture, value: &str) -> Told {
    let mut reader = house.join("room:1", "{}").unwrap();
    let mut publisher = TcpStream::connect(house.janus).unwrap();
    publisher.set_read_timeout(Some(PATIENCE)).unwrap();
    let message = format!(r#"{{"topic":"room:1","event":"said","message_id":1,"data":{value}}}"#);
    let frame = format!("<regular-socket/>\0PUBLISH\0{message}\0");
    publisher.write_all(frame.as_bytes()).unwrap();
    let mut told = String::new();
    publisher.read_to_string(&mut told).unwrap();
    match told.split('\x01').find(|frame| frame.contains("\"error\"")) {
        None => Ok(reader.hear("said")["data"].clone()),
        Some(error) => {
            let error: Value = serde_json::from_str(error).unwrap();
            Err(error["error"]["code"].as_str().unwrap().to_owned())
        }
    }
}

fn presences(house: &Fixture, value: &str) -> Vec<(&'static str, Told)> {
    let meta = format!(r#"{{"presence":{{"key":"ann","meta":{{"v":{value}}}}}}}"#);
    let (one, two) = (house.new_room(), house.new_room());
    let joined = house.join(&one, &meta).map(|_talker| house.present(&one));
    let tracked = || {
        let mut talker = house.join(&two, r#"{"key":"ann"}"#)?;
        let track = format!(r#"{{"event":"track","payload":{{"v":{value}}}}}"#);
        talker.say(format!(r#"["1","2","{two}","presence",{track}]"#).as_bytes());
        talker.answer("2").map(|_| house.present(&two))
    };
    vec![("meta of a join", joined), ("track", tracked())]
}

fn commands(house: &Fixture, value: &str) -> Vec<(&'static str, Told)> {
    let payload = format!(r#"{{"v":{value}}}"#);
    let operation = format!(r#"{{"op":"put","table":"t","key":"k","row":{payload}}}"#);
    let run = |arguments: &[&str]| {
        let output = house.server.instep(&[arguments, &["--json"]].concat());
        if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
        } else {
            Err("refused".to_owned())
        }
    };
    let row = || house.get("/v1/datasets/d/tables/t/rows/k")["row"]["v"].clone();
    let mut reader = house.join("room:1", "{}").unwrap();
    vec![
        ("instep commit", run(&["commit", "d", &operation]).map(|_| row())),
        ("instep table put", run(&["table", "put", "d", "t", "k", &payload]).map(|_| row())),
        (
            "instep publish",
            run(&["publish", "room:1", "said", &payload]).map(|_| reader.hear("said")["v"].clone()),
        ),
        (
            "instep mail send",
            run(&["mail", "send", "org/1", &payload, "--dataset", "m"])
                .map(|sent| house.message(&json!({"messages": [sent]}))["v"].clone()),
        ),
    ]
}

fn every_door(house: &Fixture, value: &str) -> Vec<(&'static str, Told)> {
    [rows, bodies, publications, presences, commands]
        .iter()
        .flat_map(|go| go(house, value))
        .collect()
}

#[test]
fn a_value_is_exact_or_refused_at_every_door_and_the_same_way() {
    let house = Fixture::open();

    for value in EXACT {
        let sent: Value = serde_json::from_str(value).unwrap();
        for (door, told) in every_door(&house, value) {
            assert_eq!(told, Ok(sent.clone()), "{door}: {value}");
        }
    }
    for value in INEXACT {
        for (door, told) in every_door(&house, value) {
            let code = if door.starts_with("instep") { "refused" } else { "bad_json" };
            assert_eq!(told, Err(code.to_owned()), "{door}: {value}");
        }
    }
    let deeper = format!("[{DEEPEST}]");
    for (door, told) in every_door(&house, &deeper) {
        let code = match door {
            "put" | "patch" => "row_too_deep",
            // No row can be as deep, which is no error of a condition.
            "equals" => continue,
            door if door.starts_with("instep") => "refused",
            _ => "bad_json",
        };
        assert_eq!(told, Err(code.to_owned()), "{door}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_a_rust_client_cannot_show_as_json_are_told_and_counted() {
    let house = Fixture::open();
    let channels = Channels::connect(&house.server.url).await.unwrap();
    let (_, mut room) = channels.join("room:1", json!({"presence": false})).await.unwrap();
    let mut talker = house.join("room:1", r#"{"presence":false}"#).unwrap();

    talker.say(b"\x00\x01\x01\x06\x0412room:1said\xff\x00");
    talker.answer("2").unwrap();
    talker.say(br#"["1","3","room:1","said",{}]"#);
    talker.answer("3").unwrap();

    let mut next = async || loop {
        let next = tokio::time::timeout(PATIENCE, room.next()).await.unwrap().unwrap();
        if !matches!(&next, ChannelEvent::Event { event, .. } if event.starts_with("presence")) {
            break next;
        }
    };
    let bytes = ChannelEvent::Bytes { event: "said".into(), bytes: vec![0xff, 0] };
    assert_eq!(next().await, bytes);
    assert_eq!(next().await, ChannelEvent::Event { event: "said".into(), payload: json!({}) });
}
