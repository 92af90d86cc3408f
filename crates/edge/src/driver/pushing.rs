//! Pushes of clients, and their answers.

use bytes::Bytes;
use instep_access::{Action, Credential};
use instep_model::json::read_value;
use instep_model::limits;
use instep_model::ring::Payload;
use instep_protocol::encode::Body;
use instep_protocol::payload::params;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Answer, Completion, Joined, PushRequest, mail, presence};
use crate::rules::Push;
use crate::state::EdgeState;

pub(super) fn ask(
    mut joined: Option<&mut Joined>,
    push: PushRequest,
    credential: &Credential,
    edge: &EdgeState,
) -> Answer {
    if let Some(mail_role) = joined.as_deref().and_then(|joined| joined.mail.as_deref()) {
        return mail::push(mail_role, push, credential, edge);
    }
    let PushRequest { channel, reply_to, event, payload } = push;
    let now = |answer| Answer::Now(Completion::answered(reply_to.clone(), answer));
    let rule = edge.rules_for(channel.topic()).and_then(|rules| rules.push.clone());
    // Who may join may say that it is there.
    if let (None, presence::EVENT, Some(joined), Body::Json(text)) =
        (&rule, &*event, &mut joined, &payload)
        && let Some(presence) = &mut joined.presence
    {
        let topic = joined.subscription.topic();
        let taken = parse(text, limits::CARRIED_DEPTH)
            .and_then(|push| presence.take_push(topic, &push, edge));
        return now(taken.map(|()| json!({})));
    }
    let joined = joined.as_deref();
    // Who answers a push decides about it as well, as long as no rights are declared.
    let open = rule.is_some() || joined.is_some_and(|joined| joined.anyone_publishes);
    if let Err(refusal) = edge.may(credential, Action::Publish, channel.topic(), open) {
        return now(Err(match refusal {
            instep_access::Refusal::KeyRequired => Refusal::Closed,
            refusal => refusal.into(),
        }));
    }
    let Some(rule) = rule else {
        return now(publish(joined, &event, payload, edge));
    };
    let Body::Json(text) = payload else {
        return now(Err(Refusal::JsonWanted));
    };
    match parse(&text, limits::VALUE_DEPTH) {
        Ok(payload) => {
            let topic = channel.topic().to_string();
            let answer = rule(edge.node().clone(), Push { topic, event, payload });
            Answer::Later(Box::pin(async move {
                Completion::answered(reply_to, answer.await.map_err(Refusal::Rule))
            }))
        }
        Err(refusal) => now(Err(refusal)),
    }
}

/// Publishes for a client that has joined nothing. The rules of an application are for clients that
/// have, because a rule may have let them in.
pub(super) fn announce(push: PushRequest, credential: &Credential, edge: &EdgeState) -> Completion {
    let PushRequest { channel, reply_to, event, payload } = push;
    let (topic, node) = (channel.topic(), edge.node());
    let open = node.anyone_publishes(topic);
    let answer = match edge.may(credential, Action::Publish, topic, open) {
        Err(refusal) => Err(refusal.into()),
        Ok(()) if edge.rules_for(topic).is_some_and(|rules| rules.push.is_some()) => {
            Err(Refusal::Closed)
        }
        Ok(()) => {
            let published = node.publish(topic, &event, of_body(payload));
            published.map(|_| json!({})).map_err(Refusal::from)
        }
    };
    Completion::answered(reply_to, answer)
}

/// The token that a push brings: `{"access_token": "…"}`.
pub(super) fn token(payload: Body) -> Result<String, Refusal> {
    let Body::Json(text) = payload else {
        return Err(Refusal::JsonWanted);
    };
    let payload = parse(&text, limits::CARRIED_DEPTH)?;
    params::token_of(&payload).map(str::to_owned).ok_or(Refusal::TokenWanted)
}

fn parse(text: &Bytes, levels: usize) -> Result<Value, Refusal> {
    read_value(text, levels).map_err(Refusal::Inexact)
}

/// Without a rule, a push is published to the topic if it is a live one.
fn publish(
    joined: Option<&Joined>,
    event: &str,
    payload: Body,
    edge: &EdgeState,
) -> Result<Value, Refusal> {
    let Some(joined) = joined.filter(|joined| joined.dataset.is_none()) else {
        return Err(Refusal::Closed);
    };
    let payload = of_body(payload);
    let published = edge.node().publish_to(joined.subscription.topic(), event, payload);
    published.map(|()| json!({})).map_err(Refusal::from)
}

fn of_body(body: Body) -> Payload {
    match body {
        Body::Json(bytes) => Payload::Json(bytes),
        Body::Binary(bytes) => Payload::Binary(bytes),
    }
}
