//! Decisions about sites: the row before and an operation make the row after, or a refusal.

use super::moment::{Change, Moment};
use super::seeking::is_trimmed;
use super::standing::needs_dump;
use super::{SERVER, Scope, Site, SiteError, SiteOperation, SiteState, Start, Tally};
use crate::limits;
use crate::name::Name;
use crate::position::{Place, Position, Revision};
use crate::registration::Generation;
use crate::reserved;
use crate::text::cut;

/// Decides about an operation on a site, of which `before` is the row.
///
/// # Errors
/// [`SiteError`]; nothing changes then.
pub fn decide(
    before: Option<Site>,
    operation: SiteOperation,
    moment: Moment<'_>,
) -> Result<Change, SiteError> {
    match operation {
        SiteOperation::Register { site, scope, start } => {
            register(before, &site, scope, start, moment).map(Change::put)
        }
        SiteOperation::Dumping { generation, .. } => {
            let site = held_by(before, generation)?;
            match site.state {
                SiteState::Reserved => Ok(Change::put(site.enter(SiteState::Dumping, moment))),
                SiteState::Dumping => Ok(Change::Nothing),
                other => Err(wrong_state(other)),
            }
        }
        SiteOperation::Ack { generation, position, tally, .. } => {
            acknowledge(held_by(before, generation)?, (position, tally), moment)
        }
        SiteOperation::Fail { generation, reason, needs_dump, stands, .. } => {
            let site = held_by(before, generation)?;
            if site.state == SiteState::Evicted {
                // Only a dump ends that.
                return Ok(Change::Nothing);
            }
            site.refuses_of_before()?;
            let state = if needs_dump { SiteState::Evicted } else { SiteState::Failed };
            let stands = stands.filter(|_| !needs_dump);
            Ok(Change::put(Site { stands, ..site.fall(state, &reason, moment) }))
        }
        SiteOperation::Pause { paused, .. } => {
            pause(before.ok_or(SiteError::Unknown)?, paused, moment)
        }
        SiteOperation::Evict { generation, reason, .. } => match before {
            Some(site) if site.generation == generation && site.state.holds() => {
                Ok(Change::put(site.fall(SiteState::Evicted, &reason, moment)))
            }
            Some(_) | None => Ok(Change::Nothing),
        },
        SiteOperation::Remove { .. } => before.map(|_| Change::Remove).ok_or(SiteError::Unknown),
        SiteOperation::Skip { at, reason, .. } => {
            before.ok_or(SiteError::Unknown)?.skip(at, &reason, moment)
        }
        SiteOperation::Seek { to, floor, .. } => {
            before.ok_or(SiteError::Unknown)?.seek((to, floor), moment)
        }
    }
}

fn pause(site: Site, paused: bool, moment: Moment<'_>) -> Result<Change, SiteError> {
    match (site.state, paused) {
        (SiteState::Paused, true) | (SiteState::CatchingUp | SiteState::Live, false) => {
            Ok(Change::Nothing)
        }
        (SiteState::CatchingUp | SiteState::Live | SiteState::Failed, true) => {
            Ok(Change::put(Site { paused, ..site.enter(SiteState::Paused, moment) }))
        }
        (SiteState::Paused, false) => {
            let place = site.cursor.place_in(moment.incarnation).unwrap_or_default();
            Ok(Change::put(Site { paused, ..site.enter(moment.following(place), moment) }))
        }
        // What it waits for still comes; then it follows the log.
        (_, false) if site.paused => Ok(Change::put(Site { paused, ..site })),
        (other, _) => Err(wrong_state(other)),
    }
}

