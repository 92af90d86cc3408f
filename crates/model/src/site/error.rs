//! Refusals of operations on sites.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::name::Name;
use crate::position::Revision;
use crate::registration::Generation;
use crate::site::Stand;

/// Refusal of an operation on a site. In bytes a variant has its number, so new ones stand at the
/// end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SiteError {
    /// There is no such site.
    #[error("there is no such site: it registers first")]
    Unknown,
    /// Only a dump brings the site to a position that it can go on from.
    #[error("a dump is required: {0}")]
    DumpRequired(String),
    /// Another registration of the site has taken over.
    #[error("another registration of the site has taken over: {newest} is the newest")]
    Fenced {
        /// The newest registration.
        newest: Generation,
    },
    /// The position belongs to another history.
    #[error("position: it belongs to another history of the dataset")]
    OtherHistory,
    /// The position lies ahead of the log.
    #[error("position: it lies ahead of the log, which ends at entry {head}")]
    Ahead {
        /// The newest entry.
        head: Revision,
    },
    /// The site was registered with other tables or journals.
    #[error("tables, journals: the site follows others; it needs a dump for these")]
    OtherScope,
    /// The source of the dump cannot give one.
    #[error("source: {0:?} is no site that can give a dump: {1}")]
    BadSource(Name, String),
    /// The name is no site's.
    #[error("the name {0:?} is reserved")]
    ReservedName(Name),
    /// The dataset has as many sites as it may.
    #[error("the dataset has {} sites, the limit", limits::SITES)]
    TooMany,
    /// The operation does not fit the site's state.
    #[error("the site is {0}")]
    WrongState(String),
    /// The scope names too much.
    #[error("tables, journals: more than {} names, the limit", limits::SITE_NAMES)]
    ScopeTooLarge,
    /// The site stands at another record than the one to be left out.
    #[error("the site stands at {}", stand_in_words(.0))]
    StandsElsewhere(Option<Stand>),
    /// Too many records of one commit were to be left out.
    #[error(
        "{} records of the commit are left out, the limit: the site needs a dump",
        limits::SITE_SKIPS
    )]
    TooManySkips,
    /// The position lies before what is kept.
    #[error("position: the log begins at entry {floor}")]
    Trimmed {
        /// The oldest entry that is kept.
        floor: Revision,
    },
}

fn stand_in_words(stand: &Option<Stand>) -> String {
    match stand {
        None => "no record that it has named".to_owned(),
        Some(Stand { position, record: None }) => format!("all of the commit {position}"),
        Some(Stand { position, record: Some(record) }) => {
            format!("record {record} of the commit {position}")
        }
    }
}

impl SiteError {
    /// The site is to go to another position first.
    #[must_use]
    pub fn seeking() -> Self {
        Self::WrongState("to go to another position".to_owned())
    }

    /// The stable code that clients see.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_site",
            Self::DumpRequired(_) => "dump_required",
            Self::Fenced { .. } => "fenced",
            Self::OtherHistory => "other_history",
            Self::Ahead { .. } => "position_ahead",
            Self::OtherScope => "other_scope",
            Self::BadSource(..) => "bad_source",
            Self::ReservedName(_) => "reserved_name",
            Self::TooMany => "too_many_sites",
            Self::WrongState(_) => "wrong_state",
            Self::ScopeTooLarge => "too_large",
            Self::StandsElsewhere(_) => "stands_elsewhere",
            Self::TooManySkips => "too_many_skips",
            Self::Trimmed { .. } => "position_trimmed",
        }
    }
}
