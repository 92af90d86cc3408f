//! Rest of a join: what a client is told of a topic before its news.

use std::sync::Arc;

use instep_model::presence::{After, Greeting};
use instep_node::Topic;
use instep_protocol::payload::rows::{Push, Pushes};

/// Rest of a join: what a client is sent of a topic before its news.
pub(crate) enum Rest {
    /// Rows and changes.
    Rows(Pushes),
    /// Presence list, behind a place: as it is when its turn comes, because later changes wait in
    /// the ring behind it.
    Present(Arc<Topic>, Option<After>),
}

impl Rest {
    /// Presence list of a topic, behind a place.
    pub(crate) fn of_presence(topic: Arc<Topic>, after: After) -> Self {
        Self::Present(topic, Some(after))
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Rows(pushes) => pushes.bytes(),
            // It is cut from bytes that all subscribers share.
            Self::Present(..) => size_of::<After>(),
        }
    }
}

impl Iterator for Rest {
    type Item = Push;

    fn next(&mut self) -> Option<Push> {
        match self {
            Self::Rows(pushes) => pushes.next(),
            Self::Present(topic, after) => {
                let Greeting { told, rest } = topic.greet_on(&after.take()?)?;
                *after = rest;
                let (event, payload) = (told.event.into(), told.payload.into());
                Some(Push { event, payload, position: None })
            }
        }
    }
}
