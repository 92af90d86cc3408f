//! The session of Channels, with a client, channels and a clock that do what they like.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use instep_fuzz::allowance::within;
use instep_protocol::encode::{Body, Frame};
use instep_protocol::message::DecodeError;
use instep_protocol::session::{
    Channel, Effect, Ending, Event, Incoming, JoinOutcome, Options, ReplyTo, Session, SharedEvent,
};
use instep_protocol::vsn::Vsn;
use libfuzzer_sys::fuzz_target;

const CHANNELS: usize = 3;

#[derive(Debug, Arbitrary)]
struct Script<'a> {
    first_version: bool,
    binary: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Malformed,
    Request { topic: u8, join_ref: Option<u8>, reference: Option<u8>, event: ClientEvent },
    Alive,
    Decide { join: u8, accepted: bool },
    Reply { push: u8, binary: bool, bytes: &'a [u8] },
    Push { join: u8, event: &'a str, binary: bool, bytes: &'a [u8] },
    End { join: u8, closed: bool },
    Wait(u16),
    Drain,
    Lost,
}

#[derive(Debug, Arbitrary)]
enum ClientEvent {
    Join,
    Leave,
    Message,
    Reserved,
    Heartbeat,
}

fuzz_target!(|script: Script<'_>| {
    let input: usize = script.steps.iter().map(bytes_of).sum();
    within(256 * 1024, 64, input, || run(&script));
});

/// A step makes a few short frames, whatever it is.
fn bytes_of(step: &Step<'_>) -> usize {
    64 + match step {
        Step::Text(text) => text.len(),
        Step::Binary(bytes) | Step::Reply { bytes, .. } => bytes.len(),
        Step::Push { event, bytes, .. } => event.len() + bytes.len(),
        _ => 0,
    }
}

fn run(script: &Script<'_>) {
    let vsn = if script.first_version { Vsn::V1 } else { Vsn::V2 };
    let options = Options {
        binary: script.binary,
        channels: CHANNELS,
        unanswered_pushes: 3,
        held_messages: 4,
        held_bytes: 4096,
        malformed_in_a_row: 4,
        idle_ms: 10_000,
        ..Options::websocket(vsn)
    };
    let mut world = World {
        session: Session::new(options, 0),
        binary: script.binary,
        now: 0,
        joins: vec![],
        pushes: vec![],
        is_over: false,
    };
    for step in &script.steps {
        world.take(vsn, step);
    }
}

struct World {
    session: Session,
    binary: bool,
    now: u64,
    joins: Vec<Channel>,
    pushes: Vec<ReplyTo>,
    is_over: bool,
}

impl World {
    fn take(&mut self, vsn: Vsn, step: &Step<'_>) {
        match step {
            Step::Text(text) => self.handle(Event::Received(Incoming::Text(text))),
            Step::Binary(bytes) => self.handle(Event::Received(Incoming::Binary(bytes))),
            Step::Malformed => {
                self.handle(Event::Received(Incoming::Malformed(DecodeError::BadUtf8)));
            }
            Step::Request { reference, .. } => {
                let text = request(vsn, step);
                let frame = Incoming::Text(&text);
                // Now and then one comes too often.
                if reference.is_some_and(|reference| reference % 16 == 15) {
                    self.handle(Event::Throttled(frame))
                } else {
                    self.handle(Event::Received(frame))
                }
            }
            Step::Alive => self.handle(Event::Alive),
            Step::Decide { join, accepted } => {
                let Some(channel) = pick(*join, &self.joins) else { return };
                let response = Bytes::from_static(b"{}");
                let outcome = if *accepted {
                    JoinOutcome::Accepted { response }
                } else {
                    JoinOutcome::Refused { response }
                };
                self.handle(SharedEvent::JoinAnswered { channel, outcome });
            }
            Step::Reply { push, binary, bytes } => {
                let Some(reply_to) = pick(*push, &self.pushes) else { return };
                let response = body(*binary, bytes);
                self.handle(SharedEvent::Replied { reply_to, status: "ok", response });
            }
            Step::Push { join, event, binary, bytes } => {
                let Some(channel) = pick(*join, &self.joins) else { return };
                let payload = body(*binary, bytes);
                self.handle(SharedEvent::Pushed { channel, event, payload });
            }
            Step::End { join, closed } => {
                let Some(channel) = pick(*join, &self.joins) else { return };
                let how = if *closed { Ending::Closed } else { Ending::Crashed };
                self.handle(SharedEvent::ChannelEnded { channel, how });
            }
            Step::Wait(ms) => {
                self.now += u64::from(*ms);
                self.handle(SharedEvent::Tick);
            }
            Step::Drain => self.handle(SharedEvent::Drain),
            Step::Lost => self.handle(SharedEvent::Lost),
        }
    }

    fn handle<'a>(&mut self, event: impl Into<Event<'a>>) {
        self.session.handle(event, self.now);
        while let Some(effect) = self.session.next_effect() {
            assert!(!self.is_over, "nothing follows the end");
            match effect {
                Effect::Send(frame) => self.check(&frame),
                Effect::Join { channel, .. } => self.joins.push(channel),
                Effect::Push { channel, reply_to, .. } => {
                    assert!(self.joins.contains(&channel));
                    self.pushes.extend(reply_to);
                }
                Effect::Leave { channel } => assert!(self.joins.contains(&channel)),
                Effect::Close { code, .. } => assert_ne!(code, 1000),
                Effect::Ended => self.is_over = true,
            }
        }
        assert!(self.session.channels().count() <= CHANNELS);
        assert_eq!(self.session.next_deadline().is_none(), self.is_over);
    }

    fn check(&self, frame: &Frame) {
        match frame {
            Frame::Text(text) => {
                let json: serde_json::Value =
                    serde_json::from_slice(text).expect("a text frame is JSON");
                assert!(json.as_array().is_none_or(|message| message.len() == 5));
            }
            Frame::Binary(bytes) => assert!(self.binary && matches!(bytes[0], 0 | 1)),
        }
    }
}

/// Body of a channel's message: JSON, or bytes.
fn body(binary: bool, bytes: &[u8]) -> Body {
    if binary {
        Body::Binary(Bytes::copy_from_slice(bytes))
    } else {
        Body::Json(serde_json::json!({ "bytes": bytes }).to_string().into())
    }
}

fn request(vsn: Vsn, step: &Step<'_>) -> String {
    let Step::Request { topic, join_ref, reference, event } = step else { return String::new() };
    let name = |reference: &Option<u8>| reference.map(|number| (number % 8).to_string());
    let (join_ref, reference) = (name(join_ref), name(reference));
    let (topic, event) = match event {
        ClientEvent::Join => (format!("t{}", topic % 5), "phx_join"),
        ClientEvent::Leave => (format!("t{}", topic % 5), "phx_leave"),
        ClientEvent::Message => (format!("t{}", topic % 5), "message"),
        ClientEvent::Reserved => (format!("t{}", topic % 5), "phx_close"),
        ClientEvent::Heartbeat => ("phoenix".to_owned(), "heartbeat"),
    };
    match vsn {
        Vsn::V2 => serde_json::json!([join_ref, reference, topic, event, {}]),
        Vsn::V1 => serde_json::json!({ "join_ref": join_ref, "ref": reference, "topic": topic,
            "event": event, "payload": {} }),
    }
    .to_string()
}

fn pick<T: Clone>(which: u8, from: &[T]) -> Option<T> {
    from.get(usize::from(which) % from.len().max(1)).cloned()
}
