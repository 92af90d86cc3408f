//! Seeking: an operator sets the position of a site, and its next registration sets its store.

use serde::{Deserialize, Serialize};

use super::moment::{Change, Moment};
use super::standing::needs_dump;
use super::{Site, SiteError, SiteState};
use crate::position::{Place, Position, Revision};
use crate::registration::Generation;

/// Order of an operator to set the store of a site to a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seek {
    /// The position.
    pub to: Position,
    /// The registration that the order met: what it says of positions is of before.
    pub met: Generation,
}

impl Site {
    /// The site with the order to go to a position.
    pub(super) fn seek(
        self,
        (to, floor): (Position, Revision),
        moment: Moment<'_>,
    ) -> Result<Change, SiteError> {
        match self.state {
            SiteState::CatchingUp | SiteState::Live | SiteState::Paused | SiteState::Failed => {}
            SiteState::Evicted => return Err(needs_dump(self)),
            other => return Err(SiteError::WrongState(other.word().to_owned())),
        }
        let place = moment.place(to)?;
        if is_trimmed(place, floor, moment) {
            return Err(SiteError::Trimmed { floor });
        }
        let seek = Some(Seek { to, met: self.generation });
        let state = if self.is_paused() { SiteState::Paused } else { moment.following(place) };
        let site = self.enter(state, moment);
        Ok(Change::put(Site { cursor: to, seek, skips: vec![], ..site }))
    }

    /// Refusal of what a registration says of positions while another is ordered; none: it may.
    pub(super) fn refuses_of_before(&self) -> Result<(), SiteError> {
        match self.seek {
            Some(seek) if seek.met == self.generation => Err(SiteError::seeking()),
            Some(_) | None => Ok(()),
        }
    }

    /// True when its store is not known yet to be where it is to be.
    #[must_use]
    pub fn is_seeking(&self) -> bool {
        self.seek.is_some()
    }
}

/// True when commits behind a place are not kept any more. Before the first entry nothing can be
/// missing.
pub(super) fn is_trimmed(place: Place, floor: Revision, moment: Moment<'_>) -> bool {
    place.revision.max(Revision(1)) < floor && place != moment.head
}
