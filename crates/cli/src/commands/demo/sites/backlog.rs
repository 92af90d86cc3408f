//! Backlog: commits of the shop that a site has not applied.
//!
//! Positions alone would not tell: acknowledgements of sites are entries of the log, too, and are
//! told to no site.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use instep::Dataset;
use instep::model::commit::Record;
use instep::model::position::Place;
use instep::model::reserved;

/// Commits that are kept to be counted.
const COMMITS: usize = 200_000;
/// Wait before a log that could not be read is read again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Places of the newest commits of the shop.
#[derive(Clone, Default)]
pub(super) struct Backlog(Arc<Mutex<VecDeque<Place>>>);

impl Backlog {
    /// The backlog of a dataset, which follows its log from now on.
    pub(super) fn of(dataset: Dataset) -> Self {
        let backlog = Self::default();
        tokio::spawn(backlog.clone().follow(dataset));
        backlog
    }

    /// Commits behind a place.
    pub(super) fn behind(&self, place: Place) -> usize {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.len() - places.partition_point(|known| *known <= place)
    }

    /// Place of the newest commit.
    pub(super) fn newest(&self) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).back().copied()
    }

    async fn follow(self, dataset: Dataset) {
        let mut since = None;
        while dataset.stopped().is_none() {
            if let Ok(mut feed) = dataset.follow(since) {
                while let Ok(commit) = feed.next().await {
                    since = Some(commit.position);
                    if commit.records.iter().any(is_of_shop) {
                        self.note(commit.position.place);
                    }
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    fn note(&self, place: Place) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() == COMMITS {
            places.pop_front();
        }
        places.push_back(place);
    }
}

fn is_of_shop(record: &Record) -> bool {
    match record {
        Record::Put { table, .. }
        | Record::Delete { table, .. }
        | Record::CreateTable { table, .. }
        | Record::DropTable { table, .. } => !reserved::is_name(table.as_str()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use instep::model::position::Revision;

    use super::*;

    #[test]
    fn commits_behind_a_place_are_counted_also_within_an_entry() {
        let backlog = Backlog::default();
        for (revision, index) in [(3, 0), (3, 1), (7, 0)] {
            backlog.note(place(revision, index));
        }

        let behind =
            [(2, 0), (3, 0), (3, 1), (6, 0), (7, 0)].map(|(r, i)| backlog.behind(place(r, i)));

        assert_eq!(behind, [3, 2, 1, 1, 0]);
    }

    fn place(revision: u64, index: u16) -> Place {
        Place { revision: Revision(revision), index }
    }
}
