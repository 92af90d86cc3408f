//! Channels of a session: joins, leaves and pushes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::channel::{Channel, ChannelId, ClientPush, Entry, HeldMessage, Phase, ReplyTo};
use super::{CLOSE_POLICY, Effect, Ending, JoinOutcome, Session, address, answers};
use crate::encode::{self, Address, Body, Frame};
use crate::message::{self, Message, Payload};
use crate::reference::Ref;

impl Session {
    pub(super) fn join(&mut self, message: &Message<'_>, params: &str) {
        let replaced = match self.take(&message.topic) {
            Some(entry) => self.replace(entry),
            None if self.channels.len() >= self.options.channels => {
                return self.reply(&address(message), "error", answers::TOO_MANY_CHANNELS);
            }
            None => None,
        };
        let topic: Arc<str> = Arc::from(&*message.topic);
        let channel = Channel::new(
            ChannelId(self.next_number()),
            topic,
            message.join_ref.clone().map(Ref::into_owned),
            message.reference.clone().map(Ref::into_owned),
        );
        let phase = Phase::Joining { replaced, held: VecDeque::new() };
        self.channels.insert(Entry { channel: channel.clone(), phase });
        let params = Bytes::copy_from_slice(params.as_bytes());
        self.effects.push_back(Effect::Join { channel, params });
    }

    /// Shuts down a channel that is joined anew. Its close must wait for the answer to the new
    /// join, so the channel that the client believes in is handed back.
    fn replace(&mut self, Entry { channel, phase }: Entry) -> Option<Channel> {
        self.effects.push_back(Effect::Leave { channel: channel.clone() });
        match phase {
            Phase::Joining { replaced, held } => {
                self.reply(&channel.join_address(), "error", answers::JOIN_CANCELLED);
                self.decline(&channel, held);
                replaced
            }
            Phase::Joined { unanswered } => {
                self.answer_for(&channel, unanswered);
                Some(channel)
            }
        }
    }

    pub(super) fn leave(&mut self, message: &Message<'_>) {
        let to = address(message);
        match self.channels.get(&message.topic) {
            None => return self.reply(&to, "ok", answers::EMPTY),
            Some(entry) if !entry.channel.is_meant_by(to.join_ref) => return,
            Some(_) => {}
        }
        let Some(Entry { channel, phase }) = self.take(&message.topic) else {
            return;
        };
        self.effects.push_back(Effect::Leave { channel: channel.clone() });
        match phase {
            Phase::Joining { replaced, held } => {
                self.end_join(&channel, answers::JOIN_CANCELLED, replaced, held);
                self.reply(&to, "ok", answers::EMPTY);
            }
            Phase::Joined { unanswered } => {
                self.answer_for(&channel, unanswered);
                self.reply(&to, "ok", answers::EMPTY);
                self.say_closed(&channel);
            }
        }
    }

    pub(super) fn push(&mut self, message: &Message<'_>) {
        let to = address(message);
        let Some(entry) = self.channels.get(&message.topic) else {
            return self.unmatched(message);
        };
        if !entry.channel.is_meant_by(to.join_ref) {
            return;
        }
        if message::is_reserved_event(&message.event) {
            return self.answer(&to, answers::RESERVED_EVENT);
        }
        let push = ClientPush {
            reference: message.reference.clone().map(Ref::into_owned),
            event: message.event.clone().into_owned(),
            payload: match message.payload {
                Payload::Json(text) => Body::Json(Bytes::copy_from_slice(text.as_bytes())),
                Payload::Binary(bytes) => Body::Binary(Bytes::copy_from_slice(bytes)),
                Payload::Named(named) => Body::Json(named.to_json().into()),
            },
        };
        match entry.phase {
            Phase::Joining { .. } => self.hold(&message.topic, HeldMessage::Push(push)),
            Phase::Joined { .. } => self.deliver(&entry.channel.clone(), push),
        }
    }

