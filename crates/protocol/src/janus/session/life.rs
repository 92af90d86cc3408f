//! The life of a session: from one connection to the next, and to its end.

use std::collections::VecDeque;

use bytes::Bytes;

use super::topics::Entry;
use super::{Effect, JanusSession};
use crate::janus::{Token, codec};
use crate::session::{CLOSE_RESTART, Effect as Shared};

/// Phase of a session, with its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Attached { due: u64, is_asked: bool, is_attaching: bool },
    Publishing { number: u64, due: u64, is_lost: bool },
    Detached { until: u64 },
    Over,
}

impl JanusSession {
    pub(super) fn ask_for(&mut self, wanted: Token) {
        if !self.topics.is_empty() {
            let message = "attach before anything is subscribed to";
            return self.say_error("attach_first", message, None);
        }
        if wanted == self.token {
            return self.say_error("attached_already", "this is that session", None);
        }
        if let Life::Attached { is_attaching, .. } = &mut self.life {
            *is_attaching = true;
        }
        self.effects.push_back(Effect::Attach { token: wanted });
    }

    pub(super) fn attach_refused(&mut self) {
        if let Life::Attached { is_attaching, .. } = &mut self.life
            && std::mem::take(is_attaching)
        {
            self.say_error("expired", "the session is gone, subscribe again", None);
        }
    }

    pub(super) fn attached(&mut self) {
        if !self.is_detached() {
            return;
        }
        self.attach();
        self.acknowledge();
        for frame in std::mem::take(&mut self.owed) {
            self.send(frame);
        }
        self.owed_bytes = 0;
    }

    pub(super) fn attach(&mut self) {
        let due = self.now.saturating_add(self.options.ping_ms);
        self.life = Life::Attached { due, is_asked: false, is_attaching: false };
    }

    pub(super) fn lost(&mut self) {
        match &mut self.life {
            // What was said before the hand was put down still counts.
            Life::Publishing { is_lost, .. } => *is_lost = true,
            Life::Attached { .. } if self.topics.is_empty() || self.options.detached_ms == 0 => {
                self.end();
            }
            Life::Attached { .. } => {
                let until = self.now.saturating_add(self.options.detached_ms);
                self.life = Life::Detached { until };
            }
            Life::Detached { .. } | Life::Over => {}
        }
    }

    pub(super) fn tick(&mut self) {
        if self.next_deadline().is_none_or(|deadline| self.now < deadline) {
            return;
        }
        match &mut self.life {
            Life::Attached { is_asked: true, .. } => {
                self.say_error("no_pong", "the last PING was not answered", None);
                self.close(CLOSE_RESTART, "no pong");
            }
            Life::Attached { due, is_asked, .. } => {
                *due = self.now.saturating_add(self.options.ping_ms);
                *is_asked = true;
                self.send(Bytes::from_static(codec::PING));
            }
            Life::Publishing { is_lost: false, .. } => {
                self.say_error("unanswered", "whether it was published is not known", None);
                self.close(CLOSE_RESTART, "unanswered publish");
            }
            Life::Publishing { .. } | Life::Detached { .. } => self.end(),
            Life::Over => {}
        }
    }

    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        let is_there = match self.life {
            Life::Attached { .. } | Life::Publishing { is_lost: false, .. } => true,
            Life::Publishing { .. } | Life::Detached { .. } | Life::Over => false,
        };
        self.leave_all();
        if is_there {
            self.want(Shared::Close { code, reason });
        }
        self.end();
    }

    pub(super) fn end(&mut self) {
        if self.life == Life::Over {
            return;
        }
        self.leave_all();
        self.owed = VecDeque::new();
        self.want(Shared::Ended);
        self.life = Life::Over;
    }

    fn leave_all(&mut self) {
        for (_, Entry { channel, .. }) in std::mem::take(&mut self.topics) {
            self.want(Shared::Leave { channel });
        }
        self.unanswered = 0;
    }
}
