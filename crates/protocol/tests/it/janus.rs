//! The Janus wire: its bytes as written down in `tests/golden`, and what holds for every stream.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use instep_model::limits;
use instep_protocol::encode::{Body, Frame as Encoded};
use instep_protocol::janus::codec::{
    Decoder, Frame, SERVER_END, encode_error, encode_greeting, encode_message, encode_publish,
    encode_request,
};
use instep_protocol::janus::request::{Action, read_publish, read_request};
use instep_protocol::janus::session::{Effect, Event, JanusSession, Options};
use instep_protocol::janus::{Timestamp, Token};
use instep_protocol::session::{
    Channel, Effect as Shared, Ending, JoinOutcome, ReplyTo, SharedEvent,
};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::Deserialize;

// JAN-11, JAN-R3, JAN-R4, JAN-U1, JAN-U2: the streams are what clients of old send.
#[test]
fn jan_11_every_stream_of_a_client_reads_as_written_down_wherever_it_is_split() {
    for Stream { name, stream, frames } in golden().streams {
        let stream = stream.as_bytes();
        assert_eq!(meaning([stream]), frames, "{name}");
        for at in 0..stream.len() {
            let (before, after) = stream.split_at(at);
            assert_eq!(meaning([before, after]), frames, "{name}, split at {at}");
        }
    }
}

#[test]
fn jan_09_every_frame_of_the_server_is_as_written_down() {
    for wanted in golden().encoded {
        let at = Timestamp(wanted.micros);
        let topic = wanted.topic.as_deref();
        let bytes = match (&wanted.token, &wanted.code, &wanted.payload) {
            (Some(token), ..) => encode_greeting(at, Token::parse(token).unwrap()),
            (None, Some(code), _) => encode_error(at, code, &wanted.message, topic),
            (None, None, payload) => {
                let payload = payload.as_ref().unwrap().as_bytes();
                encode_message(at, topic.unwrap(), &wanted.event, payload)
            }
        };
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), wanted.bytes, "{}", wanted.name);
    }
}

proptest! {
    #[test]
    fn jan_r3_any_stream_reads_the_same_wherever_it_is_split(
        parts in prop::collection::vec(part(), 0..12),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let stream = parts.concat();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();

        let pieces = at.windows(2).map(|ends| &stream[ends[0]..ends[1]]);
        let whole = meaning([&stream[..]]);
        prop_assert_eq!(meaning(pieces), whole.clone());
        prop_assert_eq!(meaning(stream.chunks(1)), whole);
    }

    #[test]
    fn jan_11_published_data_arrives_unchanged(
        topic in "\\PC{1,20}", event in "[a-o]\\PC{0,20}", text in "\\PC*",
    ) {
        let id = serde_json::to_vec(&text).unwrap();
        let data = serde_json::to_vec(&serde_json::json!({ &text: [text, null] })).unwrap();
        let sent = encode_publish(&topic, &event, &id, &data);

        let mut input = &sent[..];
        let frame = Decoder::default().decode(&mut input).unwrap().unwrap();
        let Frame::Publish(bytes) = frame else { panic!("{frame:?}") };
        let publish = read_publish(&bytes).unwrap();
        prop_assert_eq!((&*publish.topic, &*publish.event), (&*topic, &*event));
        let out = encode_message(Timestamp(0), &topic, &event, &publish.payload);
        let (end, json) = out.split_last().unwrap();
        prop_assert_eq!(*end, SERVER_END);
        prop_assert!(!json.contains(&SERVER_END));
        let read: serde_json::Value = serde_json::from_slice(json).unwrap();
        prop_assert_eq!(serde_json::to_vec(&read["data"]).unwrap(), data);
        prop_assert_eq!(serde_json::to_vec(&read["message_id"]).unwrap(), id);
    }

    #[test]
    fn every_order_of_events_keeps_the_promises(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
    }
}

