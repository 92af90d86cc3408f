//! Failures of commands, and the exit code of each.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use instep::{KeyError, StartError, StopError};
use instep_client::{ChannelError, Error as ClientError};
use instep_embedded::error::OpenError;
use serde_json::{Value, json};

use crate::access;

/// Failure of a command. The exit codes are documented in `docs/reference/cli.md`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server refused; the code is stable, the value is its whole answer.
    #[error("{words}")]
    Refused {
        /// The refusal in words, the code first.
        words: String,
        /// The refusal as the server sent it.
        answer: Value,
    },
    /// Arguments, a configuration or an input that make no sense.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be reached, or does not answer.
    #[error("{0}")]
    Connect(String),
    /// The data is damaged.
    #[error("{0}")]
    Damaged(String),
    /// Another process has the data.
    #[error("{0}")]
    InUse(String),
    /// Another agent has taken the site over.
    #[error("{0}")]
    Fenced(String),
    /// The address cannot be listened on.
    #[error("{0}")]
    Listen(String),
    /// Files cannot be read or written.
    #[error("{0}")]
    Storage(String),
    /// The system refuses a resource that every program gets.
    #[error("{0}")]
    System(String),
    /// Figures that were measured miss the limits that were given.
    #[error("missed: {0}")]
    Missed(String),
    /// Something was done, and something is left that could not be.
    #[error("{0}")]
    Incomplete(String),
    /// A server has ended without closing its data in order.
    #[error("{0}")]
    Unclosed(String),
    /// The output cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } => 1,
            Self::Usage(_) => 2,
            Self::Connect(_) => 3,
            Self::Damaged(_) => 4,
            Self::InUse(_) | Self::Fenced(_) => 5,
            Self::Listen(_) => 6,
            Self::Storage(_) | Self::System(_) | Self::Output(_) => 7,
            Self::Missed(_) => 8,
            Self::Incomplete(_) => 9,
            Self::Unclosed(_) => 10,
        }
    }

    /// The word for the kind of failure, for programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Usage(_) => "usage",
            Self::Connect(_) => "cannot_connect",
            Self::Damaged(_) => "damaged",
            Self::InUse(_) => "in_use",
            Self::Fenced(_) => "fenced",
            Self::Listen(_) => "cannot_listen",
            Self::Storage(_) | Self::System(_) | Self::Output(_) => "system",
            Self::Missed(_) => "missed",
            Self::Incomplete(_) => "incomplete",
            Self::Unclosed(_) => "unclosed",
        }
    }

    /// The same of something that is named; what the server refused names it by itself.
    pub(crate) fn about(self, what: &str) -> Self {
        let named = |text: String| format!("{what}: {text}");
        match self {
            Self::Usage(text) => Self::Usage(named(text)),
            Self::Connect(text) => Self::Connect(named(text)),
            other => other,
        }
    }

    /// Says it on stderr. A reader of stdout that has seen enough is no failure.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        if matches!(&self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let text = match (&self, json) {
            (Self::Refused { answer, .. }, true) => answer.to_string(),
            (other, true) => json!({"code": other.word(), "detail": other.to_string()}).to_string(),
            (other, false) => format!("instep: {other}"),
        };
        let _ = writeln!(std::io::stderr().lock(), "{text}");
        ExitCode::from(self.exit_code())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Refused(problem) => Self::refused(text, json!(problem)),
            ClientError::Address { .. } => Self::Usage(text),
            ClientError::Unreachable { .. }
            | ClientError::Lost { .. }
            | ClientError::OutcomeUnknown { .. }
            | ClientError::Unexpected { .. } => Self::Connect(text),
        }
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        let text = error.to_string();
        match error {
            ChannelError::Refused(answer) => Self::refused(text, with_code(answer)),
            ChannelError::Address { .. } | ChannelError::AlreadyJoined => Self::Usage(text),
            ChannelError::Unreadable(_)
            | ChannelError::Unreachable { .. }
            | ChannelError::Timeout
            | ChannelError::Disconnected
            | ChannelError::Ended => Self::Connect(text),
        }
    }
}

/// A refusal on a channel with the `code` that it has over HTTP: its `reason` as one word.
pub(crate) fn with_code(mut answer: Value) -> Value {
    if !answer.is_object() {
        answer = json!({"detail": answer});
    }
    let code = answer["code"].as_str().or(answer["reason"].as_str()).unwrap_or("refused");
    let code = code.replace(' ', "_");
    answer["code"] = code.into();
    answer
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Name { .. } | KeyError::Taken { .. } | KeyError::Unknown { .. } => {
                Self::Usage(error.to_string())
            }
            KeyError::Random(_) | KeyError::File(_) => Self::Storage(error.to_string()),
        }
    }
}

impl From<StopError> for Failure {
    fn from(error: StopError) -> Self {
        Self::Unclosed(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match &error {
            StartError::Config(_) => Self::Usage(text),
            StartError::Threads(_) => Self::System(text),
            StartError::Listen { .. } => Self::Listen(text),
            StartError::InUse { .. } => Self::InUse(text),
            StartError::Engine { error, .. } => Self::of_engine(error, text),
            StartError::Open { error, .. } if error.is_damage() => Self::Damaged(text),
            StartError::Data { .. }
            | StartError::Open { .. }
            | StartError::Table { .. }
            | StartError::Foreign { .. }
            | StartError::Directory { .. }
            | StartError::Empty { .. }
            | StartError::Descriptors { .. }
            | StartError::Node(_) => Self::Storage(text),
        }
    }
}

impl Failure {
    /// A refusal; one of a key says where the key came from.
    pub(crate) fn refused(words: String, mut answer: Value) -> Self {
        const OF_KEYS: [&str; 4] = ["key_required", "wrong_key", "token_invalid", "token_expired"];
        let is_of_key = answer["code"].as_str().is_some_and(|code| OF_KEYS.contains(&code));
        let Some(shown) = access::shown().filter(|_| is_of_key) else {
            return Self::Refused { words, answer };
        };
        answer["shown"] = shown.into();
        Self::Refused { words: format!("{words} ({shown})"), answer }
    }

    /// Sorts an error of the engine about a directory.
    pub(crate) fn of_engine(error: &OpenError, text: String) -> Self {
        match error {
            OpenError::Locked { .. } => Self::InUse(text),
            OpenError::Damaged(_)
            | OpenError::RepairUnfinished { .. }
            | OpenError::NoLog { .. }
            | OpenError::OtherIncarnation { .. } => Self::Damaged(text),
            OpenError::ReadOnly { .. }
            | OpenError::StorageFull { .. }
            | OpenError::Exhausted { .. }
            | OpenError::NewerFormat { .. }
            | OpenError::SyncFailed { .. }
            | OpenError::Storage { .. } => Self::Storage(text),
        }
    }
}
