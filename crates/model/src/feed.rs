//! Feeds: the notices for subscribers of a dataset's topics, and where they can resume.
//!
//! A feed follows the fold. For every commit it says which topics see which change
//! ([`Feed::apply`]); for every joiner it gives the topic's rows, or the changes since the joiner's
//! position ([`Feed::join`]). It keeps no rows of its own: per topic the keys that are visible, and
//! the last visible changes by key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use imbl::OrdSet;
use serde::Serialize;

use crate::definition::Definitions;
use crate::limits;
use crate::name::{Key, Name};
use crate::position::{Incarnation, Place, Position};
use crate::row::Row;
use crate::state::{Change, CommitChanges, Tables};
use crate::view::{Failures, View, ViewChange, Visible};

pub use self::behind::Behind;
pub use self::listing::Listing;
use self::listing::Rows;
pub use self::notice::{Body, Notice};
use behind::table_behind;

mod behind;
mod listing;
mod notice;
#[cfg(test)]
mod tests;

/// The event of a row in a `table:` topic.
pub const ROW_EVENT: &str = "row";
/// The event of a key that is gone from a `table:` topic.
pub const GONE_EVENT: &str = "gone";
/// The event of a row that left a view topic.
pub const LEAVE_EVENT: &str = "leave";
/// The event that says up to where a topic is complete.
pub const BOOKMARK_EVENT: &str = "bookmark";
/// The event that tells a subscriber that it fell off the ring.
pub const LAGGED_EVENT: &str = "lagged";
/// The event of a chunk of a snapshot.
pub const SNAPSHOT_EVENT: &str = "snapshot";

/// Result of a join.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Mode in which the joiner goes on.
    pub mode: Mode,
    /// Complete up to here, once `notices` are told.
    pub position: Position,
    /// The topic's rows, or in [`Mode::Resume`] the changes since.
    pub notices: Vec<Notice>,
}

/// Mode in which a joiner goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// No position was given: here is everything.
    Snapshot,
    /// The position was good: the changes since.
    Resume,
    /// The position is of no use: forget what you have, here is everything.
    Reset,
}

/// Refusal of a join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    /// No view and no public table stands behind the topic.
    #[error("unmatched topic")]
    Unmatched,
    /// The dataset behind the topic is there, and not open.
    #[error("the dataset behind the topic is not open")]
    Unavailable,
    /// The position lies ahead of this node's history.
    #[error("the position is ahead of {head}")]
    Ahead {
        /// Position of this node.
        head: Position,
    },
    /// The topic has more rows than a join may bring.
    #[error("the topic has more than {rows} rows or {bytes} bytes; take the snapshot over HTTP")]
    TooLarge {
        /// Rows allowed.
        rows: usize,
        /// Bytes allowed.
        bytes: usize,
    },
}

/// The feed of one dataset on one node.
pub struct Feed {
    dataset: Name,
    incarnation: Incarnation,
    views: Arc<[View]>,
    tables: Tables,
    place: Place,
    /// Positions below are too old for any topic.
    floor: Place,
    /// Positions below are too old for any topic of a view.
    view_floor: Place,
    /// Positions from before a topic's views were changed are of no use on it.
    definitions: Definitions,
    topics: BTreeMap<Arc<str>, Topic>,
    empty_topics: usize,
    /// Failures of each view since the feed began.
    failures: Vec<Failures>,
    /// The table that changed last, with its topic.
    last_topic: Option<(Name, Arc<str>)>,
}

#[derive(Default)]
struct Topic {
    /// Visible rows, by view; empty for `table:` topics, whose rows are the table's.
    visible: OrdSet<Source>,
    /// Visible changes, oldest first.
    recent: VecDeque<(Place, Source)>,
    /// Positions below are too old for this topic.
    floor: Place,
}

/// Source of a notice: the index of a view, or none for the table itself; and the key.
type Source = (Option<u16>, Key);

impl Feed {
    /// A feed that stands at `place`, where the dataset's tables are `tables`.
    #[must_use]
    pub fn new(
        dataset: Name,
        incarnation: Incarnation,
        views: Vec<View>,
        tables: Tables,
        place: Place,
    ) -> Self {
        let mut feed = Self {
            dataset,
            incarnation,
            failures: vec![Failures::default(); views.len()],
            views: views.into(),
            tables,
            place,
            floor: place,
            view_floor: place,
            definitions: Definitions::default(),
            topics: BTreeMap::new(),
            empty_topics: 0,
            last_topic: None,
        };
        feed.index();
        feed
    }

