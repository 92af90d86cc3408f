//! Listings: rows for a joiner, found at one place of the feed and made outside of its lock.
//!
//! Finding shares what the feed has; making it goes over every row, and for a view evaluates its
//! expressions. A feed is told of commits under a lock that joiners take as well, so that only the
//! first is done there.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::{Body, Joined, Mode, Notice, ROW_EVENT, Source};
use crate::name::Key;
use crate::position::Position;
use crate::state::{StoredRow, Tables};
use crate::view::{Failures, View};

/// Listing of a topic for a joiner, with the rows as they were when it was found.
pub struct Listing {
    pub(super) topic: Arc<str>,
    pub(super) mode: Mode,
    pub(super) position: Position,
    pub(super) rows: Rows,
}

pub(super) enum Rows {
    /// Changes, of which there are few.
    Made(Vec<Notice>),
    /// All rows of a table.
    Table(OrdMap<Key, StoredRow>),
    /// Rows that views show.
    Seen { visible: OrdSet<Source>, views: Arc<[View]>, tables: Tables },
}

impl Listing {
    /// Makes it.
    #[must_use]
    pub fn make(self) -> Joined {
        let Self { topic, mode, position, rows } = self;
        let mut notices: Vec<Notice> = match rows {
            Rows::Made(notices) => notices,
            Rows::Table(rows) => {
                let event: Arc<str> = ROW_EVENT.into();
                let notice = |(key, stored): (&Key, &StoredRow)| Notice {
                    topic: Arc::clone(&topic),
                    event: Arc::clone(&event),
                    key: key.clone(),
                    body: Body::Row(stored.row.clone()),
                    position: None,
                };
                rows.iter().map(notice).collect()
            }
            Rows::Seen { visible, views, tables } => {
                let see = |source: &Source| seen(&views, &tables, &topic, source);
                visible.iter().filter_map(see).collect()
            }
        };
        if let Some(last) = notices.last_mut() {
            last.position = Some(position);
        }
        Joined { mode, position, notices }
    }
}

/// Returns the notice of a row that a view shows on a topic now; none when it does not.
pub(super) fn seen(
    views: &[View],
    tables: &Tables,
    topic: &Arc<str>,
    (view, key): &Source,
) -> Option<Notice> {
    let view = views.get(usize::from((*view)?))?;
    let stored = tables.get(&view.table)?.rows.get(key)?;
    let seen = view.see(key, &stored.row, tables, &mut Failures::default())?;
    (*seen.topic == **topic).then(|| Notice {
        topic: Arc::clone(topic),
        event: Arc::clone(&view.event),
        key: key.clone(),
        body: Body::Fields(seen.fields),
        position: None,
    })
}
