//! Joining: who may, and what is told then. What the reply carries, and what is pushed after it,
//! is decided by [`instep_protocol::payload::join`].

use std::net::IpAddr;
use std::sync::Arc;

use instep_model::json::read_value;
use instep_model::limits;
use instep_model::ring::{Frame as RingFrame, Payload};
use instep_node::{NodeJoined, Subscriber};
use instep_protocol::encode::{Body, Frame, binary_named_broadcast};
use instep_protocol::payload::join::{JoinLimits, Reply, reply};
use instep_protocol::payload::params;
use instep_protocol::payload::rows::{Push, Pushes};
use instep_protocol::session::{Channel, ChannelId, JoinOutcome, SharedEvent};
use serde_json::Value;

use super::mail;
use super::presence::{Joiner, PresenceHandle};
use super::refusal::Refusal;
use super::rest::Rest;
use super::role::Role;
use super::{Actions, Answer, Completion, Joined, Request, SessionDriver};
use crate::rules::JoinRequest;
use crate::state::EdgeState;

impl SessionDriver {
    /// Asks for the right, with the token that a join may bring along.
    pub(super) fn ask_join(
        &mut self,
        channel: Channel,
        params: &[u8],
        edge: &EdgeState,
        from: Option<IpAddr>,
    ) -> Answer {
        // Frames are checked as JSON, which may hold more than a value does: half a surrogate, a
        // number beyond a double. A join without what it brought would be another one.
        let params: Value = match params {
            [] => Value::Null,
            params => match read_value(params, limits::CARRIED_DEPTH) {
                Ok(params) => params,
                Err(inexact) => {
                    let refusal = Refusal::InexactParams(inexact);
                    return Answer::Now(Completion::Refused(channel, refusal));
                }
            },
        };
        let brought = params::token_of(&params);
        let renewed = brought.map_or(Ok(()), |token| self.renew(token, edge, from));
        let role = Role::of(channel.topic(), self.machine.is_channels());
        let may = renewed.and_then(|()| {
            let may = role.may(channel.topic(), &self.credential, edge);
            may.map_err(Refusal::from)
        });
        match (may, role) {
            (Err(reason), _) => Answer::Now(Completion::Refused(channel, reason)),
            (Ok(()), Role::Server { .. }) => {
                mail::register(channel, &params, &self.credential, (edge, from))
            }
            (Ok(()), Role::Queue { dataset, queue }) => {
                Answer::Now(match mail::open(dataset, queue, edge) {
                    Ok(mail_role) => Completion::Entered(channel, mail_role),
                    Err(reason) => Completion::Refused(channel, reason),
                })
            }
            (Ok(()), Role::Subscriber) => {
                let join = Joiner::of(&params, &self.credential, edge, from);
                ask(channel, params, Box::new(join), edge)
            }
        }
    }
}

/// Asks the rules, and waits for a topic that is not settled. Where no rule has a say and nothing
/// is to be waited for, the answer is there at once.
fn ask(channel: Channel, params: Value, join: Box<Joiner>, edge: &EdgeState) -> Answer {
    let rule = edge.rules_for(channel.topic()).and_then(|rules| rules.join.clone());
    let node = edge.node().clone();
    if rule.is_none() && node.is_settled(channel.topic()) {
        return Answer::Now(Completion::Allowed(channel, join));
    }
    Answer::Later(Box::pin(async move {
        let topic = channel.topic().to_string();
        if let Some(rule) = rule {
            let request = JoinRequest { topic: topic.clone(), params };
            if let Err(reason) = rule(node.clone(), request).await {
                return Completion::Refused(channel, Refusal::Rule(reason));
            }
        }
        node.settled(&topic).await;
        Completion::Allowed(channel, join)
    }))
}

/// Waits until the dataset behind a topic has told of the entry that it is busy with.
pub(super) fn wait(channel: Channel, join: Box<Joiner>, edge: &EdgeState) -> Answer {
    let node = edge.node().clone();
    Answer::Later(Box::pin(async move {
        node.settled(channel.topic()).await;
        Completion::Allowed(channel, join)
    }))
}