    pub(super) fn join_answered(&mut self, channel: &Channel, outcome: JoinOutcome) {
        let Some((replaced, held)) = self.take_joining(channel) else {
            return;
        };
        match outcome {
            JoinOutcome::Refused { response } => {
                self.end_join(channel, &response, replaced, held);
            }
            JoinOutcome::Accepted { response } => {
                let phase = Phase::Joined { unanswered: BTreeMap::new() };
                let entry = Entry { channel: channel.clone(), phase };
                self.channels.insert(entry);
                self.reply(&channel.join_address(), "ok", &response);
                if let Some(old) = replaced {
                    self.say_closed(&old);
                }
                for held in held {
                    match held {
                        HeldMessage::Push(push) => self.deliver(channel, push),
                        HeldMessage::Answer(frame) | HeldMessage::ServerPush(frame) => {
                            self.effects.push_back(Effect::Send(frame));
                        }
                    }
                }
            }
        }
    }

    pub(super) fn replied(&mut self, reply_to: &ReplyTo, status: &str, response: &Body) {
        let ReplyTo { channel, number, reference } = reply_to;
        let Some(Phase::Joined { unanswered }) = self.phase_of(channel) else {
            return;
        };
        if unanswered.remove(number).is_none() {
            return;
        }
        self.unanswered -= 1;
        let to = channel.address(Some(reference));
        match response {
            Body::Json(json) => self.reply(&to, status, json),
            Body::Binary(bytes) => {
                let encoded = encode::binary_reply(&to, status, bytes);
                match encoded.ok().filter(|_| self.options.binary) {
                    Some(frame) => self.effects.push_back(Effect::Send(Frame::Binary(frame))),
                    None => self.reply(&to, "error", answers::NOT_ENCODABLE),
                }
            }
        }
    }

    pub(super) fn pushed(&mut self, channel: &Channel, event: &str, payload: &Body) {
        let (join_ref, topic) = (channel.join_ref(), channel.topic());
        let frame = match payload {
            Body::Json(json) => {
                let vsn = self.options.vsn;
                Frame::Text(encode::encode_push(vsn, join_ref, topic, event, json))
            }
            // A client that cannot take binary frames has no use for the bytes either.
            Body::Binary(_) if !self.options.binary => return,
            Body::Binary(bytes) => match encode::binary_push(join_ref, topic, event, bytes) {
                Ok(frame) => Frame::Binary(frame),
                Err(_) => return,
            },
        };
        match self.phase_of(channel) {
            Some(Phase::Joined { .. }) => self.effects.push_back(Effect::Send(frame)),
            Some(Phase::Joining { .. }) => self.hold(topic, HeldMessage::ServerPush(frame)),
            None => {}
        }
    }

    pub(super) fn channel_ended(&mut self, channel: &Channel, how: Ending) {
        if let Some((replaced, held)) = self.take_joining(channel) {
            return self.end_join(channel, answers::JOIN_CRASHED, replaced, held);
        }
        if self.phase_of(channel).is_none() {
            return;
        }
        let Some(Entry { phase, .. }) = self.take(channel.topic()) else {
            return;
        };
        if let Phase::Joined { unanswered } = phase {
            self.answer_for(channel, unanswered);
        }
        match how {
            Ending::Closed => self.say_closed(channel),
            Ending::Crashed => {
                self.send(encode::encode_error(self.options.vsn, &channel.end_address()));
            }
        }
    }

    /// Answers a request with an error; behind the answer to the join if its topic is joining.
    pub(super) fn answer(&mut self, to: &Address<'_>, response: &[u8]) {
        let frame = encode::encode_reply(self.options.vsn, to, "error", response);
        match self.channels.get(to.topic).map(|entry| &entry.phase) {
            Some(Phase::Joining { .. }) => {
                self.hold(to.topic, HeldMessage::Answer(Frame::Text(frame)))
            }
            Some(Phase::Joined { .. }) | None => self.send(frame),
        }
    }

    /// Answers a join with an error; the channel is gone already.
    fn end_join(
        &mut self,
        channel: &Channel,
        response: &[u8],
        replaced: Option<Channel>,
        held: VecDeque<HeldMessage>,
    ) {
        let mut to = channel.join_address();
        if response == answers::UNMATCHED_TOPIC {
            // Where no channel can be, Phoenix answers a join as it answers a push.
            to.join_ref = None;
        }
        self.reply(&to, "error", response);
        if let Some(old) = replaced {
            self.say_closed(&old);
        }
        self.decline(channel, held);
    }

