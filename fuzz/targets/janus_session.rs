//! The session of the Janus door behind its decoder, with topics, networks and a clock that do
//! what they like.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use instep_fuzz::allowance::within;
use instep_protocol::encode::{Body, Frame};
use instep_protocol::janus::codec::{Decoder, SERVER_END, encode_publish, encode_request};
use instep_protocol::janus::session::{Effect, Event, JanusSession, Options};
use instep_protocol::janus::{Timestamp, Token};
use instep_protocol::session::{
    Channel, Effect as Shared, Ending, JoinOutcome, ReplyTo, SharedEvent,
};
use libfuzzer_sys::fuzz_target;

const TOPICS: usize = 3;

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Bytes(&'a [u8]),
    Payload(&'a str),
    Subscribe(u8),
    Unsubscribe(u8),
    Attach(u8),
    Publish(u8),
    Pong,
    Decide { join: u8, accepted: bool, response: &'a [u8] },
    Push { join: u8, event: &'a str, binary: bool, bytes: &'a [u8] },
    End { join: u8, closed: bool },
    Reply { ok: bool, response: &'a [u8] },
    Lost,
    Attached,
    AttachRefused,
    Wait(u16),
    Drain,
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let input: usize = steps.iter().map(bytes_of).sum();
    within(256 * 1024, 64, input, || run(&steps));
});

/// A step makes a few short frames, whatever it is.
fn bytes_of(step: &Step<'_>) -> usize {
    64 + match step {
        Step::Bytes(bytes)
        | Step::Decide { response: bytes, .. }
        | Step::Reply { response: bytes, .. } => bytes.len(),
        Step::Payload(text) => text.len(),
        Step::Push { event, bytes, .. } => event.len() + bytes.len(),
        _ => 0,
    }
}

fn run(steps: &[Step<'_>]) {
    let options = Options {
        ping_ms: 10_000,
        detached_ms: 15_000,
        topics: TOPICS,
        unanswered: 4,
        malformed_in_a_row: 4,
    };
    let mut world = World {
        session: JanusSession::new(options, Token::new(1), Timestamp(0), 0),
        decoder: Decoder::default(),
        now: 0,
        joins: vec![],
        publish: None,
        is_over: false,
    };
    world.observe();
    for step in steps {
        world.take(step);
    }
}

struct World {
    session: JanusSession,
    decoder: Decoder,
    now: u64,
    joins: Vec<Channel>,
    publish: Option<ReplyTo>,
    is_over: bool,
}

impl World {
    fn take(&mut self, step: &Step<'_>) {
        match step {
            Step::Bytes(bytes) => self.say(bytes),
            Step::Payload(text) => {
                self.say(format!("<regular-socket/>\0{text}\0").as_bytes());
            }
            Step::Subscribe(topic) => self.say(&encode_request("subscribe", &name(*topic))),
            Step::Unsubscribe(topic) => self.say(&encode_request("unsubscribe", &name(*topic))),
            Step::Attach(session) => {
                let token = Token::new(u128::from(*session)).to_string();
                self.say(&encode_request("attach", &token));
            }
            Step::Publish(topic) => self.say(&encode_publish(&name(*topic), "e", b"1", b"{}")),
            Step::Pong => self.say(b"<regular-socket/>\0PONG\0"),
            Step::Decide { join, accepted, response } => {
                let Some(channel) = pick(*join, &self.joins) else { return };
                let response = Bytes::copy_from_slice(json_or_empty(response));
                let outcome = if *accepted {
                    JoinOutcome::Accepted { response }
                } else {
                    JoinOutcome::Refused { response }
                };
                self.handle(SharedEvent::JoinAnswered { channel, outcome });
            }
            Step::Push { join, event, binary, bytes } => {
                let Some(channel) = pick(*join, &self.joins) else { return };
                let payload = if *binary {
                    Body::Binary(Bytes::copy_from_slice(bytes))
                } else {
                    Body::Json(serde_json::json!({ "bytes": bytes }).to_string().into())
                };
                self.handle(SharedEvent::Pushed { channel, event, payload });
            }
            Step::End { join, closed } => {
                let Some(channel) = pick(*join, &self.joins) else { return };
                let how = if *closed { Ending::Closed } else { Ending::Crashed };
                self.handle(SharedEvent::ChannelEnded { channel, how });
            }
            Step::Reply { ok, response } => {
                let Some(reply_to) = self.publish.clone() else { return };
                let status = if *ok { "ok" } else { "error" };
                let response = Body::Json(Bytes::copy_from_slice(json_or_empty(response)));
                self.handle(SharedEvent::Replied { reply_to, status, response });
                assert!(self.is_over, "a publish is the last deed");
            }
            Step::Lost => self.handle(SharedEvent::Lost),
            Step::Attached => {
                self.decoder = Decoder::default();
                self.handle(Event::Attached);
            }
            Step::AttachRefused => self.handle(Event::AttachRefused),
            Step::Wait(ms) => {
                self.now += u64::from(*ms);
                self.handle(SharedEvent::Tick);
            }
            Step::Drain => self.handle(SharedEvent::Drain),
        }
    }

    fn say(&mut self, mut stream: &[u8]) {
        while let Some(decoded) = self.decoder.decode(&mut stream) {
            match decoded {
                Ok(frame) => self.session.handle(Event::Received(frame), self.now),
                Err(error) => self.session.handle(Event::Malformed(error), self.now),
            }
            self.observe();
        }
    }

    fn handle<'a>(&mut self, event: impl Into<Event<'a>>) {
        self.session.handle(event, self.now);
        self.observe();
    }

    fn observe(&mut self) {
        while let Some(effect) = self.session.next_effect() {
            assert!(!self.is_over, "nothing follows the end");
            let effect = match effect {
                Effect::Shared(effect) => effect,
                Effect::Attach { token } => {
                    assert_ne!(token, self.session.token());
                    assert_eq!(self.session.channels().count(), 0);
                    continue;
                }
            };
            match effect {
                Shared::Send(Frame::Text(frame)) => check(&frame),
                Shared::Send(Frame::Binary(_)) => panic!("this wire has no binary frames"),
                Shared::Join { channel, .. } => self.joins.push(channel),
                Shared::Push { channel, reply_to, .. } => {
                    assert!(!self.joins.contains(&channel));
                    self.publish = reply_to;
                }
                Shared::Leave { channel } => assert!(self.joins.contains(&channel)),
                Shared::Close { .. } => assert!(!self.session.is_detached()),
                Shared::Ended => self.is_over = true,
            }
        }
        assert!(self.session.channels().count() <= TOPICS);
        assert_eq!(self.session.next_deadline().is_none(), self.is_over);
    }
}

/// One frame: ACK, PING or an object that begins with the time.
fn check(frame: &[u8]) {
    let (end, text) = frame.split_last().expect("a frame has an end");
    assert_eq!(*end, SERVER_END);
    assert!(!text.contains(&SERVER_END));
    if !matches!(text, b"ACK" | b"PING") {
        let json: serde_json::Value = serde_json::from_slice(text).expect("it is JSON");
        assert!(json["timestamp"].is_array());
        assert!(text.starts_with(b"{\"timestamp\":["));
    }
}

/// Responses are JSON objects; anything else stands for an empty one.
fn json_or_empty(bytes: &[u8]) -> &[u8] {
    let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes);
    if parsed.is_ok() { bytes } else { b"{}" }
}

fn name(topic: u8) -> String {
    format!("t{}", topic % 5)
}

fn pick(which: u8, from: &[Channel]) -> Option<Channel> {
    from.get(usize::from(which) % from.len().max(1)).cloned()
}
