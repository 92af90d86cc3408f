//! Mail: durable messages to typed endpoints, bound to a server when they are stored.
//!
//! What lives here: endpoints and kinds ([`kinds`]), records of messages ([`record`]), the state
//! that they add up to ([`Mail`]), and the delivery to servers ([`delivery`]). Bodies are not here:
//! they are in the log and where the node keeps them, by the number of their message.

pub mod delivery;
pub(crate) mod derived;
pub mod kinds;
mod numbers;
mod operation;
pub mod record;
mod state;
#[cfg(test)]
mod tests;

pub use kinds::{Endpoint, EndpointError, Kind, MailRules, Mapping, Origin};
pub use numbers::{EndpointNo, RegistrationId, Seq, ServerNo};
pub use operation::{Lease, MailOperation, NewMessage, sender};
pub use record::MailRecord;
pub use state::{
    Due, Keep, Mail, MailChange, MailPart, Message, QueueState, ServerState, Slot, Status,
};

/// The priority of a message that says none.
pub const PRIORITY: u8 = 4;
/// The highest priority.
pub const HIGHEST_PRIORITY: u8 = 9;

/// Outcomes that mail operations compute.
pub mod outcome {
    /// It is done.
    pub const OK: i64 = 0;
    /// It had ended already.
    pub const DONE: i64 = 1;
    /// Another registration of the server has taken over.
    pub const FENCED: i64 = 2;
    /// The message is routed elsewhere.
    pub const NOT_YOURS: i64 = 3;
    /// There is no such message, or not any more.
    pub const UNKNOWN: i64 = 4;
    /// There is no route.
    pub const NO_ROUTE: i64 = 5;
    /// The end of a range is no message that came over this connection.
    pub const NOT_GIVEN: i64 = 6;

    /// The word for an outcome.
    #[must_use]
    pub fn word(outcome: i64) -> &'static str {
        match outcome {
            OK => "ok",
            DONE => "done",
            FENCED => "fenced",
            NOT_YOURS => "not_yours",
            NO_ROUTE => "no_route",
            NOT_GIVEN => "not_given",
            _ => "unknown_message",
        }
    }
}
