//! Standing of a site that cannot apply a record: which one, and the order to leave it out.

use serde::{Deserialize, Serialize};

use super::moment::{Change, Moment};
use super::{Site, SiteError, SiteState};
use crate::limits;
use crate::position::{Place, Position};
use crate::text::cut;

/// Record that a site stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// Position of its commit.
    pub position: Position,
    /// Index of the record among those of the commit that the site is told; none: all of them,
    /// because the store refuses the commit as a whole.
    pub record: Option<u32>,
}

/// Order of an operator to leave a record out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The record.
    #[serde(flatten)]
    pub at: Stand,
    /// Reason, in the words of the operator.
    pub reason: String,
    /// Time of the order, in milliseconds since 1970.
    pub ordered_ms: u64,
}

/// Differences between the store of a site and the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows that were not as the log says.
    #[serde(default)]
    pub drift: u64,
    /// Records that were left out.
    #[serde(default)]
    pub skipped: u64,
}

impl Site {
    /// The site with an order to leave out the record that it stands at.
    pub(super) fn skip(
        mut self,
        at: Stand,
        reason: &str,
        moment: Moment<'_>,
    ) -> Result<Change, SiteError> {
        match (self.state, self.stands) {
            (SiteState::Failed, Some(stands)) if stands == at => {}
            (SiteState::Failed, stands) => return Err(SiteError::StandsElsewhere(stands)),
            (other, _) => return Err(SiteError::WrongState(other.word().to_owned())),
        }
        if self.skips.iter().any(|skip| skip.at == at) {
            return Ok(Change::Nothing);
        }
        // Those of one commit are left out together: nothing of it is applied before.
        self.skips.retain(|skip| skip.at.position == at.position);
        if self.skips.len() >= limits::SITE_SKIPS {
            return Err(SiteError::TooManySkips);
        }
        let reason = cut(reason, limits::SITE_REASON_BYTES).to_owned();
        self.skips.push(Skip { at, reason, ordered_ms: moment.now_ms });
        Ok(Change::put(self))
    }

    /// Forgets orders about commits up to a place of this history: they were followed.
    pub(super) fn forget_skips(&mut self, moment: Moment<'_>, place: Place) {
        self.skips.retain(|skip| {
            let at = skip.at.position.place_in(moment.incarnation);
            at.is_some_and(|at| at > place)
        });
    }
}

/// Refusal of everything but a dump, to an evicted site.
#[must_use]
pub fn needs_dump(evicted: Site) -> SiteError {
    SiteError::DumpRequired(evicted.reason.unwrap_or_else(|| "it was evicted".into()))
}
