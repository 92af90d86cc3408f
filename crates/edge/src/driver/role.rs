//! Roles that a client takes by joining a topic, and the right to each.

use instep_access::{Action, Credential, Refusal, Resource, Wanted};
use instep_model::commit::Need;
use instep_model::name::Name;
use instep_node::Dataset;
use instep_node::mail::{QUEUE_PREFIX, Registration, SERVER_PREFIX};

use crate::permits::Permit;
use crate::state::EdgeState;

/// Role that a client takes by joining a topic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// It gets what is published there.
    Subscriber,
    /// It takes a server's mail, in a dataset that is known or not yet.
    Server { dataset: Option<&'a str> },
    /// It sends messages.
    Queue { dataset: &'a str, queue: &'a str },
}

/// Membership in a topic of mail.
pub(crate) enum MailRole {
    /// It takes a server's mail, and has a place among the registrations.
    Server { dataset: Dataset, registration: Registration, _permit: Permit },
    /// It sends messages.
    Sender { dataset: Dataset, queue: Name },
}

impl MailRole {
    pub(super) fn dataset(&self) -> &Dataset {
        match self {
            Self::Server { dataset, .. } | Self::Sender { dataset, .. } => dataset,
        }
    }

    /// Role of the client, by which its right is checked again.
    pub(super) fn role(&self) -> Role<'_> {
        match self {
            Self::Server { dataset, .. } => Role::Server { dataset: Some(dataset.name().as_str()) },
            Self::Sender { dataset, queue } => {
                Role::Queue { dataset: dataset.name().as_str(), queue: queue.as_str() }
            }
        }
    }
}

impl<'a> Role<'a> {
    /// Reads the role from the topic. On the Janus wire each client is a subscriber: it has no word
    /// for a message that is confirmed.
    pub(super) fn of(topic: &'a str, is_channels: bool) -> Self {
        if !is_channels {
            return Self::Subscriber;
        }
        if topic.starts_with(SERVER_PREFIX) {
            return Self::Server { dataset: None };
        }
        match topic.strip_prefix(QUEUE_PREFIX).and_then(|path| path.split_once('/')) {
            Some((dataset, queue)) => Self::Queue { dataset, queue },
            None => Self::Subscriber,
        }
    }

    /// The right to it.
    pub(super) fn may(
        self,
        topic: &str,
        credential: &Credential,
        edge: &EdgeState,
    ) -> Result<(), Refusal> {
        match self {
            Self::Subscriber => edge.may(credential, Action::Join, topic, false),
            Self::Server { dataset: None } => edge.may(credential, Action::Register, topic, false),
            Self::Server { dataset: Some(dataset) } => {
                edge.may_do(credential, Action::Register, Resource::Mailbox { dataset, topic })
            }
            Self::Queue { dataset, queue } => Wanted::of(Need::Write(queue), dataset)
                .decide(|action, resource| edge.may_do(credential, action, resource)),
        }
    }
}
