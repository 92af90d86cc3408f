//! What a push of a client leads to.

use bytes::Bytes;
use instep_node::LiveError;
use instep_node::ring::Payload;
use instep_protocol::encode::Body;
use instep_protocol::session::{Channel, ReplyTo};
use serde_json::{Value, json};

use super::{Answer, Joined, Outside};
use crate::door::House;
use crate::rules::Push;

pub(super) fn ask(
    joined: Option<&mut Joined>,
    channel: Channel,
    reply_to: Option<ReplyTo>,
    event: String,
    payload: Body,
    house: &House,
) -> Answer {
    let now = |answer| Answer::Now(Outside::Answered(reply_to.clone(), answer));
    let rule = house.rules_for(channel.topic()).and_then(|rules| rules.push.clone());
    let Some(rule) = rule else {
        return now(publish(joined, &event, payload, house));
    };
    let Body::Json(text) = payload else {
        return now(Err(json!({"reason": "json_wanted"})));
    };
    match parse(&text) {
        Ok(payload) => {
            let topic = channel.topic().to_string();
            let answer = rule(house.node().clone(), Push { topic, event, payload });
            Answer::Later(Box::pin(async move { Outside::Answered(reply_to, answer.await) }))
        }
        Err(refusal) => now(Err(refusal)),
    }
}

fn parse(text: &Bytes) -> Result<Value, Value> {
    serde_json::from_slice(text)
        .map_err(|error| json!({"reason": "bad_json", "detail": error.to_string()}))
}

/// Without a rule, a push is published to the topic if its pattern lets clients do that.
fn publish(
    joined: Option<&mut Joined>,
    event: &str,
    payload: Body,
    house: &House,
) -> Result<Value, Value> {
    let Some(joined) = joined.filter(|joined| joined.anyone_publishes) else {
        return Err(json!({
            "reason": "push_refused", "detail": "this topic takes nothing from clients",
        }));
    };
    let payload = match payload {
        Body::Json(bytes) => Payload::Json(bytes),
        Body::Binary(bytes) => Payload::Binary(bytes),
    };
    let published = house.node().publish_to(joined.subscription.topic(), event, payload);
    published.map(|_| json!({})).map_err(|error| refusal(&error))
}

fn refusal(error: &LiveError) -> Value {
    let reason = match error {
        LiveError::Unmatched { .. } => "unmatched_topic",
        LiveError::TooLarge { .. } => "payload_too_large",
        LiveError::Event { .. } => "bad_event",
    };
    json!({"reason": reason, "detail": error.to_string()})
}