fn register(
    before: Option<Site>,
    name: &Name,
    scope: Scope,
    start: Start,
    moment: Moment<'_>,
) -> Result<Site, SiteError> {
    let is_reserved = |name: &&Name| reserved::is_name(name.as_str());
    let listed = scope.tables.iter().chain(&scope.journals).flatten();
    if let Some(reserved) = [name].into_iter().chain(listed).find(is_reserved) {
        return Err(SiteError::ReservedName(reserved.clone()));
    }
    if name.as_str() == SERVER {
        return Err(SiteError::ReservedName(name.clone()));
    }
    if !scope.is_bounded() {
        return Err(SiteError::ScopeTooLarge);
    }
    if before.is_none() && (moment.sites)() >= limits::SITES {
        return Err(SiteError::TooMany);
    }
    let newest = before.as_ref().map_or(Generation::NONE, |site| site.generation);
    // Above those of a site of this name that was removed: an entry is written once.
    let generation = Generation(newest.0.max(moment.head.revision.0) + 1);
    let paused = before.as_ref().is_some_and(Site::is_paused);
    let follow = |place| if paused { SiteState::Paused } else { moment.following(place) };
    let fresh = |state, cursor, source: Option<Name>| Site {
        state,
        reason: None,
        generation,
        cursor,
        start: (source.is_none()).then_some(cursor),
        scope: scope.clone(),
        source,
        changed_ms: moment.now_ms,
        paused,
        stands: None,
        skips: vec![],
        seek: None,
        tally: Tally::default(),
    };
    match start {
        // Its store may have been lost: what it had is not at the head.
        Start::Head if before.is_some() => {
            Err(SiteError::DumpRequired("the site is known, and may not skip history".into()))
        }
        Start::Head => Ok(fresh(SiteState::Live, moment.position(), None)),
        Start::Beginning { floor } => {
            let beginning = Position { incarnation: moment.incarnation, place: Place::default() };
            if floor > Revision(1) {
                let reason = format!("the log begins at entry {floor}");
                return Err(SiteError::DumpRequired(reason));
            }
            Ok(fresh(follow(beginning.place), beginning, None))
        }
        Start::Dump { source, since } => {
            let cursor = reserve(name, &source, &scope, moment)?;
            if let Some(since) = since {
                moment.place(since)?;
            }
            let cursor = since.unwrap_or(cursor);
            Ok(fresh(SiteState::Reserved, cursor, Some(source)))
        }
        Start::Resume { position, floor } => {
            let Some(site) = before else {
                return Err(SiteError::DumpRequired("the site is not known here".into()));
            };
            if site.scope != scope {
                return Err(SiteError::OtherScope);
            }
            resume(site, generation, (position, floor), moment)
        }
    }
}

/// The position from which history is held for a dump of `source`.
fn reserve(
    name: &Name,
    source: &Name,
    scope: &Scope,
    moment: Moment<'_>,
) -> Result<Position, SiteError> {
    if source.as_str() == SERVER {
        return Ok(moment.position());
    }
    let refuse = |why: &str| Err(SiteError::BadSource(source.clone(), why.to_owned()));
    if source == name {
        return refuse("it is the site itself");
    }
    let Some(other) = (moment.other)(source) else { return refuse("there is none") };
    if !other.state.is_ready() {
        return refuse(&format!("it is {}", other.state.word()));
    }
    if other.scope != *scope {
        return refuse("it follows other tables or journals");
    }
    moment.place(other.cursor)?;
    Ok(other.cursor)
}

fn resume(
    site: Site,
    generation: Generation,
    (position, floor): (Option<Position>, Revision),
    moment: Moment<'_>,
) -> Result<Site, SiteError> {
    match (site.state, position) {
        (SiteState::Evicted, _) => return Err(needs_dump(site)),
        (SiteState::Reserved | SiteState::Dumping, None) => {
            return Err(SiteError::DumpRequired("its dump was not completed".into()));
        }
        (_, _) => {}
    }
    let told = position.unwrap_or(site.cursor);
    moment.place(told)?;
    let cursor = site.seek.map_or(told, |seek| seek.to);
    let place = moment.place(cursor)?;
    if is_trimmed(place, floor, moment) {
        let reason = format!("it stands at entry {}, the log begins at {floor}", place.revision);
        return Err(SiteError::DumpRequired(reason));
    }
    let paused = site.is_paused();
    let state = if paused { SiteState::Paused } else { moment.following(place) };
    let changed_ms = if state == site.state { site.changed_ms } else { moment.now_ms };
    let (stands, start) = (None, Some(cursor));
    // Without a position in its store nothing is to be set.
    let seek = site.seek.filter(|_| position.is_some());
    let mut site = Site {
        state,
        reason: None,
        generation,
        cursor,
        start,
        changed_ms,
        paused,
        stands,
        seek,
        ..site
    };
    site.forget_skips(moment, place);
    Ok(site)
}