    /// The same feed made anew from tables: remembered changes are gone, so every older position is
    /// a reset.
    #[must_use]
    pub fn rebuilt(&self, tables: Tables, place: Place) -> Self {
        let (dataset, views) = (self.dataset.clone(), self.views.to_vec());
        let definitions = self.definitions.clone();
        Self { definitions, ..Self::new(dataset, self.incarnation, views, tables, place) }
    }

    /// Knows from which place on topics are told by the views that this feed has.
    pub fn hold(&mut self, definitions: Definitions) {
        self.definitions = definitions;
    }

    /// Position up to which the feed is complete.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { incarnation: self.incarnation, place: self.place }
    }

    /// The views, each with what it could not show since the feed began.
    pub fn views(&self) -> impl Iterator<Item = (&View, &Failures)> {
        self.views.iter().zip(&self.failures)
    }

    /// Applies the commits of an entry, in order, and returns the notices for subscribers. `tables`
    /// and `place` are those at the entry's end.
    pub fn apply(
        &mut self,
        commits: &[CommitChanges],
        tables: Tables,
        place: Place,
    ) -> Vec<Notice> {
        self.apply_while(commits, tables, place, || true).unwrap_or_default()
    }

    /// The same, but gives up before the next change once `goes_on` is false, and answers none
    /// then: the feed is of no use any more. An entry with views that cost much may take minutes.
    pub fn apply_while(
        &mut self,
        commits: &[CommitChanges],
        tables: Tables,
        place: Place,
        goes_on: impl Fn() -> bool,
    ) -> Option<Vec<Notice>> {
        self.tables = tables;
        self.place = place;
        let mut notices = Vec::new();
        for commit in commits {
            let first = notices.len();
            for change in &commit.changes {
                if !goes_on() {
                    return None;
                }
                self.see(change, commit.place, &mut notices);
            }
            let position = Position { incarnation: self.incarnation, place: commit.place };
            mark_last_of_each_topic(&mut notices[first..], position);
        }
        Some(notices)
    }

    /// Takes a change without notices and without a look at the views: keeps from where `table:`
    /// topics can be resumed. Telling costs several times the fold itself, and a start folds a
    /// whole log. Follow up with [`Feed::apply`], which brings the tables, or where there are
    /// views, with [`Feed::begin_views`].
    pub fn replay(&mut self, place: Place, change: &Change) {
        if change.is_public() {
            let topic = self.topic_of(&change.table);
            self.remember(&topic, place, (None, change.key.clone()));
        }
    }

    /// Evaluates the views over the rows as they are at `place`, instead of the changes that led
    /// there: older positions are resets on their topics.
    pub fn begin_views(&mut self, tables: Tables, place: Place) {
        (self.tables, self.place, self.view_floor) = (tables, place, place);
        self.topics.retain(|name, _| name.starts_with(TABLE_PREFIX));
        self.empty_topics = 0;
        self.failures.fill(Failures::default());
        self.index();
    }

    /// Joins `topic` for a reader that is complete up to `since`: none, a position, or a text that
    /// is no position (`Some(None)`).
    ///
    /// # Errors
    /// See [`JoinRefusal`]. `Ahead` may be news that this node does not have yet: try again soon.
    pub fn join(
        &self,
        topic: &str,
        since: Option<Option<Position>>,
    ) -> Result<Joined, JoinRefusal> {
        self.list(topic, since).map(Listing::make)
    }

    /// The same, found and not yet made: however many rows there are, this takes no time.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn list(
        &self,
        topic: &str,
        since: Option<Option<Position>>,
    ) -> Result<Listing, JoinRefusal> {
        if !self.has_topic(topic) {
            return Err(JoinRefusal::Unmatched);
        }
        let known = self.topics.get(topic);
        let floor = known.map_or(self.floor, |known| known.floor.max(self.floor));
        let of_table = topic.starts_with(TABLE_PREFIX);
        let floor = if of_table { floor } else { floor.max(self.view_floor) };
        let floor = match since {
            Some(_) => floor.max(self.definitions.floor_of(topic)),
            None => floor,
        };
        let place = since.map(|since| since.and_then(|since| since.place_in(self.incarnation)));
        let mode = match place {
            None => Mode::Snapshot,
            Some(Some(place)) if place > self.place => {
                return Err(JoinRefusal::Ahead { head: self.position() });
            }
            Some(Some(place)) if place >= floor => Mode::Resume,
            Some(_) => Mode::Reset,
        };
        let topic: Arc<str> = topic.into();
        let rows = match (mode, place) {
            (Mode::Resume, Some(Some(place))) => Rows::Made(self.changes_since(&topic, place)),
            _ => self.rows_of(&topic)?,
        };
        Ok(Listing { topic, mode, position: self.position(), rows })
    }

    /// Returns the topics that the dataset stands behind now.
    #[must_use]
    pub fn behind(&self) -> Behind {
        Behind::new(self.dataset.clone(), &self.views, self.tables.clone())
    }

    /// True when a view or a public table stands behind the topic.
    #[must_use]
    pub fn has_topic(&self, topic: &str) -> bool {
        self.table_behind(topic).is_some() || self.views.iter().any(|v| v.topic.matches(topic))
    }

    fn see(&mut self, change: &Change, place: Place, notices: &mut Vec<Notice>) {
        let Change { table, key, old, new, public } = change;
        let before = old.as_ref().filter(|_| public.0);
        let after = new.as_ref().filter(|_| public.1);
        if before.is_some() || after.is_some() {
            let topic = self.topic_of(table);
            self.remember(&topic, place, (None, key.clone()));
            notices.push(row_notice(&topic, key, after));
        }
        if old == new && public.0 != public.1 {
            // Views do not depend on who may read the table.
            return;
        }
        for index in 0..self.views.len() {
            if self.views[index].table != *table {
                continue;
            }
            let view = &self.views[index];
            let failures = &mut self.failures[index];
            let sights = view.sights(key, old.as_ref(), new.as_ref(), &self.tables, failures);
            let source = (u16::try_from(index).ok(), key.clone());
            for sight in sights {
                let view = &self.views[index];
                let (topic, event, body, visible) = match sight {
                    ViewChange::Shown(Visible { topic, fields }) => {
                        (topic, Arc::clone(&view.event), Body::Fields(fields), true)
                    }
                    ViewChange::Left { topic } => (topic, LEAVE_EVENT.into(), left(view), false),
                };
                let topic: Arc<str> = topic.into();
                self.set_visible(&topic, source.clone(), visible);
                self.remember(&topic, place, source.clone());
                notices.push(Notice { topic, event, key: key.clone(), body, position: None });
            }
        }
    }

    /// The topic of a table. Changes come in runs of one table, so the last one is at hand.
    fn topic_of(&mut self, table: &Name) -> Arc<str> {
        match &self.last_topic {
            Some((last, topic)) if last == table => Arc::clone(topic),
            _ => {
                let topic: Arc<str> = table_topic(&self.dataset, table).into();
                self.last_topic = Some((table.clone(), Arc::clone(&topic)));
                topic
            }
        }
    }

    fn index(&mut self) {
        let tables = self.tables.clone();
        for index in 0..self.views.len() {
            let view = self.views[index].clone();
            let Some(table) = tables.get(&view.table) else {
                continue;
            };
            for (key, stored) in &table.rows {
                let seen = view.see(key, &stored.row, &tables, &mut self.failures[index]);
                if let Some(Visible { topic, .. }) = seen {
                    let source = (u16::try_from(index).ok(), key.clone());
                    self.set_visible(&topic.into(), source, true);
                }
            }
        }
    }

    fn set_visible(&mut self, topic: &Arc<str>, source: Source, visible: bool) {
        let topic = self.topics.entry(Arc::clone(topic)).or_default();
        let was_empty = topic.visible.is_empty();
        if visible {
            topic.visible.insert(source)
        } else {
            topic.visible.remove(&source)
        };
        match (was_empty, topic.visible.is_empty()) {
            (true, false) => self.empty_topics = self.empty_topics.saturating_sub(1),
            (false, true) => self.empty_topics += 1,
            _ => {}
        }
        if self.empty_topics > limits::EMPTY_VIEW_TOPICS {
            // Their last changes are forgotten, so older positions are of no use any more.
            self.topics
                .retain(|name, topic| !topic.visible.is_empty() || name.starts_with(TABLE_PREFIX));
            self.empty_topics = 0;
            self.floor = self.place;
        }
    }

    fn remember(&mut self, topic: &Arc<str>, place: Place, source: Source) {
        let topic = self.topics.entry(Arc::clone(topic)).or_default();
        if topic.recent.len() >= limits::TOPIC_RECENT_CHANGES
            && let Some((forgotten, _)) = topic.recent.pop_front()
        {
            topic.floor = forgotten;
        }
        topic.recent.push_back((place, source));
    }

    fn rows_of(&self, topic: &Arc<str>) -> Result<Rows, JoinRefusal> {
        let (rows, bytes) = (limits::JOIN_ROWS, limits::JOIN_BYTES);
        let too_large = JoinRefusal::TooLarge { rows, bytes };
        if let Some(table) = self.table_behind(topic).and_then(|name| self.tables.get(name)) {
            if table.rows.len() > rows || table.bytes > bytes as u64 {
                return Err(too_large);
            }
            return Ok(Rows::Table(table.rows.clone()));
        }
        let Some(known) = self.topics.get(topic) else {
            return Ok(Rows::Made(vec![]));
        };
        if known.visible.len() > rows {
            return Err(too_large);
        }
        let (visible, views) = (known.visible.clone(), Arc::clone(&self.views));
        Ok(Rows::Seen { visible, views, tables: self.tables.clone() })
    }

    /// Returns the changes after `place`, conflated: each row once, as it is now.
    fn changes_since(&self, topic: &Arc<str>, place: Place) -> Vec<Notice> {
        let Some(known) = self.topics.get(topic) else {
            return vec![];
        };
        let newer = known.recent.iter().rev().take_while(|(at, _)| *at > place);
        let sources: BTreeSet<&Source> = newer.map(|(_, source)| source).collect();
        sources
            .into_iter()
            .map(|source| {
                self.notice_of(topic, source).unwrap_or_else(|| self.absence_of(topic, source))
            })
            .collect()
    }

    /// Returns the notice for a source that is not visible on the topic.
    fn absence_of(&self, topic: &Arc<str>, (view, key): &Source) -> Notice {
        let view = view.and_then(|index| self.views.get(usize::from(index)));
        let (event, body) = match view {
            Some(view) => (LEAVE_EVENT, left(view)),
            None => (GONE_EVENT, Body::Gone),
        };
        let (topic, key) = (Arc::clone(topic), key.clone());
        Notice { topic, event: event.into(), key, body, position: None }
    }

    /// Returns the notice for a source that is visible on a topic now; none when it is not.
    fn notice_of(&self, topic: &Arc<str>, source: &Source) -> Option<Notice> {
        if let (None, key) = source {
            let table = self.tables.get(self.table_behind(topic)?)?;
            return table.rows.get(key).map(|stored| row_notice(topic, key, Some(&stored.row)));
        }
        listing::seen(&self.views, &self.tables, topic, source)
    }

    fn table_behind<'a>(&self, topic: &'a str) -> Option<&'a str> {
        table_behind(&self.dataset, &self.tables, topic)
    }
}

/// First part of the topics that carry whole tables.
pub const TABLE_PREFIX: &str = "table:";

/// The topic that carries a whole table.
#[must_use]
pub fn table_topic(dataset: &Name, table: &Name) -> String {
    format!("{TABLE_PREFIX}{dataset}/{table}")
}

fn left(view: &View) -> Body {
    Body::Left { view: view.name.clone(), event: Arc::clone(&view.event) }
}

fn row_notice(topic: &Arc<str>, key: &Key, row: Option<&Row>) -> Notice {
    let (event, body) = match row {
        Some(row) => (ROW_EVENT, Body::Row(row.clone())),
        None => (GONE_EVENT, Body::Gone),
    };
    Notice { topic: Arc::clone(topic), event: event.into(), key: key.clone(), body, position: None }
}

fn mark_last_of_each_topic(notices: &mut [Notice], position: Position) {
    let mut marked = BTreeSet::new();
    for notice in notices.iter_mut().rev() {
        if marked.insert(Arc::clone(&notice.topic)) {
            notice.position = Some(position);
        }
    }
}
