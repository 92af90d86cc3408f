//! A client and its session, and a short language for what goes between them.

mod joins;
mod messages;
mod socket;

use super::*;
use crate::reference::Ref;

/// A client and the channels behind its session.
struct Client {
    session: Session,
    now: u64,
    joins: Vec<Channel>,
    pushes: Vec<ReplyTo>,
}

impl Client {
    fn new() -> Self {
        Self::with(Options::websocket(Vsn::V2))
    }

    fn with(options: Options) -> Self {
        Self { session: Session::new(options, 0), now: 0, joins: vec![], pushes: vec![] }
    }

    /// Joined to `room:1` with join_ref 3.
    fn joined() -> Self {
        let mut client = Self::new();
        client.silently(r#"["3","3","room:1","phx_join",{}]"#);
        let (channel, response) = (client.channel(0), "{}".into());
        let outcome = JoinOutcome::Accepted { response };
        client.takes(SharedEvent::JoinAnswered { channel, outcome });
        client
    }

    fn channel(&self, join: usize) -> Channel {
        self.joins[join].clone()
    }

    #[track_caller]
    fn says(&mut self, frame: &str, effects: &[&str]) {
        assert_eq!(self.takes(Event::Received(Incoming::Text(frame))), effects);
    }

    #[track_caller]
    fn says_bytes(&mut self, frame: &[u8], effects: &[&str]) {
        assert_eq!(self.takes(Event::Received(Incoming::Binary(frame))), effects);
    }

    fn silently(&mut self, frame: &str) {
        self.takes(Event::Received(Incoming::Text(frame)));
    }

    #[track_caller]
    fn joins_answered(&mut self, join: usize, is_accepted: bool, effects: &[&str]) {
        let (channel, response) = (self.channel(join), format!(r#"{{"n":{join}}}"#).into());
        let outcome = if is_accepted {
            JoinOutcome::Accepted { response }
        } else {
            JoinOutcome::Refused { response }
        };
        assert_eq!(self.takes(SharedEvent::JoinAnswered { channel, outcome }), effects);
    }

    #[track_caller]
    fn replies(&mut self, push: usize, status: &str, effects: &[&str]) {
        let (reply_to, response) = (self.pushes[push].clone(), Body::Json("{}".into()));
        assert_eq!(self.takes(SharedEvent::Replied { reply_to, status, response }), effects);
    }

    #[track_caller]
    fn pushes(&mut self, join: usize, event: &str, effects: &[&str]) {
        let (channel, json) = (self.channel(join), format!(r#"{{"p":{join}}}"#));
        let payload = Body::Json(json.into());
        assert_eq!(self.takes(SharedEvent::Pushed { channel, event, payload }), effects);
    }

    #[track_caller]
    fn ends(&mut self, join: usize, how: Ending, effects: &[&str]) {
        let channel = self.channel(join);
        assert_eq!(self.takes(SharedEvent::ChannelEnded { channel, how }), effects);
    }

    fn takes<'a>(&mut self, event: impl Into<Event<'a>>) -> Vec<String> {
        self.session.handle(event, self.now);
        let mut shown = Vec::new();
        while let Some(effect) = self.session.next_effect() {
            shown.push(show(&effect));
            match effect {
                Effect::Join { channel, .. } => self.joins.push(channel),
                Effect::Push { reply_to, .. } => self.pushes.extend(reply_to),
                _ => {}
            }
        }
        shown
    }
}

fn show(effect: &Effect) -> String {
    let name = |reference: Option<&Ref<'_>>| {
        reference.map_or("-".to_owned(), |reference| format!("{reference:?}"))
    };
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    match effect {
        Effect::Join { channel, params } => {
            format!("join {} {} {}", channel.topic(), name(channel.join_ref()), text(params))
        }
        Effect::Push { channel, reply_to, event, payload } => {
            let reference = name(reply_to.as_ref().map(ReplyTo::reference));
            let payload = match payload {
                Body::Json(json) => text(json),
                Body::Binary(bytes) => {
                    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("<{}>", hex.join(" "))
                }
            };
            format!("push {} {reference} {event} {payload}", channel.topic())
        }
        Effect::Leave { channel } => {
            format!("leave {} {}", channel.topic(), name(channel.join_ref()))
        }
        Effect::Send(Frame::Text(bytes)) => format!("< {}", text(bytes)),
        Effect::Send(Frame::Binary(bytes)) => format!("< {:02x?}", &bytes[..]),
        Effect::Close { code, reason } => format!("close {code} {reason}"),
        Effect::Ended => "ended".to_owned(),
    }
}

fn unmatched(topic: &str, reference: &str) -> String {
    error(&format!(r#"null,"{reference}","{topic}""#), "unmatched topic")
}

fn error(address: &str, reason: &str) -> String {
    format!(r#"< [{address},"phx_reply",{{"status":"error","response":{{"reason":"{reason}"}}}}]"#)
}

/// The answer to a request whose payload is no JSON object.
fn no_object(address: &str) -> String {
    let response = r#"{"code":"payload_not_object","reason":"the payload must be a JSON object"}"#;
    format!(r#"< [{address},"phx_reply",{{"status":"error","response":{response}}}]"#)
}

/// Expected answer to a frame that named no request.
fn complaint(code: &str, message: &str) -> String {
    format!(r#"< [null,null,"phoenix","error",{{"code":"{code}","message":"{message}"}}]"#)
}
