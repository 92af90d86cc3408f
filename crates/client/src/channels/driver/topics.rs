//! The topics of a socket: joined, lost, joined again where they were left.

use std::time::Duration;

use instep_model::live::{GAP_EVENT, LivePlace, UNCOUNTED_EVENTS};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::Instant;

use super::{Answer, Command, Driver, Waiting};
use crate::backoff::Backoff;
use crate::channels::frame::{Content, Frame};
use crate::channels::{ChannelError, ChannelEvent};

/// Waits before a topic that failed is joined again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Refusals that pass by themselves: the server is not ready yet, or was asked too much at once.
const PASSING: &[&str] = &["loading", "overloaded", "position_ahead", "rate_limited", "stopped"];

/// Resume point: place up to which a reader is complete.
enum ResumePoint {
    Position(String),
    Live(LivePlace),
}

/// A topic that was asked for.
pub(super) struct Topic {
    params: Value,
    /// Complete up to here: a position, or the place in a live topic.
    since: Option<ResumePoint>,
    /// Ref of the newest join; messages of another one are of the past.
    join_ref: u64,
    joined: bool,
    /// Reply to the caller of the first join; none once it was sent.
    first: Option<Answer>,
    events: mpsc::Sender<ChannelEvent>,
    /// The topic has failed and is joined again then.
    pub(super) rejoin_at: Option<Instant>,
    backoff: Backoff,
}

