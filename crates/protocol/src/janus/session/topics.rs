//! Topics of a session: joins, leaves and messages.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::{JanusSession, refusal_in};
use crate::encode::Body;
use crate::janus::codec;
use crate::session::{CLOSE_POLICY, Channel, Effect, Ending, JoinOutcome};

/// Event of the rows that a topic tells at the join, where it tells any.
const JOINED_EVENT: &str = "joined";

/// A topic of a session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) channel: Channel,
    /// Subscribes that wait for the answer to the join; none once it is joined.
    pub(super) waiting: usize,
}

impl JanusSession {
    pub(super) fn subscribe(&mut self, topic: &str) {
        if let Some(entry) = self.topics.get_mut(topic) {
            if entry.waiting == 0 {
                return self.acknowledge();
            }
            entry.waiting += 1;
            self.unanswered += 1;
            if self.unanswered > self.options.unanswered {
                self.say_error("overloaded", "too many subscribes wait for answers", None);
                self.close(CLOSE_POLICY, "too many subscribes");
            }
            return;
        }
        if self.topics.len() >= self.options.topics {
            return self.say_error("too_many_topics", "unsubscribe from another one", Some(topic));
        }
        let channel = self.new_channel(topic);
        let entry = Entry { channel: channel.clone(), waiting: 1 };
        self.topics.insert(Arc::clone(channel.topic()), entry);
        self.unanswered += 1;
        self.want(Effect::Join { channel, params: Bytes::from_static(b"{}") });
    }

    pub(super) fn unsubscribe(&mut self, topic: &str) {
        if let Some(Entry { channel, waiting }) = self.topics.remove(topic) {
            self.refuse(&channel, waiting, "cancelled", "unsubscribed before it was answered");
            self.want(Effect::Leave { channel });
        }
        self.acknowledge();
    }

    pub(super) fn join_answered(&mut self, channel: &Channel, outcome: JoinOutcome) {
        let Some(entry) = self.entry_of(channel) else {
            return;
        };
        let waiting = std::mem::take(&mut entry.waiting);
        if waiting == 0 {
            return;
        }
        match outcome {
            JoinOutcome::Accepted { response } => {
                self.unanswered -= waiting;
                (0..waiting).for_each(|_| self.acknowledge());
                if tells_something(&response) {
                    self.pushed(channel, JOINED_EVENT, &Body::Json(response));
                }
            }
            JoinOutcome::Refused { response } => {
                self.topics.remove(channel.topic());
                let refusal = refusal_in(&response);
                let code = refusal.reason.as_deref().unwrap_or("subscribe_refused");
                let message = refusal.detail.as_deref().unwrap_or("the topic refused it");
                self.refuse(channel, waiting, code, message);
            }
        }
    }

    pub(super) fn pushed(&mut self, channel: &Channel, event: &str, payload: &Body) {
        match payload {
            Body::Json(json) if self.is_joined(channel) => {
                let frame = codec::encode_message(self.time(), channel.topic(), event, json);
                self.send(frame);
            }
            Body::Json(_) | Body::Binary(_) => {}
        }
    }

    pub(super) fn channel_ended(&mut self, channel: &Channel, how: Ending) {
        let Some(Entry { waiting, .. }) = self.entry_of(channel) else {
            return;
        };
        let waiting = *waiting;
        self.topics.remove(channel.topic());
        let (code, message) = match how {
            Ending::Closed => ("topic_closed", "the topic is over"),
            Ending::Crashed => ("topic_failed", "the topic has failed, subscribe again"),
        };
        self.refuse(channel, waiting, code, message);
        if waiting == 0 {
            self.say_error(code, message, Some(channel.topic()));
        }
    }

    /// Answers the subscribes that wait on a topic that is gone.
    fn refuse(&mut self, channel: &Channel, waiting: usize, code: &str, message: &str) {
        self.unanswered -= waiting;
        (0..waiting).for_each(|_| self.say_error(code, message, Some(channel.topic())));
    }

    fn entry_of(&mut self, channel: &Channel) -> Option<&mut Entry> {
        self.topics.get_mut(channel.topic()).filter(|entry| entry.channel == *channel)
    }
}

/// Clients of old expect nothing but messages behind the ACK, and a live topic has no more to
/// tell. A view has: rows, and where they are from.
fn tells_something(response: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Reply<'a> {
        #[serde(borrow)]
        mode: Option<Cow<'a, str>>,
    }
    let mode = serde_json::from_slice::<Reply<'_>>(response).ok().and_then(|reply| reply.mode);
    mode.is_some_and(|mode| mode != "live")
}