impl SessionDriver {
    /// Joins the topic and answers, then tells what did not fit the answer. While the dataset is
    /// busy with an entry, that is waited for instead: others are served by the same thread.
    pub(super) fn enter(
        &mut self,
        channel: Channel,
        mut join: Box<Joiner>,
        edge: &EdgeState,
        listener: &Subscriber,
        actions: &mut Actions,
    ) -> Option<ChannelId> {
        let (node, since) = (edge.node(), &join.params.since);
        let tried = match join.tries {
            limits::JOIN_TRIES.. => Some(node.join(channel.topic(), since, listener)),
            _ => node.try_join(channel.topic(), since, listener),
        };
        let Some(joined) = tried else {
            join.tries += 1;
            actions.requests.push_back(Request::Enter { channel, join });
            return None;
        };
        let (topic, now) = (channel.topic(), edge.now());
        let refuse = |driver: &mut Self, refusal: &Refusal, actions: &mut Actions| {
            edge.refusals().count(refusal.reason());
            let (channel, response) = (channel.clone(), refusal.payload());
            let outcome = JoinOutcome::Refused { response };
            driver.tell(SharedEvent::JoinAnswered { channel, outcome }, now, actions);
        };
        let joined = match joined {
            Ok(joined) => joined,
            Err(refused) => {
                refuse(self, &Refusal::Topic((**topic).into(), refused), actions);
                return None;
            }
        };
        let (response, entered) = match joined {
            NodeJoined::View { dataset, joined, subscription } => {
                let limits = JoinLimits::default();
                let since = join.params.since.position().flatten();
                let Reply { response, is_pending } = reply(&joined, since, limits);
                let entered = Joined {
                    position: Some(joined.position),
                    dataset: Some(dataset),
                    ..Joined::new(channel.clone(), subscription)
                };
                let rest = is_pending.then(|| Pushes::of_join(joined, limits));
                (response, (entered, Behind::View(rest)))
            }
            NodeJoined::Live(joined) => {
                // The Janus wire has no word for who is there.
                let presence = if self.machine.is_channels() {
                    PresenceHandle::take(joined.subscription.topic(), &join, edge)
                } else {
                    Ok(None)
                };
                let presence = match presence {
                    Ok(presence) => presence,
                    Err(refusal) => {
                        refuse(self, &refusal.into(), actions);
                        return None;
                    }
                };
                let response = joined.reply();
                let entered = Joined {
                    presence,
                    anyone_publishes: joined.anyone_publishes,
                    ..Joined::new(channel.clone(), joined.subscription)
                };
                let last = joined.last.map(|last| (last, join.params.takes_named));
                (response, (entered, Behind::Live(last)))
            }
        };
        let outcome = JoinOutcome::Accepted { response };
        self.tell(SharedEvent::JoinAnswered { channel: channel.clone(), outcome }, now, actions);
        self.machine.is_joined(&channel).then(|| self.follow(entered, now, actions))
    }

    /// Follows a topic that was joined, after what did not fit the answer.
    fn follow(
        &mut self,
        (mut joined, behind): (Joined, Behind),
        now: u64,
        actions: &mut Actions,
    ) -> ChannelId {
        let behind = match behind {
            Behind::View(rest) => {
                joined.rest = rest.map(|pushes| Box::new(Rest::Rows(pushes)));
                None
            }
            Behind::Live(last) => last,
        };
        let (channel, greeting) = (joined.channel.clone(), joined.greeting());
        if self.joined.len() < 4 {
            self.joined.reserve_exact(1);
        }
        self.joined.push(joined);
        match behind {
            None => {}
            Some((last, true))
                if self.takes_bytes() && matches!(last.payload, Payload::Binary(_)) =>
            {
                actions.frames.extend(named(channel.topic(), &last));
            }
            Some((last, _)) => {
                let payload = match &last.payload {
                    Payload::Json(json) => Body::Json(json.clone()),
                    Payload::Binary(bytes) => Body::Binary(bytes.clone()),
                };
                let (channel, event) = (channel.clone(), &*last.event);
                self.tell(SharedEvent::Pushed { channel, event, payload }, now, actions);
            }
        }
        self.greet(&channel, greeting, now, actions);
        channel.id()
    }

    /// Bytes that joins owe the client, about.
    pub(crate) fn owed(&self) -> usize {
        self.joined.iter().filter_map(|joined| Some(joined.rest.as_ref()?.bytes())).sum()
    }

    /// Tells the next of what a join owes, about so many bytes.
    pub(crate) fn tell_owed(
        &mut self,
        id: ChannelId,
        most: usize,
        now: u64,
        actions: &mut Actions,
    ) {
        let Some(joined) = self.find(id) else { return };
        let Some(mut rest) = joined.rest.take() else { return };
        let (channel, mut told, mut is_over) = (joined.channel.clone(), 0, false);
        while told < most && !is_over {
            match rest.next() {
                Some(Push { event, payload, .. }) => {
                    told += payload.len();
                    self.push(&channel, &event, payload, now, actions);
                }
                None => is_over = true,
            }
        }
        // It may have left, or have been sent away meanwhile.
        if let Some(joined) = self.find(id).filter(|_| !is_over) {
            joined.rest = Some(rest);
        }
    }
}

/// Content that follows the answer to a join.
enum Behind {
    /// Rows that did not fit it.
    View(Option<Pushes>),
    /// The newest message, for who has none. What was missed is read from the ring.
    /// Bytes have a kind of their own for some.
    Live(Option<(Arc<RingFrame>, bool)>),
}

/// A message of bytes as Supabase's clients take it.
fn named(topic: &str, message: &RingFrame) -> Option<Frame> {
    let Payload::Binary(bytes) = &message.payload else { return None };
    binary_named_broadcast(topic, &message.event, bytes).map(Frame::Binary).ok()
}