    /// Answers the messages that waited for a join that failed.
    fn decline(&mut self, channel: &Channel, held: VecDeque<HeldMessage>) {
        for held in held {
            match held {
                HeldMessage::Push(ClientPush { reference, .. }) => {
                    let to = Address { join_ref: None, ..channel.address(reference.as_ref()) };
                    self.reply(&to, "error", answers::UNMATCHED_TOPIC);
                }
                HeldMessage::Answer(frame) => self.effects.push_back(Effect::Send(frame)),
                HeldMessage::ServerPush(_) => {}
            }
        }
    }

    /// Answers the pushes that a channel leaves behind.
    fn answer_for(&mut self, channel: &Channel, unanswered: BTreeMap<u64, Ref<'static>>) {
        self.unanswered -= unanswered.len();
        for reference in unanswered.values() {
            let to = channel.address(Some(reference));
            self.reply(&to, "error", answers::CHANNEL_CLOSED);
        }
    }

    fn say_closed(&mut self, channel: &Channel) {
        self.send(encode::encode_close(self.options.vsn, &channel.end_address()));
    }

    /// Hands a push to its joined channel, as long as there is credit.
    fn deliver(&mut self, channel: &Channel, push: ClientPush) {
        let ClientPush { reference, event, payload } = push;
        let reply_to = match reference {
            None => None,
            Some(reference) if self.unanswered >= self.options.unanswered_pushes => {
                let to = channel.address(Some(&reference));
                return self.reply(&to, "error", answers::OVERLOADED);
            }
            Some(reference) => Some(self.expect_reply(channel, reference)),
        };
        self.effects.push_back(Effect::Push { channel: channel.clone(), reply_to, event, payload });
    }

    fn expect_reply(&mut self, channel: &Channel, reference: Ref<'static>) -> ReplyTo {
        let number = self.next_number();
        if let Some(Phase::Joined { unanswered }) = self.phase_of(channel) {
            unanswered.insert(number, reference.clone());
            self.unanswered += 1;
        }
        ReplyTo { channel: channel.clone(), number, reference }
    }

    /// Keeps something until the join of its topic is answered. No client needs to send much
    /// before that, so one that does is sent away rather than served from memory.
    fn hold(&mut self, topic: &str, what: HeldMessage) {
        self.held_messages += 1;
        self.held_bytes += what.bytes();
        if self.held_messages > self.options.held_messages
            || self.held_bytes > self.options.held_bytes
        {
            return self.close(CLOSE_POLICY, "too much sent before a join was answered");
        }
        if let Some(Entry { phase: Phase::Joining { held, .. }, .. }) = self.channels.get_mut(topic)
        {
            held.push_back(what);
        }
    }

    fn phase_of(&mut self, channel: &Channel) -> Option<&mut Phase> {
        let entry = self.channels.get_mut(channel.topic())?;
        (entry.channel == *channel).then_some(&mut entry.phase)
    }

    /// Removes a channel that is still joining.
    fn take_joining(
        &mut self,
        channel: &Channel,
    ) -> Option<(Option<Channel>, VecDeque<HeldMessage>)> {
        let Some(Phase::Joining { .. }) = self.phase_of(channel) else {
            return None;
        };
        match self.take(channel.topic())?.phase {
            Phase::Joining { replaced, held } => Some((replaced, held)),
            Phase::Joined { .. } => None,
        }
    }

    /// Removes the channel of a topic; messages that it held no longer count.
    fn take(&mut self, topic: &str) -> Option<Entry> {
        let entry = self.channels.remove(topic)?;
        if let Phase::Joining { held, .. } = &entry.phase {
            self.held_messages -= held.len();
            self.held_bytes -= held.iter().map(HeldMessage::bytes).sum::<usize>();
        }
        Some(entry)
    }
}
