//! Site: a copy of a dataset elsewhere, and its row in the table [`TABLE`].
//!
//! | a site is | becomes | by |
//! | --- | --- | --- |
//! | unknown | following | a registration from the beginning of the log, or from its head on |
//! | any | reserved | a registration with a dump: history is kept from its cursor on |
//! | reserved | dumping | its dump begins |
//! | reserved, dumping | following | a registration that goes on from the position of its dump |
//! | following, failed | following | a registration that goes on; paused: it stays so |
//! | catching up | live | an acknowledgement close to the head of the log |
//! | live | catching up | an acknowledgement far from it |
//! | any but evicted | failed | a record that it cannot apply |
//! | any but evicted | evicted | a fault that only a dump mends, or history beyond what is held |
//! | following, failed | paused, and back to following | an operator |
//! | failed | failed, with the order to leave a record out | an operator who names that record |
//! | following, failed | following, where its next registration sets it to | an operator |
//!
//! Following is: live close to the head of the log, catching up far from it. A paused site stays
//! paused in each state that it gets into by itself, and follows the log only when an operator says
//! so.
//!
//! The row says everything: the log, snapshots, views and readers of the table need to know
//! nothing of sites. Only [`decide`] changes it, for an operation that its own server proposes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::name::Name;
use crate::position::{Incarnation, Position, Revision};
use crate::registration::Generation;
use crate::row::Fields;
use crate::state::{State, Table};

mod decision;
mod error;
mod holding;
mod moment;
mod passage;
mod seeking;
mod standing;
#[cfg(test)]
mod tests;

pub use self::decision::{decide, held_by};
pub use self::error::SiteError;
pub use self::holding::{Holding, may_share, outrun};
pub use self::moment::{Change, Moment};
pub use self::passage::Passage;
pub use self::seeking::Seek;
pub use self::standing::{Skip, Stand, Tally, needs_dump};

/// The table that has a row for each site.
pub const TABLE: &str = "instep-sites";
/// The source of a dump that the server makes itself; no site may have this name.
pub const SERVER: &str = "server";

/// A site, as its row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// State of the site.
    pub state: SiteState,
    /// Reason of the state: of a failure or an eviction.
    #[serde(default)]
    pub reason: Option<String>,
    /// The newest registration.
    pub generation: Generation,
    /// Position up to which everything is applied; while a dump is made, the position from which
    /// history is held for it.
    pub cursor: Position,
    /// Position from which its newest registration has followed the log.
    #[serde(default, skip_serializing_if = "is_default")]
    pub start: Option<Position>,
    /// The tables and journals that it follows.
    #[serde(flatten)]
    pub scope: Scope,
    /// Source of its newest dump: [`SERVER`], or a site.
    #[serde(default)]
    pub source: Option<Name>,
    /// Time of the change to this state, in milliseconds since 1970.
    pub changed_ms: u64,
    /// An operator has paused it, whatever its state is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Record that it stands at while it is failed, if it has said so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stands: Option<Stand>,
    /// Records behind the cursor that it is to leave out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skips: Vec<Skip>,
    /// Position that its store is to be set to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seek: Option<Seek>,
    /// Differences between its store and the log, as far as it has told.
    #[serde(flatten)]
    pub tally: Tally,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// State of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// History is held for a dump that has not begun.
    Reserved,
    /// It takes a dump.
    Dumping,
    /// It applies the log, far from its head.
    CatchingUp,
    /// It applies the log, close to its head.
    Live,
    /// An operator has paused it.
    Paused,
    /// It stands at a record that it cannot apply.
    Failed,
    /// No history is held for it: it needs a dump.
    Evicted,
}

/// Tables and journals that a site follows; none named: all there are and will be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The tables.
    #[serde(default)]
    pub tables: Option<BTreeSet<Name>>,
    /// The journals.
    #[serde(default)]
    pub journals: Option<BTreeSet<Name>>,
}