impl Driver {
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Join { topic, reply, .. } if self.topics.contains_key(&topic) => {
                let _ = reply.send(Err(ChannelError::AlreadyJoined));
                tracing::debug!(topic, "joined already");
            }
            Command::Join { reply, .. } if self.socket.is_none() => {
                let _ = reply.send(Err(ChannelError::Disconnected));
            }
            Command::Join { topic, params, events, reply } => {
                let since =
                    params["since"].as_str().map(|since| ResumePoint::Position(since.to_owned()));
                let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
                let (first, join_ref, joined, rejoin_at) = (Some(reply), 0, false, None);
                let entry =
                    Topic { params, since, join_ref, joined, first, events, rejoin_at, backoff };
                self.topics.insert(topic.clone(), entry);
                self.send_join(&topic).await;
            }
            Command::Push { topic, event, payload, reply } => match self.topics.get(&topic) {
                None => {
                    let _ = reply.send(Err(ChannelError::Ended));
                }
                Some(entry) if self.socket.is_none() || !entry.joined => {
                    let _ = reply.send(Err(ChannelError::Disconnected));
                }
                Some(entry) => {
                    let join_ref = Some(entry.join_ref);
                    let waiting = Waiting::Push { reply };
                    self.send(join_ref, &topic, &event, &payload, waiting).await;
                }
            },
            Command::Leave { topic, reply } => self.leave(&topic, reply).await,
        }
    }

    pub(super) async fn leave(&mut self, topic: &str, reply: Option<Answer>) {
        // The same topic may have been joined anew: that reader is there.
        let left = self.topics.get(topic).is_some_and(|entry| entry.events.is_closed());
        let entry = if left { self.topics.remove(topic) } else { None };
        let join_ref = entry.map(|entry| entry.join_ref);
        match (join_ref, reply) {
            (Some(_), reply) if self.socket.is_some() => {
                let waiting = Waiting::Leave { reply };
                self.send(join_ref, topic, "phx_leave", &json!({}), waiting).await;
            }
            (_, Some(reply)) => {
                let _ = reply.send(Ok(Value::Null));
            }
            (_, None) => {}
        }
    }

    /// Joins a topic where it was left.
    pub(super) async fn send_join(&mut self, topic: &str) {
        let Some(entry) = self.topics.get_mut(topic) else { return };
        entry.rejoin_at = None;
        let mut params = entry.params.clone();
        if let Some(params) = params.as_object_mut() {
            params.remove("since");
            if let Some(since) = &entry.since {
                let since = match since {
                    ResumePoint::Position(position) => position.clone(),
                    ResumePoint::Live(place) => place.to_string(),
                };
                params.insert("since".into(), since.into());
            }
        }
        let waiting = Waiting::Join { topic: topic.to_owned() };
        // The ref is known before the answer can be, because nothing is read meanwhile.
        let join_ref = self.send(None, topic, "phx_join", &params, waiting).await;
        if let Some(entry) = self.topics.get_mut(topic) {
            entry.join_ref = join_ref;
        }
    }

    pub(super) fn join_answered(&mut self, topic: &str, answer: Result<Value, ChannelError>) {
        let Some(entry) = self.topics.get_mut(topic) else { return };
        match answer {
            Ok(reply) => {
                entry.joined = true;
                entry.backoff.reset();
                // Without a position the rows are still to come: until their bookmark there is
                // nothing to go on after.
                let position = reply["position"].as_str();
                entry.since = position
                    .map(|position| ResumePoint::Position(position.to_owned()))
                    .or_else(|| LivePlace::deserialize(&reply).ok().map(ResumePoint::Live));
                match entry.first.take() {
                    Some(first) => {
                        let _ = first.send(Ok(reply));
                    }
                    None => self.emit(topic, ChannelEvent::Joined(reply)),
                }
            }
            Err(error) => match entry.first.take() {
                Some(first) => {
                    let _ = first.send(Err(error));
                    self.topics.remove(topic);
                }
                None => self.rejoin_refused(topic, error),
            },
        }
    }

    fn rejoin_refused(&mut self, topic: &str, error: ChannelError) {
        let ChannelError::Refused(reason) = error else {
            return self.rejoin_later(topic);
        };
        if reason["reason"].as_str().is_some_and(|code| PASSING.contains(&code)) {
            self.rejoin_later(topic)
        } else {
            self.end(topic, reason)
        }
    }

    /// A join was not answered in time: the server shall forget it.
    pub(super) async fn join_failed(&mut self, topic: &str, error: ChannelError) {
        let Some(entry) = self.topics.get(topic) else { return };
        let (join_ref, is_first) = (Some(entry.join_ref), entry.first.is_some());
        let waiting = Waiting::Leave { reply: None };
        self.send(join_ref, topic, "phx_leave", &json!({}), waiting).await;
        if is_first { self.join_answered(topic, Err(error)) } else { self.rejoin_later(topic) }
    }

    fn rejoin_later(&mut self, topic: &str) {
        if let Some(entry) = self.topics.get_mut(topic) {
            entry.joined = false;
            entry.rejoin_at = Some(Instant::now() + entry.backoff.next_wait());
        }
    }

    /// Takes a frame that is no reply.
    pub(super) fn receive_on_topic(&mut self, frame: Frame) {
        let Frame { join_ref, topic, event, payload, .. } = frame;
        let Some(entry) = self.topics.get_mut(&topic) else { return };
        if join_ref.is_some_and(|join_ref| join_ref != entry.join_ref) {
            return;
        }
        match &*event {
            "phx_error" => {
                self.emit(&topic, ChannelEvent::Lost);
                self.rejoin_later(&topic);
            }
            "phx_close" => self.end(&topic, json!({"reason": "closed"})),
            _ => {
                let read = match &payload {
                    Content::Json(payload) => payload,
                    Content::Bytes(_) | Content::Unreadable(_) => &Value::Null,
                };
                match &mut entry.since {
                    Some(ResumePoint::Live(place)) => go_on(place, &event, read),
                    since => {
                        if let Some(position) = read["position"].as_str() {
                            *since = Some(ResumePoint::Position(position.to_owned()));
                        }
                    }
                }
                self.emit(
                    &topic,
                    match payload {
                        Content::Json(payload) => ChannelEvent::Event { event, payload },
                        Content::Bytes(bytes) => ChannelEvent::Bytes { event, bytes },
                        Content::Unreadable(problem) => {
                            tracing::warn!(topic, event, problem, "a payload cannot be read");
                            ChannelEvent::Unreadable { event: Some(event), problem }
                        }
                    },
                );
            }
        }
    }

    /// Tells the readers of all topics that something came which cannot be read.
    pub(super) fn tell_unreadable(&mut self, problem: &str) {
        tracing::warn!(problem, "a frame of the server cannot be read");
        let joined = self.topics.iter().filter(|(_, entry)| entry.joined);
        let topics: Vec<String> = joined.map(|(topic, _)| topic.clone()).collect();
        for topic in topics {
            let problem = problem.to_owned();
            self.emit(&topic, ChannelEvent::Unreadable { event: None, problem });
        }
    }

    pub(super) fn topics_lost(&mut self) {
        let topics: Vec<String> = self.topics.keys().cloned().collect();
        for topic in topics {
            let Some(entry) = self.topics.get_mut(&topic) else { continue };
            entry.rejoin_at = None;
            if let Some(first) = entry.first.take() {
                let _ = first.send(Err(ChannelError::Disconnected));
                self.topics.remove(&topic);
            } else if std::mem::replace(&mut entry.joined, false) {
                self.emit(&topic, ChannelEvent::Lost);
            }
        }
    }

    fn end(&mut self, topic: &str, reason: Value) {
        self.emit(topic, ChannelEvent::Ended(reason));
        self.topics.remove(topic);
    }

    /// Hands over an event, behind those that wait already.
    fn emit(&mut self, topic: &str, event: ChannelEvent) {
        let Some(entry) = self.topics.get(topic) else { return };
        let event = if self.undelivered.is_empty() {
            match entry.events.try_send(event) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return self.abandoned.push(topic.to_owned());
                }
                Err(mpsc::error::TrySendError::Full(event)) => event,
            }
        } else {
            event
        };
        self.undelivered.push_back((entry.events.clone(), event));
    }

    /// Delivers the first undelivered event: there is room for it, or its reader has gone.
    pub(super) fn deliver(&mut self, room: Result<OwnedPermit<ChannelEvent>, ()>) {
        let first = self.undelivered.pop_front();
        if let (Ok(room), Some((_, event))) = (room, first) {
            room.send(event);
        }
    }
}

/// Counts a message of a live topic.
fn go_on(place: &mut LivePlace, event: &str, payload: &Value) {
    if event == GAP_EVENT {
        if let Ok(behind) = LivePlace::deserialize(payload) {
            *place = behind;
        }
    } else if !UNCOUNTED_EVENTS.contains(&event) {
        place.offset += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_presence_is_not_and_a_gap_says_where_it_ends() {
        let mut place = LivePlace { epoch: "a".into(), offset: 3 };

        for event in ["said", "presence_diff", "presence_state", "presence_count", "said"] {
            go_on(&mut place, event, &json!({}));
        }
        assert_eq!(place.to_string(), "a-5");
        go_on(&mut place, "gap", &json!({"missed": 4, "epoch": "a", "offset": 9}));

        assert_eq!(place.to_string(), "a-9");
    }
}
