//! Why a command did not do what was asked, and the exit code that says so.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use instep::StartError;
use instep_embedded::error::OpenError;

/// Why a command failed. The exit codes are documented in `docs/reference/cli.md`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Arguments, a configuration or an input that make no sense.
    #[error("{0}")]
    Usage(String),
    /// The data is damaged.
    #[error("{0}")]
    Damaged(String),
    /// Another process has the data.
    #[error("{0}")]
    InUse(String),
    /// The address cannot be listened on.
    #[error("{0}")]
    Listen(String),
    /// Files cannot be read or written.
    #[error("{0}")]
    Storage(String),
    /// The system refuses what every program gets.
    #[error("{0}")]
    System(String),
    /// The output cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(std::io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Damaged(_) => 4,
            Self::InUse(_) => 5,
            Self::Listen(_) => 6,
            Self::Storage(_) | Self::System(_) | Self::Output(_) => 7,
        }
    }

    /// Says it on stderr. A reader of stdout who has seen enough is no failure.
    pub(crate) fn report(self) -> ExitCode {
        if matches!(&self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let _ = writeln!(std::io::stderr().lock(), "instep: {self}");
        ExitCode::from(self.code())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match &error {
            StartError::Config(_) => Self::Usage(text),
            StartError::Listen { .. } => Self::Listen(text),
            StartError::Engine { error, .. } => of_engine(error, text),
            StartError::Data { .. }
            | StartError::Open { .. }
            | StartError::Table { .. }
            | StartError::Node(_) => Self::Storage(text),
        }
    }
}

/// Sorts what the engine says about a directory.
pub(crate) fn of_engine(error: &OpenError, text: String) -> Failure {
    match error {
        OpenError::Locked { .. } => Failure::InUse(text),
        OpenError::Damaged(_)
        | OpenError::RepairUnfinished { .. }
        | OpenError::OtherIncarnation { .. } => Failure::Damaged(text),
        OpenError::ReadOnly { .. }
        | OpenError::StorageFull { .. }
        | OpenError::NewerFormat { .. }
        | OpenError::SyncFailed { .. }
        | OpenError::Storage { .. } => Failure::Storage(text),
    }
}