/// Parts of streams, whole and broken.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just(r#"{"action":"subscribe","data":"a"}"#),
        Just(r#"{"action":"sing"}"#),
        Just(r#"{"topic":"t","event":"e","message_id":"","data":{"}":"\"{"}}"#),
        Just("[}{"),
        Just(""),
    ];
    prop_oneof![
        6 => Just(b"<regular-socket/>\0".to_vec()),
        2 => Just(b"PUBLISH\0".to_vec()),
        1 => Just(b"PONG\0".to_vec()),
        1 => Just(b"\0".to_vec()),
        4 => json.clone().prop_map(|json| json.as_bytes().to_vec()),
        4 => json.prop_map(|json| [json.as_bytes(), b"\0"].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

/// Decodes a stream that comes in these pieces.
fn meaning<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut meaning = Vec::new();
    for mut piece in pieces {
        while let Some(frame) = decoder.decode(&mut piece) {
            meaning.push(frame.map_or_else(|error| error.code().to_owned(), |frame| told(&frame)));
        }
    }
    meaning
}

fn told(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Ping => "ping".to_owned(),
        Frame::Pong => "pong".to_owned(),
        Frame::Request(bytes) => match read_request(bytes) {
            Ok(request) => {
                let action = match request.action {
                    Action::Subscribe(topic) => format!("subscribe {topic}"),
                    Action::Unsubscribe(topic) => format!("unsubscribe {topic}"),
                    Action::Attach(token) => format!("attach {token}"),
                };
                action + &request.key.map(|key| format!(" key {key}")).unwrap_or_default()
            }
            Err(rejected) => rejected.code().to_owned(),
        },
        Frame::Publish(bytes) => match read_publish(bytes) {
            Ok(publish) => {
                let payload = String::from_utf8_lossy(&publish.payload);
                format!("publish {} {} {payload}", publish.topic, publish.event)
            }
            Err(rejected) => rejected.code().to_owned(),
        },
    }
}

/// Something that the client, a topic, the network or the time does.
#[derive(Debug, Clone)]
enum Step {
    Subscribe(u8),
    Unsubscribe(u8),
    Publish,
    Attach,
    Pong,
    Nonsense,
    Decide(Index, bool),
    Push(Index),
    End(Index),
    Reply,
    Lost,
    Attached,
    AttachRefused,
    Wait(u64),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..5_u8).prop_map(Step::Subscribe),
        10 => (0..5_u8).prop_map(Step::Unsubscribe),
        1 => Just(Step::Publish),
        2 => Just(Step::Attach),
        10 => Just(Step::Pong),
        1 => Just(Step::Nonsense),
        20 => (any::<Index>(), prop::bool::weighted(0.8)).prop_map(|(at, ok)| Step::Decide(at, ok)),
        10 => any::<Index>().prop_map(Step::Push),
        4 => any::<Index>().prop_map(Step::End),
        2 => Just(Step::Reply),
        4 => Just(Step::Lost),
        6 => Just(Step::Attached),
        3 => Just(Step::AttachRefused),
        6 => (0..700_u64).prop_map(Step::Wait),
        1 => prop_oneof![5 => Just(Step::Pong), 1 => Just(Step::Drain)],
    ]
}

const TOPICS: usize = 3;

/// The client, the topics behind its session, and an observer of the effects.
struct World {
    session: JanusSession,
    now: u64,
    joins: Vec<Channel>,
    publish: Option<ReplyTo>,
    /// True when a topic is joined, false while it is joining; absent topics are not in it.
    topics: BTreeMap<String, bool>,
    /// Answers that are due, and answers that came: ACKs and errors.
    due: usize,
    answered: usize,
    publishing: bool,
    attaching: bool,
    is_over: bool,
}

