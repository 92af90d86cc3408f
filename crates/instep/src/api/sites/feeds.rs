//! Feeds of sites: which of them follow the log now, and how much they were sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use instep_model::limits;
use instep_model::name::Name;
use instep_model::owner::Refusal;
use instep_model::position::Position;
use instep_model::registration::Generation;
use instep_model::site::{self, Passage, Site, SiteError, SiteState};
use instep_model::state::State;
use instep_node::{Dataset, FollowedCommit, now_ms};
use tokio::sync::watch;
use uuid::Uuid;

use crate::dumps::Dumps;
use crate::problem::Problem;

/// Interval at which a site hears up to where it is complete while others' commits pass.
const PASSED: Duration = Duration::from_secs(1);

/// Feeds that are open, and the last words of sites.
#[derive(Debug, Clone, Default)]
pub(crate) struct SiteFeeds(Arc<Mutex<Registry>>);

/// A site, by its dataset and its name.
type Of = (Name, String);

#[derive(Debug, Default)]
struct Registry {
    open: BTreeMap<Of, FeedStatus>,
    heard: BTreeMap<Of, Instant>,
    /// Cursors of sites, and the times of the oldest commits behind them, in milliseconds since
    /// 1970.
    oldest: BTreeMap<Of, (Position, u64)>,
}

/// State of an open feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FeedStatus {
    generation: Generation,
    sent: Position,
    /// Everything that the site follows was sent.
    is_complete: bool,
    /// Tells feeds of one registration apart.
    id: Uuid,
}

/// Distance of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    /// The newest commit that it was sent, while it follows the log.
    pub(crate) sent: Option<Position>,
    /// The log behind its cursor; none when it belongs to another history.
    pub(crate) behind: Option<Behind>,
    /// Milliseconds since it said anything; none: nothing since this server has started.
    pub(crate) silent_ms: Option<u64>,
}

/// Log behind the cursor of a site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Entries.
    pub(crate) entries: u64,
    /// Bytes, about.
    pub(crate) bytes: u64,
    /// Age of the oldest commit of the site that it has not confirmed, in milliseconds.
    pub(crate) ms: u64,
}

impl Lag {
    /// True when nothing was heard of it for a while.
    pub(crate) fn is_stale(&self) -> bool {
        self.silent_ms.is_none_or(|silent| silent > limits::SITE_STALE_MS)
    }
}

impl SiteFeeds {
    /// Returns how far a site is in a state of its dataset. May read a file of the log.
    pub(crate) fn lag(&self, dataset: &Dataset, state: &State, (name, site): (&str, &Site)) -> Lag {
        let of = (dataset.name().clone(), name.to_owned());
        let (feed, heard) = {
            let registry = self.lock();
            (registry.open.get(&of).copied(), registry.heard.get(&of).copied())
        };
        let feed = feed.filter(|feed| feed.generation == site.generation);
        // Acknowledgements are entries, too: a site that has all it was sent is behind no others.
        let has_all = feed.is_some_and(|feed| feed.is_complete && feed.sent == site.cursor);
        let place = site.cursor.place_in(dataset.incarnation());
        let behind = place.map(|at| {
            let entries = state.applied.revision.0.saturating_sub(at.revision.0);
            if has_all || entries == 0 {
                return Behind::default();
            }
            let ms = self.oldest_ms(dataset, of, site).map(|at| now_ms().saturating_sub(at));
            let bytes = dataset.bytes_behind(at.revision);
            Behind { entries, bytes, ms: ms.unwrap_or_default() }
        });
        let silent = heard.map(|heard| heard.elapsed().as_millis());
        let silent_ms = silent.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
        Lag { sent: feed.map(|feed| feed.sent), behind, silent_ms }
    }

    /// Time of the oldest commit that a site has not confirmed; read once for each cursor.
    fn oldest_ms(&self, dataset: &Dataset, of: Of, site: &Site) -> Option<u64> {
        if let Some((cursor, oldest_ms)) = self.lock().oldest.get(&of).copied()
            && cursor == site.cursor
        {
            return Some(oldest_ms);
        }
        let mut found = false;
        let first = dataset.first_behind(site.cursor, limits::SITE_LAG_BYTES, |commit| {
            found = commit.records.iter().any(|record| site.scope.has(record));
            found
        })?;
        if found {
            self.lock().oldest.insert(of, (site.cursor, first.time_ms));
        }
        Some(first.time_ms)
    }

    /// Notes that a site has said something.
    pub(in crate::api) fn hear(&self, dataset: &Dataset, site: &str) {
        self.lock().heard.insert((dataset.name().clone(), site.to_owned()), Instant::now());
    }

