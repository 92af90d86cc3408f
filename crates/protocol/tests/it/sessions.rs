//! Properties of every order of events. A client and channels do what they like; an observer of the
//! effects checks the promises of the session after each step.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use instep_protocol::encode::{Body, Frame};
use instep_protocol::session::{
    Channel, Effect, Ending, Event, Incoming, JoinOutcome, Options, ReplyTo, Session, SharedEvent,
};
use instep_protocol::vsn::Vsn;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

const CHANNELS: usize = 3;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_order_of_events_keeps_the_promises(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.settle();
    }

    #[test]
    fn the_same_events_have_the_same_effects(steps in prop::collection::vec(step(), 0..80)) {
        let run = || {
            let mut world = World::new();
            steps.iter().for_each(|step| world.take(step));
            world.log
        };

        prop_assert_eq!(run(), run());
    }
}

/// Something that the client, a channel or the time does.
#[derive(Debug, Clone)]
enum Step {
    Join(u8),
    Leave(u8, Join),
    Push { topic: u8, join: Join, event: &'static str, has_ref: bool },
    BadPush(u8),
    Nonsense,
    Heartbeat,
    Decide(Index, bool),
    Reply(Index),
    ServerPush(Index),
    End(Index, Ending),
    Wait(u64),
    Drain,
    Lost,
}

/// Join_ref that the client gives.
#[derive(Debug, Clone, Copy)]
enum Join {
    Current,
    None,
    Stale,
}

fn step() -> impl Strategy<Value = Step> {
    let topic = || 0..5_u8;
    let join =
        || prop_oneof![3 => Just(Join::Current), 1 => Just(Join::None), 1 => Just(Join::Stale)];
    let event = prop_oneof![4 => Just("message"), 1 => Just("phx_close")];
    let ending = prop_oneof![Just(Ending::Closed), Just(Ending::Crashed)];
    prop_oneof![
        20 => topic().prop_map(Step::Join),
        8 => (topic(), join()).prop_map(|(topic, join)| Step::Leave(topic, join)),
        24 => (topic(), join(), event, prop::bool::weighted(0.8)).prop_map(
            |(topic, join, event, has_ref)| Step::Push { topic, join, event, has_ref }
        ),
        3 => topic().prop_map(Step::BadPush),
        1 => Just(Step::Nonsense),
        3 => Just(Step::Heartbeat),
        20 => (any::<Index>(), prop::bool::weighted(0.8))
            .prop_map(|(which, ok)| Step::Decide(which, ok)),
        16 => any::<Index>().prop_map(Step::Reply),
        8 => any::<Index>().prop_map(Step::ServerPush),
        5 => (any::<Index>(), ending).prop_map(|(which, how)| Step::End(which, how)),
        2 => (0..600_u64).prop_map(Step::Wait),
        1 => prop_oneof![9 => Just(Step::Heartbeat), 1 => Just(Step::Drain), 1 => Just(Step::Lost)],
    ]
}

/// The client, the channels behind the session, and the observer.
struct World {
    session: Session,
    now: u64,
    refs: u64,
    joins: Vec<Channel>,
    replies: Vec<ReplyTo>,
    /// Refs whose answers are due, and the answers they got.
    requests: BTreeMap<String, usize>,
    /// The joins without an answer, by topic.
    joining: BTreeMap<String, String>,
    /// Joins that have been answered, and joins that have ended.
    answered: BTreeSet<String>,
    ended: BTreeMap<String, u64>,
    left: BTreeSet<String>,
    is_over: bool,
    log: Vec<String>,
}

impl World {
    fn new() -> Self {
        let options = Options {
            channels: CHANNELS,
            unanswered_pushes: 4,
            held_messages: 6,
            malformed_in_a_row: 3,
            idle_ms: 1_000,
            ..Options::websocket(Vsn::V2)
        };
        Self {
            session: Session::new(options, 0),
            now: 0,
            refs: 0,
            joins: vec![],
            replies: vec![],
            requests: BTreeMap::new(),
            joining: BTreeMap::new(),
            answered: BTreeSet::new(),
            ended: BTreeMap::new(),
            left: BTreeSet::new(),
            is_over: false,
            log: vec![],
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Join(topic) => {
                let reference = self.next_ref();
                self.requests.insert(reference.clone(), 0);
                self.say(&format!(r#"["{reference}","{reference}","t{topic}","phx_join",{{}}]"#));
            }
            Step::Leave(topic, join) => self.request(*topic, *join, "phx_leave", "{}", true),
            Step::Push { topic, join, event, has_ref } => {
                self.request(*topic, *join, event, "{}", *has_ref);
            }
            Step::BadPush(topic) => self.request(*topic, Join::Current, "message", "[]", true),
            Step::Nonsense => self.say("nonsense"),
            Step::Heartbeat => {
                let reference = self.next_ref();
                self.requests.insert(reference.clone(), 0);
                self.say(&format!(r#"[null,"{reference}","phoenix","heartbeat",{{}}]"#));
                assert!(self.is_over || self.requests[&reference] == 1, "answered at once");
            }
            Step::Decide(..) | Step::Reply(_) | Step::ServerPush(_) | Step::End(..) => {
                self.take_from_channel(step);
            }
            Step::Wait(ms) => {
                self.now += ms;
                self.handle(SharedEvent::Tick);
            }
            Step::Drain => self.handle(SharedEvent::Drain),
            Step::Lost => self.handle(SharedEvent::Lost),
        }
    }

    /// Lets one of the channels act, be it long gone.
    fn take_from_channel(&mut self, step: &Step) {
        match step {
            Step::Decide(which, is_accepted) => {
                let Some(channel) = pick(which, &self.joins) else {
                    return;
                };
                let response = Bytes::from_static(b"{}");
                let outcome = if *is_accepted {
                    JoinOutcome::Accepted { response }
                } else {
                    JoinOutcome::Refused { response }
                };
                self.handle(SharedEvent::JoinAnswered { channel, outcome });
            }
            Step::Reply(which) => {
                let Some(reply_to) = pick(which, &self.replies) else {
                    return;
                };
                let response = Body::Json("{}".into());
                self.handle(SharedEvent::Replied { reply_to, status: "ok", response });
            }
            Step::ServerPush(which) => {
                let Some(channel) = pick(which, &self.joins) else {
                    return;
                };
                let payload = Body::Json("{}".into());
                self.handle(SharedEvent::Pushed { channel, event: "news", payload });
            }
            Step::End(which, how) => {
                let Some(channel) = pick(which, &self.joins) else {
                    return;
                };
                self.handle(SharedEvent::ChannelEnded { channel, how: *how });
            }
            _ => unreachable!("the other steps are the client's"),
        }
    }

    /// Sends a request; an answer is due unless the session may take it for stale.
    fn request(&mut self, topic: u8, join: Join, event: &str, payload: &str, has_ref: bool) {
        let topic = format!("t{topic}");
        let current = self.session.channels().find(|channel| **channel.topic() == *topic);
        let current = current.and_then(Channel::join_ref).map(|join_ref| join_ref.as_str());
        let join_ref = match (join, current) {
            (Join::Current, Some(current)) => format!("\"{current}\""),
            (Join::Stale, _) => "\"0\"".to_owned(),
            (Join::Current, None) | (Join::None, _) => "null".to_owned(),
        };
        let is_stale = current.is_some() && matches!(join, Join::Stale);
        let reference = self.next_ref();
        if has_ref && !is_stale {
            self.requests.insert(reference.clone(), 0);
        }
        let reference = if has_ref { format!("\"{reference}\"") } else { "null".to_owned() };
        self.say(&format!(r#"[{join_ref},{reference},"{topic}","{event}",{payload}]"#));
    }

    /// Lets the channels decide and answer everything, and counts the answers.
    fn settle(&mut self) {
        for at in 0..self.joins.len() {
            let (channel, response) = (self.joins[at].clone(), Bytes::from_static(b"{}"));
            let outcome = JoinOutcome::Accepted { response };
            self.handle(SharedEvent::JoinAnswered { channel, outcome });
        }
        for at in 0..self.replies.len() {
            let (reply_to, response) = (self.replies[at].clone(), Body::Json("{}".into()));
            self.handle(SharedEvent::Replied { reply_to, status: "ok", response });
        }
        for (reference, answers) in &self.requests {
            assert!(*answers == 1 || self.is_over, "request {reference} got {answers} answers");
        }
    }

    fn next_ref(&mut self) -> String {
        self.refs += 1;
        self.refs.to_string()
    }

    fn say(&mut self, frame: &str) {
        self.handle(Event::Received(Incoming::Text(frame)));
    }

    fn handle<'a>(&mut self, event: impl Into<Event<'a>>) {
        let event = event.into();
        self.log.push(format!("{event:?}"));
        if let Event::Shared(SharedEvent::ChannelEnded { channel, .. }) = &event {
            let is_known = self.session.channels().any(|known| known == channel);
            if is_known {
                self.left.insert(join_ref(channel));
            }
        }
        self.session.handle(event, self.now);
        while let Some(effect) = self.session.next_effect() {
            self.log.push(format!("{effect:?}"));
            self.observe(effect);
        }
        assert!(self.session.channels().count() <= CHANNELS);
        assert_eq!(self.session.next_deadline().is_none(), self.is_over);
    }

    fn observe(&mut self, effect: Effect) {
        assert!(!self.is_over, "nothing follows the end");
        match effect {
            Effect::Join { channel, .. } => {
                let before = self.joining.insert(channel.topic().to_string(), join_ref(&channel));
                assert_eq!(before, None, "the join before it has been answered");
                self.joins.push(channel);
            }
            Effect::Push { channel, reply_to, .. } => {
                let join_ref = join_ref(&channel);
                assert!(self.answered.contains(&join_ref), "joined before it gets pushes");
                assert!(!self.left.contains(&join_ref), "no push after the leave");
                self.replies.extend(reply_to);
            }
            Effect::Leave { channel } => {
                assert!(self.left.insert(join_ref(&channel)), "left once");
            }
            Effect::Send(Frame::Text(text)) => {
                let frame: Value = serde_json::from_slice(&text).unwrap();
                self.observe_frame(&frame);
            }
            Effect::Send(Frame::Binary(_)) => panic!("nothing binary was sent"),
            Effect::Close { code, .. } => assert_ne!(code, 1000),
            Effect::Ended => self.is_over = true,
        }
    }

    fn observe_frame(&mut self, frame: &Value) {
        let [join_ref, reference] = [0, 1].map(|at| frame[at].as_str().map(str::to_owned));
        let topic = frame[2].as_str().unwrap();
        let event = frame[3].as_str().unwrap();
        let is_answer = event == "phx_reply";

        if let Some(joining) = self.joining.get(topic).cloned() {
            let is_join_answer = is_answer && reference.as_ref() == Some(&joining);
            assert!(is_join_answer, "the answer to the join comes first: {frame}");
            self.joining.remove(topic);
            self.answered.insert(joining);
        }
        let answered = reference.as_ref().filter(|_| is_answer);
        if let Some(answers) = answered.and_then(|name| self.requests.get_mut(name)) {
            *answers += 1;
            assert_eq!(*answers, 1, "one answer to each request: {frame}");
        }
        let Some(join_ref) = join_ref else { return };
        if let Some(refs_then) = self.ended.get(&join_ref) {
            let asked_later =
                reference.is_some_and(|name| name.parse::<u64>().unwrap() > *refs_then);
            assert!(is_answer && asked_later, "nothing follows the end of a channel: {frame}");
        }
        if matches!(event, "phx_close" | "phx_error") {
            assert!(self.left.contains(&join_ref), "the caller has stopped writing: {frame}");
            self.ended.insert(join_ref, self.refs);
        } else if !is_answer {
            assert!(self.answered.contains(&join_ref), "joined before it speaks: {frame}");
            assert!(!self.left.contains(&join_ref), "nothing said after the leave: {frame}");
        }
    }
}

fn pick<T: Clone>(which: &Index, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| which.get(from).clone())
}

fn join_ref(channel: &Channel) -> String {
    channel.join_ref().unwrap().as_str().to_owned()
}
