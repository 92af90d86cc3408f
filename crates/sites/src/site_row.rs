//! Row of the site in its store: whose store it is, and up to where everything is applied.

use instep_model::position::Position;

use crate::batch::Batch;
use crate::store::{Fatal, Identity, StoreError, StorePosition};

/// State of a row: everything up to its position is applied.
const APPLIED: &str = "applied";
/// State of a row: a restore began, and has not come to its end.
const RESTORING: &str = "restoring";

/// The row, of this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SiteRow {
    /// Position of the store.
    pub(crate) position: StorePosition,
    /// Position that is stored, also while a restore replaces the content.
    pub(crate) stored: Option<Position>,
    /// Generation that has fenced the store.
    pub(crate) generation: u64,
}

/// Columns of the row, as they are stored.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) dataset: String,
    pub(crate) site: String,
    pub(crate) state: String,
    pub(crate) position: Option<String>,
    pub(crate) generation: i64,
}

impl SiteRow {
    /// The row of a store without one.
    pub(crate) const NONE: Self =
        Self { position: StorePosition::None, stored: None, generation: 0 };

    /// Everything up to `position` is applied.
    pub(crate) fn at(position: Position, generation: u64) -> Self {
        Self { position: StorePosition::At(position), stored: Some(position), generation }
    }

    /// The row of a site while a restore replaces its content.
    pub(crate) fn restoring(self, generation: u64) -> Self {
        Self { position: StorePosition::Restoring, generation, ..self }
    }

    /// Reads a row, and checks that it is this site's.
    pub(crate) fn read(columns: Columns, identity: &Identity) -> Result<Self, Fatal> {
        let Columns { dataset, site, state, position, generation } = columns;
        if (&dataset, &site) != (&identity.dataset, &identity.site) {
            return Err(Fatal::OtherSite { dataset, site });
        }
        let stored = match position {
            Some(text) => Some(text.parse().map_err(|_| Fatal::Unreadable(text.clone()))?),
            None => None,
        };
        let position = match (state.as_str(), stored) {
            (APPLIED, Some(position)) => StorePosition::At(position),
            _ => StorePosition::Restoring,
        };
        let generation = u64::try_from(generation).unwrap_or_default();
        Ok(Self { position, stored, generation })
    }

    /// The columns of the row; none while there is nothing to store.
    pub(crate) fn columns(&self, identity: &Identity) -> Option<Columns> {
        let state = match self.position {
            StorePosition::At(_) => APPLIED,
            StorePosition::Restoring => RESTORING,
            StorePosition::None | StorePosition::Unkept => return None,
        };
        Some(Columns {
            dataset: identity.dataset.clone(),
            site: identity.site.clone(),
            state: state.to_owned(),
            position: self.stored.map(|position| position.to_string()),
            generation: stored_generation(self.generation),
        })
    }

    /// Checks that a registration may take the store over: generations of one history are
    /// compared, and of two nothing is (law 4).
    pub(crate) fn admit(&self, generation: u64, position: Option<Position>) -> Result<(), Fatal> {
        match (self.stored, position) {
            (Some(stored), Some(told)) if stored.incarnation != told.incarnation => {
                Err(Fatal::OtherHistory)
            }
            _ if self.generation > generation => Err(Fatal::Fenced { generation: self.generation }),
            _ => Ok(()),
        }
    }

    /// Checks that a dump at `position` may replace the content. One of another history may: a
    /// dump is taken only from a source that an operator has named.
    pub(crate) fn admit_dump(&self, generation: u64, position: Position) -> Result<(), Fatal> {
        match self.admit(generation, Some(position)) {
            Err(Fatal::OtherHistory) => Ok(()),
            admitted => admitted,
        }
    }

    /// The row as a registration sets it to another position.
    pub(crate) fn sought(self, generation: u64, to: Position) -> Result<Self, StoreError> {
        self.admit(generation, Some(to))?;
        match self.position {
            StorePosition::At(_) => Ok(Self::at(to, generation)),
            StorePosition::None | StorePosition::Restoring | StorePosition::Unkept => {
                Err(StoreError::Passing("the store has no position any more".into()))
            }
        }
    }

    /// The row as a registration takes it over: at `begin` where there was none.
    pub(crate) fn fenced(
        mut self,
        generation: u64,
        begin: Option<Position>,
    ) -> Result<Self, Fatal> {
        self.admit(generation, begin)?;
        if let (StorePosition::None, Some(begin)) = (self.position, begin) {
            (self.position, self.stored) = (StorePosition::At(begin), Some(begin));
        }
        self.generation = generation;
        Ok(self)
    }
}

/// A generation as databases store it.
pub(crate) fn stored_generation(generation: u64) -> i64 {
    i64::try_from(generation).unwrap_or(i64::MAX)
}

/// Record that was left out, as the account of it is stored.
#[derive(Debug)]
pub(crate) struct Skipped {
    pub(crate) position: String,
    /// Index in the commit.
    pub(crate) record: i32,
    /// The record, as JSON.
    pub(crate) content: String,
    /// Reason, in the words of the operator.
    pub(crate) reason: String,
}

/// Records that a batch leaves out.
pub(crate) fn skipped(batch: &Batch) -> Vec<Skipped> {
    let Some(commit) = batch.commits.last() else { return vec![] };
    let of = |(at, reason): (&usize, &String)| {
        let content = serde_json::to_string(commit.records.get(*at)?).ok()?;
        let (position, record) = (commit.position.to_string(), i32::try_from(*at).ok()?);
        Some(Skipped { position, record, content, reason: reason.clone() })
    };
    batch.left_out.iter().filter_map(of).collect()
}
