//! Session machine of a client, by the wire that it speaks.

use instep_protocol::janus::Token;
use instep_protocol::janus::session::{self as janus, JanusSession};
use instep_protocol::session::{Channel, Effect, Event, Session};
use instep_protocol::vsn::Vsn;

pub(super) enum SessionMachine {
    /// The messages of Channels.
    Channels(Session),
    /// The Janus wire. Elsewhere: the others are many, and smaller.
    Janus(Box<Janus>),
}

pub(super) struct Janus {
    session: JanusSession,
    /// The key that the credential is of.
    known: Option<Box<str>>,
}

impl SessionMachine {
    pub(super) fn janus(session: JanusSession) -> Self {
        Self::Janus(Box::new(Janus { session, known: None }))
    }

    pub(super) fn is_channels(&self) -> bool {
        matches!(self, Self::Channels(_))
    }

    pub(super) fn handle(&mut self, event: Event<'_>, now: u64) {
        match self {
            Self::Channels(session) => session.handle(event, now),
            Self::Janus(janus) => {
                // Its frames are no messages, and only a PONG is a sign of life.
                if let Event::Shared(event) = event {
                    janus.session.handle(event, now);
                }
            }
        }
    }

    /// Hands over what only this wire knows.
    pub(super) fn hear(&mut self, event: janus::Event<'_>, now: u64) {
        match self {
            Self::Channels(_) => {}
            Self::Janus(janus) => janus.session.handle(event, now),
        }
    }

    /// The next effect. `attach` is given the session that should have this client's connection,
    /// which only the Janus wire knows.
    pub(super) fn next_effect(&mut self, attach: &mut Option<Token>) -> Option<Effect> {
        match self {
            Self::Channels(session) => session.next_effect(),
            Self::Janus(janus) => loop {
                match janus.session.next_effect()? {
                    janus::Effect::Shared(effect) => return Some(effect),
                    janus::Effect::Attach { token } => *attach = Some(token),
                }
            },
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match self {
            Self::Channels(session) => session.next_deadline(),
            Self::Janus(janus) => janus.session.next_deadline(),
        }
    }

    pub(super) fn is_joined(&self, channel: &Channel) -> bool {
        match self {
            Self::Channels(session) => session.is_joined(channel),
            Self::Janus(janus) => janus.session.is_joined(channel),
        }
    }

    pub(super) fn vsn(&self) -> Vsn {
        match self {
            Self::Channels(session) => session.vsn(),
            Self::Janus(_) => Vsn::V2,
        }
    }

    /// The token of a session on the Janus wire.
    pub(super) fn token(&self) -> Option<Token> {
        match self {
            Self::Channels(_) => None,
            Self::Janus(janus) => Some(janus.session.token()),
        }
    }

    pub(super) fn is_detached(&self) -> bool {
        match self {
            Self::Channels(_) => false,
            Self::Janus(janus) => janus.session.is_detached(),
        }
    }

    /// A key that was shown and not looked at yet.
    pub(super) fn new_key(&self) -> Option<&str> {
        match self {
            Self::Channels(_) => None,
            Self::Janus(janus) => {
                janus.session.key().filter(|key| janus.known.as_deref() != Some(key))
            }
        }
    }

    /// Notes that the credential is that of the key.
    pub(super) fn know_key(&mut self) {
        if let Self::Janus(janus) = self {
            janus.known = janus.session.key().map(Into::into);
        }
    }
}