impl World {
    fn new() -> Self {
        let options = Options {
            ping_ms: 1_000,
            detached_ms: 1_500,
            topics: TOPICS,
            unanswered: 6,
            malformed_in_a_row: 3,
        };
        let session = JanusSession::new(options, Token::new(1), Timestamp(0), 0);
        let mut world = Self {
            session,
            now: 0,
            joins: vec![],
            publish: None,
            topics: BTreeMap::new(),
            due: 0,
            answered: 0,
            publishing: false,
            attaching: false,
            is_over: false,
        };
        world.observe();
        world
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Subscribe(topic) => self.ask("subscribe", &format!("t{topic}")),
            Step::Unsubscribe(topic) => self.ask("unsubscribe", &format!("t{topic}")),
            Step::Attach => self.ask("attach", &Token::new(7).to_string()),
            Step::Publish => {
                self.due += usize::from(self.attaching && self.is_heard());
                self.say(&encode_publish("t", "e", b"1", b"2"));
            }
            Step::Pong => self.say(b"<regular-socket/>\0PONG\0"),
            Step::Nonsense => self.say(b"<regular-socket/>\0nonsense\0"),
            Step::Decide(which, is_accepted) => {
                let Some(channel) = pick(which, &self.joins) else { return };
                let response = Bytes::from_static(b"{}");
                let outcome = if *is_accepted {
                    JoinOutcome::Accepted { response }
                } else {
                    JoinOutcome::Refused { response }
                };
                self.handle(SharedEvent::JoinAnswered { channel, outcome });
            }
            Step::Push(which) => {
                let Some(channel) = pick(which, &self.joins) else { return };
                let payload = Body::Json("{}".into());
                self.handle(SharedEvent::Pushed { channel, event: "news", payload });
            }
            Step::End(which) => {
                let Some(channel) = pick(which, &self.joins) else { return };
                let is_known = self.session.channels().any(|known| *known == channel);
                let is_joined = self.session.is_joined(&channel);
                self.due += usize::from(is_known && is_joined);
                self.handle(SharedEvent::ChannelEnded { channel, how: Ending::Crashed });
            }
            Step::Reply => {
                let Some(reply_to) = self.publish.clone() else { return };
                let response = Body::Json("{}".into());
                self.handle(SharedEvent::Replied { reply_to, status: "ok", response });
                assert!(self.is_over, "a publish is the last deed");
            }
            Step::Lost => self.handle(SharedEvent::Lost),
            Step::Attached => {
                self.due += usize::from(self.session.is_detached());
                self.handle(Event::Attached);
            }
            Step::AttachRefused => {
                self.due += usize::from(std::mem::take(&mut self.attaching));
                self.handle(Event::AttachRefused);
            }
            Step::Wait(ms) => {
                self.now += ms;
                self.handle(SharedEvent::Tick);
            }
            Step::Drain => {
                self.handle(SharedEvent::Drain);
                assert!(self.is_over);
            }
        }
    }

    fn ask(&mut self, action: &str, subject: &str) {
        // An attach is answered later, when it is refused; one that is out of place, at once.
        let is_answered = action != "attach" || self.attaching || !self.topics.is_empty();
        self.due += usize::from(self.is_heard() && is_answered);
        self.say(&encode_request(action, subject));
    }

    fn is_heard(&self) -> bool {
        !self.is_over && !self.session.is_detached() && !self.publishing
    }

    fn say(&mut self, mut stream: &[u8]) {
        let mut decoder = Decoder::default();
        while let Some(frame) = decoder.decode(&mut stream) {
            self.handle(Event::Received(frame.unwrap()));
        }
    }

    fn handle<'a>(&mut self, event: impl Into<Event<'a>>) {
        self.session.handle(event, self.now);
        self.observe();
        assert!(self.session.channels().count() <= TOPICS);
        assert_eq!(self.session.next_deadline().is_none(), self.is_over);
        assert!(self.answered <= self.due, "one answer to each request");
        let waits = self.topics.values().any(|joined| !joined) || self.attaching;
        let owes = self.session.is_detached() || self.publishing;
        assert!(self.answered == self.due || waits || owes || self.is_over, "no answer is lost");
    }

    fn observe(&mut self) {
        while let Some(effect) = self.session.next_effect() {
            assert!(!self.is_over, "nothing follows the end");
            let effect = match effect {
                Effect::Shared(effect) => effect,
                Effect::Attach { .. } => {
                    assert!(self.topics.is_empty() && !self.attaching);
                    self.attaching = true;
                    continue;
                }
            };
            match effect {
                Shared::Join { channel, .. } => {
                    let before = self.topics.insert(channel.topic().to_string(), false);
                    assert_eq!(before, None, "left before it is joined again");
                    self.joins.push(channel);
                }
                Shared::Push { reply_to, .. } => {
                    self.publishing = true;
                    self.publish = reply_to;
                }
                Shared::Leave { channel } => {
                    let before = self.topics.remove(&channel.topic().to_string());
                    assert!(before.is_some(), "left once");
                }
                Shared::Send(frame) => self.observe_frame(&frame),
                Shared::Close { .. } => assert!(!self.session.is_detached()),
                Shared::Ended => {
                    assert!(self.topics.is_empty(), "everything is left before the end");
                    self.is_over = true;
                }
            }
        }
        // What was refused or has ended is gone without a Leave.
        let held = self.session.channels();
        self.topics = held
            .map(|channel| (channel.topic().to_string(), self.session.is_joined(channel)))
            .collect();
    }

    fn observe_frame(&mut self, frame: &Encoded) {
        let Encoded::Text(bytes) = frame else { panic!("this wire has no binary frames") };
        let (end, text) = bytes.split_last().unwrap();
        assert_eq!(*end, SERVER_END);
        assert!(!text.contains(&SERVER_END), "one frame at a time");
        match text {
            b"ACK" => self.answered += 1,
            b"PING" => {}
            json => {
                let json: serde_json::Value = serde_json::from_slice(json).unwrap();
                assert!(json["timestamp"].is_array(), "the time comes with everything: {json}");
                let code = json["error"]["code"].as_str();
                // What was not asked for: the end of the connection says why.
                let is_end = matches!(code, Some("no_pong" | "unanswered" | "bad_json"));
                self.answered += usize::from(code.is_some() && !is_end);
            }
        }
    }
}

fn pick(which: &Index, from: &[Channel]) -> Option<Channel> {
    (!from.is_empty()).then(|| which.get(from).clone())
}

#[derive(Deserialize)]
struct Golden {
    streams: Vec<Stream>,
    encoded: Vec<Wanted>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    stream: String,
    frames: Vec<String>,
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
    micros: u64,
    token: Option<String>,
    topic: Option<String>,
    #[serde(default)]
    event: String,
    payload: Option<String>,
    code: Option<String>,
    #[serde(default)]
    message: String,
    bytes: String,
}

fn golden() -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/janus.json");
    let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!golden.streams.is_empty() && !golden.encoded.is_empty());
    assert!(golden.streams.iter().all(|stream| stream.stream.len() < limits::FRAME_BYTES));
    golden
}
