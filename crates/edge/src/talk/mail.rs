//! Servers that take their mail: joining `server:ID` is to register, and what is pushed there is
//! about messages.

use bytes::Bytes;
use instep_access::{Action, Credential};
use instep_node::mail::{MailError, Registration, SERVER_PREFIX, Told, Wish};
use instep_node::{Listener, Node};
use instep_protocol::encode::Body;
use instep_protocol::session::{Channel, ChannelId, Ending, Event, JoinOutcome};
use serde_json::{Value, json};

use super::pushing::Asked;
use super::{Answer, Joined, Outside, Talk, Wants};
use crate::house::House;

/// True for topics by which servers register.
pub(super) fn is_server(topic: &str) -> bool {
    topic.starts_with(SERVER_PREFIX)
}

/// Registers a server, for a client whose right to that was checked.
pub(super) fn register(channel: Channel, params: &Value, house: &House) -> Answer {
    let wish = match Wish::of(channel.topic(), params) {
        Ok(wish) => wish,
        Err(error) => return Answer::Now(Outside::Refused(channel, refused(&error))),
    };
    let node = house.node().clone();
    Answer::Later(Box::pin(async move {
        match node.register(wish).await {
            Ok(registration) => Outside::Registered(channel, Box::new(registration)),
            Err(error) => Outside::Refused(channel, refused(&error)),
        }
    }))
}

/// What a registered server says of its messages.
pub(super) fn push(joined: &Joined, push: Asked, credential: &Credential, house: &House) -> Answer {
    let Asked { channel, reply_to, event, payload } = push;
    let now = |answer| Answer::Now(Outside::Answered(reply_to.clone(), answer));
    if let Err(refusal) = house.may(credential, Action::Register, channel.topic(), false) {
        return now(Err(super::refused(&refusal)));
    }
    let Body::Json(text) = payload else {
        return now(Err(json!({"reason": "json_wanted"})));
    };
    let Some(registration) = &joined.mail else {
        return now(Err(json!({"reason": "push_refused"})));
    };
    match registration.say(&event, &text) {
        Ok(said) => {
            let answer = async move {
                let said = said.await.map(|reply| reply.to_json());
                Outside::Answered(reply_to, said.map_err(|error| refused(&error)))
            };
            Answer::Later(Box::pin(answer))
        }
        Err(error) => now(Err(refused(&error))),
    }
}

/// A refusal as clients see it.
fn refused(error: &MailError) -> Value {
    json!({"reason": error.code(), "detail": error.to_string()})
}

impl Talk {
    /// Enters a server that was registered.
    pub(super) fn enter_server(
        &mut self,
        channel: Channel,
        registration: Box<Registration>,
        house: &House,
        listener: &Listener,
        wants: &mut Wants,
    ) -> Option<ChannelId> {
        let node: &Node = house.node();
        let subscription = node.topics().subscribe(channel.topic(), listener);
        let response = Bytes::from(registration.greeting().to_string());
        let outcome = JoinOutcome::Accepted { response };
        self.tell(Event::JoinAnswered { channel: channel.clone(), outcome }, house.now(), wants);
        if !self.speaker.is_joined(&channel) {
            return None;
        }
        registration.listen(listener.clone());
        let joined =
            Joined { mail: Some(registration), ..Joined::new(channel.clone(), subscription) };
        self.joined.push(joined);
        Some(channel.id())
    }

    /// Tells a server some of what waits for it; how many messages that were, and whether there is
    /// more.
    pub(crate) fn tell_server(
        &mut self,
        id: ChannelId,
        (most, bytes): (usize, usize),
        now: u64,
        wants: &mut Wants,
    ) -> (usize, bool) {
        let (mut count, mut size) = (0, 0);
        while count < most && size < bytes {
            let Some(joined) = self.find(id) else { return (count, false) };
            let Some(told) = joined.mail.as_ref().and_then(|registration| registration.take())
            else {
                return (count, false);
            };
            let channel = joined.channel.clone();
            let (event, payload) = told.event();
            size += payload.len();
            count += 1;
            self.push(&channel, event, payload, now, wants);
            if told == Told::Replaced {
                wants.left.extend(self.leave(id));
                self.tell(Event::ChannelEnded { channel, how: Ending::Closed }, now, wants);
                return (count, false);
            }
        }
        (count, true)
    }
}

impl Joined {
    /// True when it is a server that takes its mail.
    pub(crate) fn is_server(&self) -> bool {
        self.mail.is_some()
    }
}
