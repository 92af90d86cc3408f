//! A client of the door, and a short language for what goes between it and its session.

use super::*;
use crate::janus::codec::{DecodeError, Decoder};
use crate::session::{Ending, JoinOutcome};

const TOKEN: &str = "0000000000000000000000000000002a";

struct Client {
    session: JanusSession,
    now: u64,
    joins: Vec<Channel>,
    pushes: Vec<ReplyTo>,
}

impl Client {
    /// Greeted at the second 1,000,000 of the world.
    fn new() -> Self {
        Self::with(Options { ping_ms: 30_000, detached_ms: 10_000, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let session = JanusSession::new(options, Token::new(42), Timestamp(1_000_000_000_000), 500);
        let mut client = Self { session, now: 500, joins: vec![], pushes: vec![] };
        client.effects();
        client
    }

    /// Joined to `a`, the first of the joins.
    fn subscribed() -> Self {
        let mut client = Self::new();
        client.says(r#"{"action":"subscribe","data":"a"}"#, &["join a"]);
        client.answers(0, Ok("{}"), &["ACK"]);
        client
    }

    #[track_caller]
    fn says(&mut self, json: &str, effects: &[&str]) {
        let frame = Frame::Request(json.as_bytes().into());
        self.takes(Event::Received(frame), effects);
    }

    #[track_caller]
    fn publishes(&mut self, json: &str, effects: &[&str]) {
        let frame = Frame::Publish(json.as_bytes().into());
        self.takes(Event::Received(frame), effects);
    }

    #[track_caller]
    fn answers(&mut self, join: usize, outcome: Result<&str, &str>, effects: &[&str]) {
        let channel = self.joins[join].clone();
        let outcome = match outcome {
            Ok(json) => JoinOutcome::Accepted { response: json.to_owned().into() },
            Err(json) => JoinOutcome::Refused { response: json.to_owned().into() },
        };
        self.takes(SharedEvent::JoinAnswered { channel, outcome }, effects);
    }

    #[track_caller]
    fn replies(&mut self, status: &str, json: &str, effects: &[&str]) {
        let (reply_to, response) = (self.pushes[0].clone(), Body::Json(json.to_owned().into()));
        self.takes(SharedEvent::Replied { reply_to, status, response }, effects);
    }

    #[track_caller]
    fn pushed(&mut self, join: usize, json: &str, effects: &[&str]) {
        let (channel, payload) = (self.joins[join].clone(), Body::Json(json.to_owned().into()));
        self.takes(SharedEvent::Pushed { channel, event: "e", payload }, effects);
    }

    /// Lets time pass up to the next deadline, which is so many milliseconds away.
    #[track_caller]
    fn waits(&mut self, ms: u64, effects: &[&str]) {
        assert_eq!(self.session.next_deadline(), Some(self.now + ms));
        self.now += ms - 1;
        self.takes(SharedEvent::Tick, &[]);
        self.now += 1;
        self.takes(SharedEvent::Tick, effects);
    }

    #[track_caller]
    fn takes<'a>(&mut self, event: impl Into<Event<'a>>, effects: &[&str]) {
        self.session.handle(event, self.now);
        assert_eq!(self.effects(), effects);
    }

    fn effects(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some(effect) = self.session.next_effect() {
            shown.push(show(&effect));
            match effect {
                Effect::Shared(session::Effect::Join { channel, .. }) => self.joins.push(channel),
                Effect::Shared(session::Effect::Push { reply_to, .. }) => {
                    self.pushes.extend(reply_to);
                }
                _ => {}
            }
        }
        shown
    }
}

fn show(effect: &Effect) -> String {
    let effect = match effect {
        Effect::Shared(effect) => effect,
        Effect::Attach { token } => return format!("attach {token}"),
    };
    match effect {
        session::Effect::Join { channel, .. } => format!("join {}", channel.topic()),
        session::Effect::Leave { channel } => format!("leave {}", channel.topic()),
        session::Effect::Push { channel, event, payload, .. } => {
            let payload = String::from_utf8_lossy(payload.as_bytes());
            format!("publish {} {event} {payload}", channel.topic())
        }
        session::Effect::Send(encode::Frame::Text(bytes)) => {
            let text = std::str::from_utf8(bytes).unwrap();
            text.strip_suffix('\u{1}').expect("each frame has its end").to_owned()
        }
        session::Effect::Send(encode::Frame::Binary(_)) => unreachable!("this wire has none"),
        session::Effect::Close { code, reason } => format!("close {code} {reason}"),
        session::Effect::Ended => "ended".to_owned(),
    }
}

fn error(seconds: u64, code: &str, message: &str) -> String {
    format!(r#"{{"timestamp":[1,{seconds},0],"error":{{"code":"{code}","message":"{message}"}}}}"#)
}

fn topic_error(code: &str, message: &str) -> String {
    error(0, code, message).replace("}}", r#","topic":"a"}}"#)
}

#[test]
fn jan_09_the_server_speaks_first_and_says_time_and_token() {
    let at = Timestamp(1_350_354_323_000_042);
    let mut session = JanusSession::new(Options::default(), Token::new(42), at, 7);

    let greeting = format!(r#"{{"timestamp":[1350,354323,42],"token":"{TOKEN}"}}"#);
    assert_eq!(session.next_effect().as_ref().map(show), Some(greeting));
    assert_eq!(session.next_effect(), None);
    assert_eq!(session.token(), Token::new(42));
}

#[test]
fn jan_u1_subscribe_and_unsubscribe_are_acknowledged() {
    let mut client = Client::subscribed();
    assert!(client.session.is_joined(&client.joins[0]));

    client.says(r#"{"data":"a","action":"unsubscribe"}"#, &["leave a", "ACK"]);
    client.says(r#"{"action":"unsubscribe","data":"a"}"#, &["ACK"]);

    assert_eq!(client.session.channels().count(), 0);
}

#[test]
fn jan_17_a_second_subscribe_is_acknowledged_and_joins_nothing() {
    let mut client = Client::subscribed();

    client.says(r#"{"action":"subscribe","data":"a"}"#, &["ACK"]);
    client.says(r#"{"action":"subscribe","data":"b"}"#, &["join b"]);
    client.says(r#"{"action":"subscribe","data":"b"}"#, &[]);
    client.answers(1, Ok("{}"), &["ACK", "ACK"]);
    client.answers(1, Ok("{}"), &[]);
}

#[test]
fn each_subscribe_is_answered_when_its_join_comes_to_nothing() {
    let mut client = Client::new();
    let subscribe = r#"{"action":"subscribe","data":"a"}"#;

    client.says(subscribe, &["join a"]);
    client.says(subscribe, &[]);
    let refused = topic_error("unmatched topic", "no such");
    let response = r#"{"reason":"unmatched topic","detail":"no such"}"#;
    client.answers(0, Err(response), &[&refused, &refused]);
    client.says(subscribe, &["join a"]);
    let cancelled = topic_error("cancelled", "unsubscribed before it was answered");
    client.says(r#"{"action":"unsubscribe","data":"a"}"#, &[&cancelled, "leave a", "ACK"]);
    client.answers(1, Ok("{}"), &[]);
    client.says(subscribe, &["join a"]);
    let (channel, how) = (client.joins[2].clone(), Ending::Crashed);
    let failed = topic_error("topic_failed", "the topic has failed, subscribe again");
    client.takes(SharedEvent::ChannelEnded { channel, how }, &[&failed]);

    assert_eq!((client.session.channels().count(), client.session.unanswered), (0, 0));
}

#[test]
fn a_topic_that_ends_is_told_and_may_be_subscribed_to_again() {
    let mut client = Client::subscribed();
    let (channel, how) = (client.joins[0].clone(), Ending::Closed);

    let closed = topic_error("topic_closed", "the topic is over");
    client.takes(SharedEvent::ChannelEnded { channel: channel.clone(), how }, &[&closed]);
    client.takes(SharedEvent::ChannelEnded { channel, how }, &[]);
    client.pushed(0, "{}", &[]);

    client.says(r#"{"action":"subscribe","data":"a"}"#, &["join a"]);
}

#[test]
fn frames_of_a_topic_come_after_its_ack_and_not_after_the_leave() {
    let mut client = Client::new();
    client.says(r#"{"action":"subscribe","data":"a"}"#, &["join a"]);

    client.pushed(0, "{}", &[]);
    let news = |seconds: u64, rest: &str| {
        format!(r#"{{"timestamp":[1,{seconds},0],"topic":"a","event":{rest}}}"#)
    };
    let told = news(0, r#""joined","message_id":"","data":{"mode":"snapshot"}"#);
    client.answers(0, Ok(r#"{"mode":"snapshot"}"#), &["ACK", &told]);
    client.now += 2_000;
    let news = news(2, r#""e","message_id":1,"data":2"#);
    client.pushed(0, r#"{"message_id":1,"data":2}"#, &[&news]);
    client.says(r#"{"action":"unsubscribe","data":"a"}"#, &["leave a", "ACK"]);
    client.pushed(0, "{}", &[]);
    client.says(r#"{"action":"subscribe","data":"a"}"#, &["join a"]);
    client.answers(1, Ok(r#"{"mode":"live","position":null}"#), &["ACK"]);
}

#[test]
fn jan_r2_an_unknown_action_is_an_error_and_the_connection_lives() {
    let mut client = Client::subscribed();
    let unknown = error(0, "unknown_action", "the actions are subscribe, unsubscribe and attach");

    client.says(r#"{"action":"sing","data":"a"}"#, &[&unknown]);
    client.says(r#"{"action":"sing"}"#, &[&unknown]);
    client.says(r#"{"action":"subscribe","data":"a"}"#, &["ACK"]);
}

#[test]
fn a_request_that_is_wrong_is_an_error_and_too_many_in_a_row_end_it() {
    let mut client = Client::new();
    let long = "x".repeat(limits::TOPIC_BYTES + 1);
    let key = "k".repeat(limits::JANUS_KEY_BYTES + 1);
    for (json, code) in [
        (r#"["subscribe","a"]"#.to_owned(), "bad_frame"),
        (r#"{"data":"a"}"#.to_owned(), "bad_frame"),
        (r#"{"action":"subscribe"}"#.to_owned(), "bad_frame"),
        (r#"{"action":"subscribe","data":7}"#.to_owned(), "bad_frame"),
        (r#"{"action":"subscribe","data":""}"#.to_owned(), "topic_empty"),
        (format!(r#"{{"action":"subscribe","data":"{long}"}}"#), "topic_too_long"),
        (format!(r#"{{"action":"subscribe","data":"a","key":"{key}"}}"#), "key_too_long"),
        (r#"{"action":"attach","data":"42"}"#.to_owned(), "bad_token"),
    ] {
        client.session.handle(Event::Received(Frame::Request(json.as_bytes().into())), 500);
        let effects = client.effects();
        assert_eq!(effects.len(), 1, "{effects:?}");
        assert!(effects[0].contains(&format!(r#""code":"{code}""#)), "{json}: {effects:?}");
    }
    let unknown = error(0, "unknown_action", "the actions are subscribe, unsubscribe and attach");
    for _ in 0..7 {
        client.says(r#"{"action":"sing"}"#, &[&unknown]);
    }
    let close = ["close 1008 too many malformed frames", "ended"];
    client.says(r#"{"action":"sing"}"#, &[&unknown, close[0], close[1]]);
}

#[test]
fn jan_r5_nonsense_is_told_before_the_connection_is_closed() {
    for (payload, code, message) in [
        (&b"\xff"[..], "bad_utf8", "the frame is not UTF-8"),
        (b"hello", "bad_json", "the frame is not JSON: expected value at line 1 column 1"),
    ] {
        let mut client = Client::subscribed();
        let told = error(0, code, message);
        let effects = [&*told, "leave a", "close 1008 nonsense", "ended"];
        client.takes(Event::Received(Frame::Request(payload.into())), &effects);
    }
    let mut client = Client::new();
    let told = error(0, "no_tag", "a frame begins with <regular-socket/> and a zero byte");
    let effects = [&*told, "close 1008 no frame", "ended"];
    client.takes(Event::Malformed(DecodeError::NoTag), &effects);
}

#[test]
fn jan_u2_a_message_is_published_and_the_publisher_closed() {
    let mut client = Client::new();
    let json = r#"{"topic":"a","event":"e","message_id":"7","data":{"x":1.0}}"#;

    client.publishes(json, &[r#"publish a e {"message_id":"7","data":{"x":1.0}}"#]);
    client.says(r#"{"action":"subscribe","data":"a"}"#, &[]);
    client.replies("ok", "{}", &["close 1000 published", "ended"]);
}

#[test]
fn jan_r4_the_keys_of_a_message_come_in_any_order() {
    let members = [r#""topic":"a""#, r#""event":"e""#, r#""message_id":7"#, r#""data":[]"#];
    for turn in 0..4 {
        let mut turned = members;
        turned.rotate_left(turn);
        for order in [turned, [turned[1], turned[0], turned[3], turned[2]]] {
            let json = format!("{{{}}}", order.join(", "));
            Client::new().publishes(&json, &[r#"publish a e {"message_id":7,"data":[]}"#]);
        }
    }
}

#[test]
fn jan_18_a_publisher_shows_its_key_and_a_refusal_is_told() {
    let mut client = Client::subscribed();
    assert_eq!(client.session.key(), None);

    client.says(r#"{"action":"subscribe","data":"a","key":"old"}"#, &["ACK"]);
    assert_eq!(client.session.key(), Some("old"));
    let json = r#"{"key":"new","topic":"a","event":"e","message_id":"","data":1}"#;
    client.publishes(json, &[r#"publish a e {"message_id":"","data":1}"#]);
    assert_eq!(client.session.key(), Some("new"));
    let told = topic_error("forbidden", "no right to publish");
    let response = r#"{"reason":"forbidden","detail":"no right to publish"}"#;
    let effects = [&*told, "leave a", "close 1008 not published", "ended"];
    client.replies("error", response, &effects);
}

#[test]
fn publishes_that_fail_are_told_before_the_close() {
    for (json, code) in [
        ("nothing", "bad_json"),
        ("[]", "bad_frame"),
        (r#"{"topic":"a","event":"e","data":1}"#, "bad_frame"),
        (r#"{"topic":"","event":"e","message_id":"","data":1}"#, "topic_empty"),
        (r#"{"topic":"a","event":"phx_close","message_id":"","data":1}"#, "reserved_event"),
    ] {
        let mut client = Client::new();
        client.session.handle(Event::Received(Frame::Publish(json.as_bytes().into())), 500);
        let effects = client.effects();
        assert!(effects[0].contains(&format!(r#""code":"{code}""#)), "{json}: {effects:?}");
        assert_eq!(effects[1..], ["close 1008 nothing to publish", "ended"]);
    }
}

#[test]
fn jan_u2_a_publisher_that_hangs_up_at_once_has_published() {
    let mut client = Client::new();
    let json = r#"{"topic":"a","event":"e","message_id":"","data":1}"#;

    client.publishes(json, &[r#"publish a e {"message_id":"","data":1}"#]);
    client.takes(SharedEvent::Lost, &[]);
    client.replies("ok", "{}", &["ended"]);
}

#[test]
fn a_publish_without_an_answer_does_not_hold_the_connection_for_ever() {
    let json = r#"{"topic":"a","event":"e","message_id":"","data":1}"#;
    let publish = [r#"publish a e {"message_id":"","data":1}"#];

    let mut client = Client::new();
    client.publishes(json, &publish);
    let told = error(30, "unanswered", "whether it was published is not known");
    client.waits(30_000, &[&told, "close 1012 unanswered publish", "ended"]);
    let mut client = Client::new();
    client.publishes(json, &publish);
    client.takes(SharedEvent::Lost, &[]);
    client.waits(30_000, &["ended"]);
}

#[test]
fn jan_u4_jan_r6_every_interval_has_a_ping_and_silence_ends_the_session() {
    let mut client = Client::subscribed();

    client.waits(30_000, &["PING"]);
    client.takes(Event::Received(Frame::Pong), &[]);
    client.waits(30_000, &["PING"]);
    client.says(r#"{"action":"subscribe","data":"a"}"#, &["ACK"]);
    client.takes(Event::Received(Frame::Ping), &[]);
    let told = error(90, "no_pong", "the last PING was not answered");
    client.waits(30_000, &[&told, "leave a", "close 1012 no pong", "ended"]);
    assert_eq!(client.session.next_deadline(), None);
}

#[test]
fn jan_10_jan_r1_a_session_without_topics_goes_with_its_connection() {
    let mut client = Client::new();
    client.takes(SharedEvent::Lost, &["ended"]);

    let mut client = Client::with(Options { detached_ms: 0, ..Options::default() });
    client.says(r#"{"action":"subscribe","data":"a"}"#, &["join a"]);
    client.takes(SharedEvent::Lost, &["leave a", "ended"]);
    client.takes(Event::Attached, &[]);
}

#[test]
fn jan_u5_a_session_is_taken_up_again_and_goes_on_with_what_it_is_owed() {
    let mut client = Client::subscribed();
    client.says(r#"{"action":"subscribe","data":"b"}"#, &["join b"]);

    client.takes(SharedEvent::Lost, &[]);
    assert!(client.session.is_detached());
    client.answers(1, Ok("{}"), &[]);
    client.now += 9_000;
    client.pushed(0, r#"{"n":1}"#, &[]);
    let news = r#"{"timestamp":[1,9,0],"topic":"a","event":"e","message_id":"","data":{"n":1}}"#;
    client.takes(Event::Attached, &["ACK", "ACK", news]);
    assert!(!client.session.is_detached());
    assert!(client.session.is_joined(&client.joins[1]));
    client.waits(30_000, &["PING"]);
}

#[test]
fn jan_u5_a_session_without_a_connection_expires() {
    let mut client = Client::subscribed();

    client.takes(SharedEvent::Lost, &[]);
    client.takes(Event::Received(Frame::Pong), &[]);
    client.waits(10_000, &["leave a", "ended"]);
    client.takes(Event::Attached, &[]);
}

#[test]
fn jan_u5_a_client_asks_for_a_session_by_its_token() {
    let mut client = Client::new();
    let wanted = "000000000000000000000000000000ff";

    let attach = format!(r#"{{"action":"attach","data":"{wanted}"}}"#);
    client.says(&attach, &[&format!("attach {wanted}")]);
    let wait = error(0, "attaching", "wait for the answer to attach");
    client.says(r#"{"action":"subscribe","data":"a"}"#, &[&wait]);
    let expired = error(0, "expired", "the session is gone, subscribe again");
    client.takes(Event::AttachRefused, &[&expired]);
    client.takes(Event::AttachRefused, &[]);
    let own = error(0, "attached_already", "this is that session");
    client.says(&format!(r#"{{"action":"attach","data":"{TOKEN}"}}"#), &[&own]);
    client.says(r#"{"action":"subscribe","data":"a"}"#, &["join a"]);
    let first = error(0, "attach_first", "attach before anything is subscribed to");
    client.says(&attach, &[&first]);
}

#[test]
fn jan_r11_frames_that_wait_for_a_detached_session_are_bounded() {
    let mut client = Client::subscribed();
    client.takes(SharedEvent::Lost, &[]);
    for _ in 0..limits::JANUS_OWED_FRAMES {
        client.pushed(0, "{}", &[]);
    }
    client.pushed(0, "{}", &["leave a", "ended"]);
    assert_eq!(client.session.owed.capacity(), 0);

    let mut client = Client::subscribed();
    client.takes(SharedEvent::Lost, &[]);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(limits::JANUS_OWED_BYTES));
    client.pushed(0, &large, &["leave a", "ended"]);
}

#[test]
fn law_6_topics_and_waiting_subscribes_are_bounded() {
    let mut client = Client::with(Options { topics: 1, unanswered: 2, ..Options::default() });
    client.says(r#"{"action":"subscribe","data":"a"}"#, &["join a"]);
    let full = error(0, "too_many_topics", "unsubscribe from another one")
        .replace("}}", r#","topic":"b"}}"#);
    client.says(r#"{"action":"subscribe","data":"b"}"#, &[&full]);
    client.says(r#"{"action":"subscribe","data":"a"}"#, &[]);
    let told = error(0, "overloaded", "too many subscribes wait for answers");
    let effects = [&*told, "leave a", "close 1008 too many subscribes", "ended"];
    client.says(r#"{"action":"subscribe","data":"a"}"#, &effects);
}

#[test]
fn a_drain_closes_what_is_attached_and_ends_what_is_not() {
    let mut client = Client::subscribed();
    client.takes(SharedEvent::Drain, &["leave a", "close 1012 draining", "ended"]);
    let mut client = Client::subscribed();
    client.takes(SharedEvent::Lost, &[]);
    client.takes(SharedEvent::Drain, &["leave a", "ended"]);
    client.takes(SharedEvent::Lost, &[]);
}

#[test]
fn bytes_have_no_form_on_this_wire() {
    let mut client = Client::subscribed();
    let (channel, payload) = (client.joins[0].clone(), Body::Binary(Bytes::from_static(b"\x01")));
    client.takes(SharedEvent::Pushed { channel, event: "e", payload }, &[]);
}

#[test]
fn frames_of_clients_are_read_by_the_decoder() {
    let stream = [
        codec::encode_request("subscribe", "r\"oom"),
        codec::encode_publish("a", "e", b"7", b"{\"x\":1}"),
    ]
    .concat();
    let (mut client, mut decoder, mut input) = (Client::new(), Decoder::default(), &stream[..]);
    let mut effects = Vec::new();
    while let Some(frame) = decoder.decode(&mut input) {
        client.session.handle(Event::Received(frame.unwrap()), 500);
        effects.extend(client.effects());
    }
    assert_eq!(effects, ["join r\"oom", r#"publish a e {"message_id":7,"data":{"x":1}}"#]);
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<JanusSession>() <= 320, "{}", size_of::<JanusSession>());
}
