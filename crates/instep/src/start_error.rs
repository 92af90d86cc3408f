//! Errors of a server that does not start.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use instep_edge::NoDescriptors;
use instep_embedded::error::OpenError as EngineError;
use instep_model::disk::Shortage;
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_node::NodeError;
use instep_node::dataset::OpenError;

use crate::config::{ConfigError, Fault};

/// Error of a server that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error("the data directory {path} cannot be used: {error}")]
    Data {
        /// The directory.
        path: PathBuf,
        /// Error of the operating system.
        error: std::io::Error,
    },
    /// Another server has the data directory.
    #[error("the data directory {path} is in use by another server")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Error of the operating system.
        error: std::io::Error,
    },
    /// The threads that every server needs cannot be started.
    #[error("the threads of the server cannot be started: {0}")]
    Threads(std::io::Error),
    /// The engine of a dataset does not open.
    #[error("dataset {dataset}: {error}")]
    Engine {
        /// The dataset.
        dataset: Name,
        /// Error of the engine.
        error: Box<EngineError>,
    },
    /// A dataset cannot be recovered.
    #[error("dataset {dataset}: {}{error}", of_file(file.as_deref()))]
    Open {
        /// The dataset.
        dataset: Name,
        /// The file of the log with the entry that is concerned.
        file: Option<PathBuf>,
        /// Error of the recovery.
        error: Box<OpenError>,
    },
    /// The directory of a dataset cannot be used.
    #[error("dataset {dataset}: {path} cannot be used: {error}")]
    Directory {
        /// The dataset.
        dataset: Name,
        /// The directory.
        path: PathBuf,
        /// Error of the system.
        error: std::io::Error,
    },
    /// Something else lies where a dataset would be.
    #[error("{path} is there and is no dataset: it was not made by a server")]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// An empty directory lies where a dataset would be.
    #[error(
        "{path} is an empty directory: is a disk missing that should be mounted there? Where there \
         is to be a new dataset, remove the directory"
    )]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// A table that is not declared public any more cannot be closed.
    #[error("dataset {dataset}, table {table}: {refusal}")]
    Table {
        /// The dataset.
        dataset: Name,
        /// The table.
        table: Name,
        /// Refusal of the commit that would close it.
        refusal: Box<Refusal>,
    },
    /// Descriptors are kept for connections.
    #[error("dataset {dataset}: {error}")]
    Descriptors {
        /// The dataset.
        dataset: Name,
        /// Reason of the refusal.
        error: NoDescriptors,
    },
    /// The node is full.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl StartError {
    /// True when what is stored is not what was written: another try would not find more.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Engine { error, .. } => error.is_damage(),
            Self::Open { error, .. } => error.is_damage(),
            Self::Foreign { .. } => true,
            Self::Config(_)
            | Self::Data { .. }
            | Self::InUse { .. }
            | Self::Listen { .. }
            | Self::Threads(_)
            | Self::Directory { .. }
            | Self::Empty { .. }
            | Self::Table { .. }
            | Self::Descriptors { .. }
            | Self::Node(_) => false,
        }
    }

    /// True when there was no space.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Engine { error, .. } => matches!(**error, EngineError::StorageFull { .. }),
            Self::Data { error, .. } | Self::Directory { error, .. } => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Table { refusal, .. } => matches!(**refusal, Refusal::StorageFull(_)),
            Self::Config(_)
            | Self::InUse { .. }
            | Self::Listen { .. }
            | Self::Threads(_)
            | Self::Open { .. }
            | Self::Empty { .. }
            | Self::Foreign { .. }
            | Self::Descriptors { .. }
            | Self::Node(_) => false,
        }
    }

    /// True when the system had no thread, no descriptor or no memory.
    pub(crate) fn is_exhausted(&self) -> bool {
        match self {
            Self::Engine { error, .. } => matches!(**error, EngineError::Exhausted { .. }),
            Self::Open { error, .. } => error.is_exhausted(),
            Self::Data { error, .. } | Self::Directory { error, .. } | Self::Threads(error) => {
                Shortage::of(error) == Some(Shortage::Resources)
            }
            Self::Table { refusal, .. } => matches!(**refusal, Refusal::ResourcesExhausted(_)),
            Self::Descriptors { .. } => true,
            Self::Config(_)
            | Self::InUse { .. }
            | Self::Listen { .. }
            | Self::Empty { .. }
            | Self::Foreign { .. }
            | Self::Node(_) => false,
        }
    }
}

fn of_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!("{}: ", file.display()))
}

impl From<Fault> for StartError {
    fn from(fault: Fault) -> Self {
        Self::Config(fault.into())
    }
}