/// Operation on a site. JSON has none: the API of sites proposes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SiteOperation {
    /// Registration. Computes the generation.
    Register {
        /// The site.
        site: Name,
        /// The tables and journals that it follows.
        scope: Scope,
        /// Its beginning.
        start: Start,
    },
    /// The dump of a site has begun.
    Dumping {
        /// The site.
        site: Name,
        /// Its registration.
        generation: Generation,
    },
    /// Everything up to a position is applied.
    Ack {
        /// The site.
        site: Name,
        /// Its registration.
        generation: Generation,
        /// The position.
        position: Position,
        /// Differences between its store and the log; none: as they were.
        tally: Option<Tally>,
    },
    /// The site cannot go on.
    Fail {
        /// The site.
        site: Name,
        /// Its registration.
        generation: Generation,
        /// Reason, in the words of its store.
        reason: String,
        /// Only a dump mends it.
        needs_dump: bool,
        /// The record that it stands at, if it is one.
        stands: Option<Stand>,
    },
    /// An operator pauses a site, or lets it go on.
    Pause {
        /// The site.
        site: Name,
        /// It is paused from now on.
        paused: bool,
    },
    /// History is held for a site no more.
    Evict {
        /// The site.
        site: Name,
        /// Its registration; a newer one is not evicted.
        generation: Generation,
        /// Reason.
        reason: String,
    },
    /// The site is no more.
    Remove {
        /// The site.
        site: Name,
    },
    /// An operator lets a site leave a record out.
    Skip {
        /// The site.
        site: Name,
        /// The record, which the site must stand at.
        at: Stand,
        /// Reason, in the words of the operator.
        reason: String,
    },
    /// An operator sets the position of a site.
    Seek {
        /// The site.
        site: Name,
        /// The position.
        to: Position,
        /// The oldest entry that is kept.
        floor: Revision,
    },
}

/// Start of a registered site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// At the first entry of the log, which must be kept.
    Beginning {
        /// The oldest entry that is kept.
        floor: Revision,
    },
    /// At the newest entry: it has everything so far by other means.
    Head,
    /// With a dump.
    Dump {
        /// [`SERVER`], or a site.
        source: Name,
        /// History is held from here on for a dump of it that is on its way, and shared.
        since: Option<Position>,
    },
    /// At the position where it stood.
    Resume {
        /// Position in the site's own store, which is the truth; none: the cursor is.
        position: Option<Position>,
        /// The oldest entry that is kept.
        floor: Revision,
    },
}

impl SiteOperation {
    /// The site.
    #[must_use]
    pub fn site(&self) -> &Name {
        match self {
            Self::Register { site, .. }
            | Self::Dumping { site, .. }
            | Self::Ack { site, .. }
            | Self::Fail { site, .. }
            | Self::Pause { site, .. }
            | Self::Evict { site, .. }
            | Self::Remove { site }
            | Self::Skip { site, .. }
            | Self::Seek { site, .. } => site,
        }
    }
}

impl SiteState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Reserved,
        Self::Dumping,
        Self::CatchingUp,
        Self::Live,
        Self::Paused,
        Self::Failed,
        Self::Evicted,
    ];

    /// True when history is held for the site.
    #[must_use]
    pub fn holds(self) -> bool {
        self != Self::Evicted
    }

    /// True when its store is that of its cursor, so that others may take a dump from it.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::CatchingUp | Self::Live)
    }
}

impl Site {
    /// The site as a row.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields,
            other => unreachable!("a site is an object of JSON: {other:?}"),
        }
    }

    /// Reads a row; none when it is not that of a site, which only a fault can write.
    #[must_use]
    pub fn from_bytes(row: &[u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }

    /// True while it is sent nothing, by the word of an operator.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused || self.state == SiteState::Paused
    }

    /// The oldest entry that is held for it.
    #[must_use]
    pub fn held(&self, incarnation: Incarnation) -> Option<Revision> {
        let place = self.cursor.place_in(incarnation).filter(|_| self.state.holds())?;
        Some(place.revision)
    }
}

impl Scope {
    /// True when it has this table.
    #[must_use]
    pub fn has_table(&self, table: &Name) -> bool {
        !crate::reserved::is_name(table.as_str())
            && self.tables.as_ref().is_none_or(|tables| tables.contains(table))
    }

    /// True when it has this journal.
    #[must_use]
    pub fn has_journal(&self, journal: &Name) -> bool {
        self.journals.as_ref().is_none_or(|journals| journals.contains(journal))
    }

    /// True when it names no more than it may.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        [&self.tables, &self.journals]
            .into_iter()
            .flatten()
            .all(|names| names.len() <= limits::SITE_NAMES)
    }
}

/// Sites of a dataset, by its table.
pub fn sites(state: &State) -> impl Iterator<Item = (&str, Site)> {
    let rows = table(state).into_iter().flat_map(|table| table.rows.iter());
    rows.filter_map(|(key, stored)| Some((key.as_str(), Site::from_bytes(stored.row.as_bytes())?)))
}

/// A site of a dataset.
#[must_use]
pub fn site(state: &State, name: &str) -> Option<Site> {
    Site::from_bytes(table(state)?.rows.get(name)?.row.as_bytes())
}

fn table(state: &State) -> Option<&Table> {
    state.tables.get(&Name::new(TABLE).ok()?)
}
