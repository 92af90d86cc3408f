//! Moment of a decision about a site, and the change that comes of it.

use super::{Site, SiteError, SiteState};
use crate::limits;
use crate::name::Name;
use crate::position::{Incarnation, Place, Position};

/// Surroundings of a decision.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The history.
    pub incarnation: Incarnation,
    /// The newest commit that is visible.
    pub head: Place,
    /// Time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Counts the sites.
    pub sites: &'a dyn Fn() -> usize,
    /// Looks up another site.
    pub other: &'a dyn Fn(&Name) -> Option<Site>,
}

/// Change of a site's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is this from now on.
    Put(Box<Site>),
    /// It goes.
    Remove,
    /// It stays as it is.
    Nothing,
}

impl Change {
    pub(super) fn put(site: Site) -> Self {
        Self::Put(Box::new(site))
    }
}

/// The place of a moment that an operation meets: everything that was visible before it.
impl Moment<'_> {
    pub(super) fn position(&self) -> Position {
        Position { incarnation: self.incarnation, place: self.head }
    }

    pub(super) fn place(&self, position: Position) -> Result<Place, SiteError> {
        let place = position.place_in(self.incarnation).ok_or(SiteError::OtherHistory)?;
        let head = self.head.revision;
        if place > self.head { Err(SiteError::Ahead { head }) } else { Ok(place) }
    }

    /// State of a site that goes on behind a place. One that has everything acknowledges nothing
    /// more.
    pub(super) fn following(&self, place: Place) -> SiteState {
        let behind = self.head.revision.0.saturating_sub(place.revision.0);
        if behind <= limits::SITE_LIVE_ENTRIES { SiteState::Live } else { SiteState::CatchingUp }
    }
}
