//! Mail on one node: bodies, registrations of servers, and the task that gives messages out.

pub(crate) mod bodies;
mod handle;
mod port;
mod pulling;
mod registration;
mod requests;
mod sending;
mod told;

use std::time::Duration;

use bytes::Bytes;
use instep_model::limits;
use instep_model::mail::delivery::{Counts, Times};
use instep_model::mail::kinds::is_server;
use instep_model::mail::{MailRules, Seq};
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_model::registration::Generation;
use instep_protocol::payload::mail::Outcomes;
use instep_protocol::payload::mail::words::{self, WordsError};
pub use instep_protocol::payload::mail::words::{Answer, Answers, Nack, Reject};
use serde_json::Value;

pub use self::bodies::BodyCounts;
pub(crate) use self::handle::MailHandle;
pub(crate) use self::port::{Calls, Port};
pub(crate) use self::pulling::Pulls;
pub use self::pulling::{Kept, Pull, Pulled};
pub use self::registration::{Registration, Said};
pub use self::sending::{Letters, QUEUE_PREFIX, SendRefusal, Sent, SentMessage};
pub use self::told::{Delivery, Push};

/// Prefix of the topics on which servers take their mail.
pub const SERVER_PREFIX: &str = "server:";

/// Mail options of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct MailOptions {
    /// Rules that the owner applies: kinds of endpoints, routes, retries and retention.
    pub rules: MailRules,
    /// Lease duration and answer timeout.
    pub times: Times,
    /// Age from which a pending message is an alarm.
    pub alarm_age: Duration,
}

impl Default for MailOptions {
    fn default() -> Self {
        let alarm_age = Duration::from_secs(limits::MAIL_ALARM_AGE_S);
        Self { rules: MailRules::default(), times: Times::default(), alarm_age }
    }
}

/// Refusal of a request about mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// No such dataset, or none with mail; or the topic names no server.
    #[error("no dataset with mail stands behind it")]
    Unmatched,
    /// The dataset is there, and keeps no mail.
    #[error("dataset {dataset} keeps no mail: it has no queue")]
    NoMail {
        /// The dataset.
        dataset: Name,
    },
    /// The dataset is there, and not open.
    #[error("the dataset that keeps the mail is not open")]
    Unavailable,
    /// Several datasets keep mail, and none was named.
    #[error("several datasets keep mail: say which in `dataset`")]
    Which,
    /// The request is malformed.
    #[error("{0}")]
    Bad(String),
    /// The event is unknown.
    #[error("{event:?} is not {known}")]
    Event {
        /// Event that was sent.
        event: String,
        /// Events that are known.
        known: &'static str,
    },
    /// There was no such registration yet.
    #[error("this server has no registration {generation}: the newest is {newest}")]
    NotRegistered {
        /// Generation that was shown.
        generation: Generation,
        /// The newest of the server.
        newest: Generation,
    },
    /// Fenced: another registration has taken over.
    #[error("another registration of this server has taken over")]
    Fenced,
    /// Limit of registrations of the client's address.
    #[error("this address takes the mail of as many servers as it may")]
    Crowded,
    /// Limit of registrations in all.
    #[error("there is no place for another registration")]
    Full,
    /// Limit of what waits for the delivery.
    #[error("too much waits for the mail of this dataset: try again")]
    Busy,
    /// The owner refused.
    #[error("{}", .0.detail())]
    Refused(#[from] Refusal),
    /// The owner refused the messages of a request.
    #[error(transparent)]
    Unsent(#[from] SendRefusal),
}

impl From<WordsError> for MailError {
    fn from(error: WordsError) -> Self {
        match error {
            WordsError::Bad(detail) => Self::Bad(detail),
            WordsError::Event { event, known } => Self::Event { event, known },
        }
    }
}

impl MailError {
    /// The stable code that clients see.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unmatched => "unmatched topic",
            Self::NoMail { .. } => "no_mail",
            Self::Unavailable => "dataset_unavailable",
            Self::Which => "dataset_wanted",
            Self::Bad(_) => "bad_json",
            Self::Event { .. } => "bad_event",
            Self::NotRegistered { .. } => "not_registered",
            Self::Fenced => "fenced",
            Self::Crowded => "too_many_registrations",
            Self::Full | Self::Busy => "overloaded",
            Self::Refused(refusal) => refusal.code(),
            Self::Unsent(unsent) => unsent.refusal.code(),
        }
    }
}

/// Counters of a dataset's mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// Counters of deliveries.
    pub delivery: Counts,
    /// The bodies.
    pub bodies: BodyCounts,
    /// Bodies that were not what was stored, so far.
    pub damaged: u64,
    /// Answers of registrations that had been replaced, so far.
    pub fenced: u64,
}

/// Registration request: a server, and how its mail is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterParams {
    /// The server.
    pub server: String,
    /// The dataset, if it was said.
    pub dataset: Option<String>,
    /// Messages that may be unconfirmed.
    pub credit: usize,
    /// The messages that it has, if it says so.
    pub have: Option<Vec<Seq>>,
}

impl RegisterParams {
    /// Reads a topic and the parameters of a join.
    ///
    /// # Errors
    /// [`MailError::Bad`] and [`MailError::Unmatched`].
    pub fn of(topic: &str, params: &Value) -> Result<Self, MailError> {
        let server = topic.strip_prefix(SERVER_PREFIX).filter(|server| is_server(server));
        let server = server.ok_or(MailError::Unmatched)?.to_owned();
        let bad =
            |field: &str, wanted: &str| MailError::Bad(format!("{field}: {wanted} is wanted"));
        let said = |field: &str| params.get(field).filter(|value| !value.is_null());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let dataset =
            said("dataset").map(|value| text(value).ok_or_else(|| bad("dataset", "a name")));
        let credit = match said("credit") {
            None => limits::MAIL_CREDIT,
            Some(credit) => {
                let window = credit.as_u64().and_then(|credit| usize::try_from(credit).ok());
                words::credit("credit", window.unwrap_or(usize::MAX))?
            }
        };
        let have = said("have").map(|have| {
            let list =
                have.as_array().map(|list| list.iter().map(|seq| seq.as_u64().map(Seq)).collect());
            let list: Option<Vec<Seq>> = list.flatten();
            let list = list.ok_or_else(|| bad("have", "a list of numbers of messages"))?;
            words::few("have", list).map_err(MailError::from)
        });
        Ok(Self { server, dataset: dataset.transpose()?, credit, have: have.transpose()? })
    }
}

/// Outcome of an answer about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The message.
    pub seq: Seq,
    /// One of [`instep_model::mail::outcome`].
    pub outcome: i64,
}

/// Reply to a server's event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is noted.
    Noted,
    /// Outcomes, one for each message.
    Answered(Vec<Answered>),
}

impl Reply {
    /// The reply as clients see it, as JSON.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let Self::Answered(all) = self else { return Bytes::from_static(b"{}") };
        Outcomes::new(all.iter().map(|one| (one.seq, one.outcome))).encode()
    }
}