fn acknowledge(
    site: Site,
    (position, tally): (Position, Option<Tally>),
    moment: Moment<'_>,
) -> Result<Change, SiteError> {
    site.refuses_of_before()?;
    if site.seek.is_some_and(|seek| seek.to != position) {
        return Err(wrong_state(site.state));
    }
    let place = moment.place(position)?;
    let before = site.cursor.place_in(moment.incarnation).ok_or(SiteError::OtherHistory)?;
    let behind = moment.head.revision.0 - place.revision.0;
    let state = match site.state {
        SiteState::Reserved | SiteState::Dumping => return Err(wrong_state(site.state)),
        SiteState::Evicted => return Err(needs_dump(site)),
        SiteState::Paused => SiteState::Paused,
        SiteState::Live if behind <= limits::SITE_BEHIND_ENTRIES => SiteState::Live,
        SiteState::Failed if site.paused => SiteState::Paused,
        SiteState::CatchingUp | SiteState::Failed | SiteState::Live => moment.following(place),
    };
    let is_stuck = site.state == SiteState::Failed;
    let tally = tally.unwrap_or(site.tally);
    let is_same = tally == site.tally && site.seek.is_none() && (is_stuck || state == site.state);
    if place < before || (place == before && is_same) {
        return Ok(Change::Nothing);
    }
    // One that stands is where it was: only the counts are new.
    let stays = state == site.state || (place == before && is_stuck);
    let mut site = if stays { site } else { site.enter(state, moment) };
    site.forget_skips(moment, place);
    Ok(Change::put(Site { cursor: position, seek: None, tally, ..site }))
}

impl Site {
    /// True when an acknowledgement changes nothing, so that it needs no commit. `head` is the
    /// newest commit.
    #[must_use]
    pub fn is_acknowledged(
        &self,
        generation: Generation,
        (position, tally): (Position, Option<Tally>),
        head: Position,
    ) -> bool {
        let Position { incarnation, place: head } = head;
        let moment = Moment { incarnation, head, now_ms: 0, sites: &|| 0, other: &|_| None };
        self.generation == generation
            && acknowledge(self.clone(), (position, tally), moment) == Ok(Change::Nothing)
    }
}

/// The site, if this registration holds it.
///
/// # Errors
/// [`SiteError::Unknown`] and [`SiteError::Fenced`].
pub fn held_by(before: Option<Site>, generation: Generation) -> Result<Site, SiteError> {
    let site = before.ok_or(SiteError::Unknown)?;
    if site.generation == generation {
        Ok(site)
    } else {
        Err(SiteError::Fenced { newest: site.generation })
    }
}

fn wrong_state(state: SiteState) -> SiteError {
    SiteError::WrongState(state.word().to_owned())
}

impl SiteState {
    /// The state in words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Dumping => "dumping",
            Self::CatchingUp => "catching-up",
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Evicted => "evicted",
        }
    }
}

impl Site {
    pub(super) fn enter(self, state: SiteState, moment: Moment<'_>) -> Self {
        Self { state, reason: None, stands: None, changed_ms: moment.now_ms, ..self }
    }

    fn fall(self, state: SiteState, reason: &str, moment: Moment<'_>) -> Self {
        let reason = Some(cut(reason, limits::SITE_REASON_BYTES).to_owned());
        let paused = self.is_paused();
        Self { state, reason, paused, stands: None, changed_ms: moment.now_ms, ..self }
    }
}
