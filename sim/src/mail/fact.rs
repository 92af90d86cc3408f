//! Facts about mail, as a sender, a server and a reader of the log see them.

use instep_model::commit::Record;
use instep_model::mail::{MailRecord, Seq};
use instep_model::position::Place;
use instep_model::registration::Generation;
use uuid::Uuid;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A sender wants a letter stored.
    Sent {
        /// Names the letter, whatever ids it is sent under.
        letter: u64,
        /// The id.
        id: Uuid,
    },
    /// A sender was told that a letter is stored.
    Accepted {
        /// The id.
        id: Uuid,
        /// The number of its message.
        seq: Seq,
    },
    /// An entry is in the log.
    Stored {
        /// Its number.
        revision: u64,
        /// Its time.
        time_ms: u64,
        /// Notes of its commits.
        commits: Vec<Vec<Noted>>,
    },
    /// Readers have the state up to this entry.
    Shown {
        /// The entry.
        revision: u64,
    },
    /// The hub died and came up again.
    Restarted,
    /// A process registered for a server.
    Joined {
        /// The server.
        server: &'static str,
        /// The registration.
        generation: Generation,
        /// Credit: messages that it takes at a time.
        credit: usize,
        /// The messages that it says it has.
        have: Option<Vec<Seq>>,
    },
    /// The hub has seen that a registration ended.
    Left {
        /// The server.
        server: &'static str,
        /// The registration.
        generation: Generation,
    },
    /// The delivery has chosen messages for a server.
    Chosen {
        /// The server.
        server: &'static str,
        /// The registration.
        generation: Generation,
        /// The messages.
        seqs: Vec<Seq>,
        /// Messages that the registration has been given now and has not answered.
        unconfirmed: usize,
        /// Time of the clock.
        now_ms: u64,
    },
    /// A message was written to a server.
    Given {
        /// The server.
        server: &'static str,
        /// The registration.
        generation: Generation,
        /// The message.
        seq: Seq,
        /// Time of the clock.
        now_ms: u64,
    },
    /// A server was asked about messages.
    Asked {
        /// The server.
        server: &'static str,
        /// The registration.
        generation: Generation,
        /// The messages.
        seqs: Vec<Seq>,
    },
    /// A server was heard to say that it has not got messages.
    HasNot {
        /// The server.
        server: &'static str,
        /// The registration.
        generation: Generation,
        /// The messages.
        seqs: Vec<Seq>,
    },
    /// A server was heard to begin with a message.
    Began {
        /// The server.
        server: &'static str,
        /// The message.
        seq: Seq,
    },
    /// A server was heard to say that it failed.
    Failed {
        /// The server.
        server: &'static str,
        /// The message.
        seq: Seq,
    },
    /// A server has done what a message says, for good.
    Done {
        /// The server.
        server: &'static str,
        /// The message.
        seq: Seq,
    },
    /// The hub took a confirmation, or a failure, of a registration.
    Judged {
        /// The server.
        server: &'static str,
        /// The registration that spoke.
        generation: Generation,
        /// The message.
        seq: Seq,
        /// It was a failure.
        failed: bool,
        /// Outcome, as the reply to the commit states it.
        outcome: i64,
        /// The commit.
        place: Place,
    },
    /// Nothing comes any more, and every part had time to finish.
    Rested,
}

/// Note of a record, as far as it concerns mail.
#[derive(Debug, Clone, PartialEq)]
pub enum Noted {
    /// Of messages.
    Mail(MailRecord),
    /// A row of the directory: the endpoint, and its server.
    Route(String, String),
}

impl Noted {
    /// Note of a record, if it concerns mail.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        match record {
            Record::Mail(record) => Some(Self::Mail(record.clone())),
            Record::Put { table, key, row } if table.as_str() == "directory" => {
                let server = row.fields().get("server")?.as_str()?.to_owned();
                Some(Self::Route(key.as_str().to_owned(), server))
            }
            _ => None,
        }
    }
}