    /// Forgets a site that is removed, or all of a dataset that is.
    pub(in crate::api) fn forget(&self, dataset: &str, site: Option<&str>) {
        let mut registry = self.lock();
        let is_other = |of: &Of| of.0.as_str() != dataset || site.is_some_and(|site| of.1 != site);
        registry.heard.retain(|of, _| is_other(of));
        registry.oldest.retain(|of, _| is_other(of));
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader of a feed that is a site.
pub(in crate::api) struct SiteReader {
    feeds: SiteFeeds,
    of: Of,
    id: Uuid,
    generation: Generation,
    passage: Passage,
    told: Instant,
    dumps: Dumps,
    pub(in crate::api) wanted: watch::Receiver<u64>,
    asked: Vec<Uuid>,
}

impl SiteReader {
    /// The reader of a registration, from its position on.
    ///
    /// # Errors
    /// [`Problem`] `unknown_site`, `fenced`, `dump_required`.
    pub(in crate::api) fn new(
        dataset: &Dataset,
        (name, generation): (&str, Generation),
        (feeds, dumps): (SiteFeeds, Dumps),
    ) -> Result<(Self, Position), Problem> {
        let Site { scope, cursor, .. } = look(dataset, name, generation)?;
        let (of, id) = ((dataset.name().clone(), name.to_owned()), Uuid::now_v7());
        let status = FeedStatus { generation, sent: cursor, is_complete: false, id };
        feeds.lock().open.insert(of.clone(), status);
        feeds.hear(dataset, name);
        let mut wanted = dumps.changes();
        wanted.mark_changed();
        let told = Instant::now();
        let (passage, asked) = (Passage::new(scope), vec![]);
        Ok((Self { feeds, of, id, generation, passage, told, dumps, wanted, asked }, cursor))
    }

    /// Checks that the registration is the newest, and that history is held for it. True while the
    /// site is paused.
    ///
    /// # Errors
    /// As [`SiteReader::new`].
    pub(in crate::api) fn check(&self, dataset: &Dataset) -> Result<bool, Problem> {
        look(dataset, &self.of.1, self.generation).map(|site| site.is_paused())
    }

    /// Leaves out what the site does not follow; returns whether anything is left.
    pub(in crate::api) fn take(&mut self, commit: &mut FollowedCommit) -> bool {
        self.passage.take(commit.position, &mut commit.records)
    }

    /// The position to tell because of what was left out, once it is time (I29).
    pub(in crate::api) fn passed(&mut self) -> Option<Position> {
        self.passage.passed()?;
        if self.told.elapsed() < PASSED {
            return None;
        }
        self.told = Instant::now();
        self.passage.take_passed()
    }

    /// Time until [`SiteReader::passed`] has something to tell.
    pub(in crate::api) fn patience(&self) -> Option<Duration> {
        self.passage.passed().map(|_| PASSED.saturating_sub(self.told.elapsed()))
    }

    /// Notes what was sent.
    pub(in crate::api) fn sent(&mut self, position: Position) {
        self.told = Instant::now();
        self.note(|feed| (feed.sent, feed.is_complete) = (position, false));
    }

    /// Notes that the feed is at the head of the log.
    pub(in crate::api) fn reached_head(&self) {
        let is_complete = self.passage.passed().is_none();
        self.note(|feed| feed.is_complete = is_complete);
    }

    fn note(&self, change: impl FnOnce(&mut FeedStatus)) {
        let mut registry = self.feeds.lock();
        if let Some(feed) = registry.open.get_mut(&self.of).filter(|feed| feed.id == self.id) {
            change(feed);
        }
    }

    /// True when dumps may be wanted that it was not asked for.
    pub(in crate::api) fn may_give(&self) -> bool {
        self.wanted.has_changed().unwrap_or_default()
    }

    /// Dumps that the site is to give, and has not been asked for.
    pub(in crate::api) fn dumps(&mut self) -> Vec<Uuid> {
        self.wanted.mark_unchanged();
        let Ok(name) = Name::new(&self.of.1) else { return vec![] };
        let mut wanted = self.dumps.wanted_of(&self.of.0, &name);
        wanted.retain(|id| !self.asked.contains(id));
        self.asked.extend(&wanted);
        wanted
    }
}

impl Drop for SiteReader {
    fn drop(&mut self) {
        let mut registry = self.feeds.lock();
        if registry.open.get(&self.of).is_some_and(|feed| feed.id == self.id) {
            registry.open.remove(&self.of);
        }
    }
}

fn look(dataset: &Dataset, name: &str, generation: Generation) -> Result<Site, Problem> {
    let held = site::held_by(site::site(&dataset.state(), name), generation);
    let held = held.and_then(|site| match site.state {
        SiteState::Evicted => Err(site::needs_dump(site)),
        // The next registration sets its store.
        _ if site.is_seeking() => Err(SiteError::seeking()),
        _ => Ok(site),
    });
    let site = super::super::new_name(name)?;
    held.map_err(|error| Refusal::Site { site, error }.into())
}
