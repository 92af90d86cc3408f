//! Directory of topics: what stands behind a topic's name.
//!
//! The views of a dataset do not change while it is open, nor do live patterns. So one look-up
//! answers, which asks one dataset at most, and that only about a table: no feed's lock is taken,
//! and the work does not grow with the number of datasets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use instep_model::feed::TABLE_PREFIX;
use instep_model::limits;
use instep_model::name::Name;
use instep_model::pattern::{Names, PrefixIndex};
use instep_model::view::{TopicPattern, View};

use crate::dataset::Dataset;
use crate::live::LivePattern;

/// The datasets of a node, its live patterns, and the topics of both.
pub(crate) struct Directory {
    datasets: RwLock<Datasets>,
    /// Live patterns, with their places in the order of their declaration.
    live: PrefixIndex<(usize, Arc<LivePattern>)>,
    /// Counts changes after which a live topic may be none any more.
    generation: AtomicU64,
}

#[derive(Default)]
struct Datasets {
    open: BTreeMap<Name, Dataset>,
    /// The views of open datasets.
    shown: PrefixIndex<(Name, TopicPattern)>,
    unopened: BTreeMap<Name, Arc<Unopened>>,
    /// The views of datasets that are not open.
    hidden: PrefixIndex<(Name, TopicPattern)>,
}

/// A dataset that is there and cannot be opened. The others do not wait for it.
#[derive(Debug, Clone)]
pub struct Unopened {
    /// Reason, for the operator.
    pub reason: String,
    /// True when the data on disk is damaged: it does not open by itself, however long one waits.
    pub is_damaged: bool,
    /// Its views: their topics are its own, and are no live topics meanwhile.
    pub views: Vec<View>,
}

/// Refusal to add a dataset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The name is taken.
    #[error("there is a dataset {0:?} already")]
    Exists(Name),
    /// The node has as many as it may.
    #[error("the node has {limit} datasets, the limit")]
    TooMany {
        /// Datasets allowed.
        limit: usize,
    },
}

/// Owner of a topic.
pub(crate) enum Behind {
    /// The dataset whose view or public table it is; of several, the first by name.
    Dataset(Dataset),
    /// A dataset that is not open.
    Unopened,
    /// The first live pattern that matches, and the generation as of which it does.
    Live(Arc<LivePattern>, u64),
    /// None, yet: a table of this dataset may come to be.
    Table(Dataset),
    /// None.
    Nothing,
}

impl Directory {
    /// A directory without datasets.
    pub(crate) fn new(live: Vec<LivePattern>) -> Self {
        let live = live.into_iter().enumerate().map(|(at, pattern)| {
            let opening = Names::of(&pattern.topic).text.to_owned();
            (opening, (at, Arc::new(pattern)))
        });
        Self { datasets: RwLock::default(), live: live.collect(), generation: AtomicU64::new(1) }
    }

    /// Number of changes so far after which a live topic may be none any more.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Finds what stands behind a topic.
    pub(crate) fn behind(&self, topic: &str) -> Behind {
        // Before the look-up: what changes behind it makes another generation.
        let generation = self.generation();
        if let Some((dataset, _)) =
            topic.strip_prefix(TABLE_PREFIX).and_then(|rest| rest.split_once('/'))
        {
            let datasets = self.read();
            let is_unopened = datasets.unopened.contains_key(dataset);
            let dataset = datasets.open.get(dataset).cloned();
            drop(datasets);
            return match dataset {
                Some(dataset) if dataset.has_topic(topic) => Behind::Dataset(dataset),
                _ if is_unopened => Behind::Unopened,
                Some(dataset) => Behind::Table(dataset),
                None => Behind::Nothing,
            };
        }
        let datasets = self.read();
        let shown = first(&datasets.shown, topic).and_then(|name| datasets.open.get(name));
        if let Some(dataset) = shown {
            return Behind::Dataset(dataset.clone());
        }
        if first(&datasets.hidden, topic).is_some() {
            return Behind::Unopened;
        }
        drop(datasets);
        match self.live_pattern(topic) {
            Some(pattern) => Behind::Live(Arc::clone(pattern), generation),
            None => Behind::Nothing,
        }
    }

    /// The live pattern that a topic would have without datasets.
    fn live_pattern(&self, topic: &str) -> Option<&Arc<LivePattern>> {
        if topic.len() > limits::TOPIC_BYTES {
            return None;
        }
        let matching = self.live.values_of(topic).filter(|(_, pattern)| pattern.matches(topic));
        matching.min_by_key(|(at, _)| *at).map(|(_, pattern)| pattern)
    }

    /// Adds an open dataset if there are fewer than `limit`: then it is none that cannot be opened.
    ///
    /// # Errors
    /// [`NodeError`] when the name is taken or the node is full.
    pub(crate) fn add(&self, dataset: Dataset, limit: usize) -> Result<(), NodeError> {
        let patterns = topics_of(&dataset);
        let mut datasets = self.change();
        let name = dataset.name().clone();
        if datasets.open.contains_key(&name) {
            return Err(NodeError::Exists(name));
        }
        if datasets.open.len() >= limit {
            return Err(NodeError::TooMany { limit });
        }
        datasets.forget_unopened(&name);
        for pattern in &patterns {
            datasets.shown.insert(pattern.beginning(), (name.clone(), pattern.clone()));
        }
        datasets.open.insert(name, dataset);
        Ok(())
    }

    /// Removes an open dataset.
    pub(crate) fn remove(&self, name: &str) -> Option<Dataset> {
        let mut datasets = self.change();
        let removed = datasets.open.remove(name)?;
        for pattern in topics_of(&removed) {
            datasets.shown.remove(pattern.beginning(), |(of, _)| of == removed.name());
        }
        Some(removed)
    }

    /// Notes that a dataset is there and cannot be opened.
    pub(crate) fn set_unopened(&self, name: Name, unopened: Unopened) {
        let mut datasets = self.change();
        datasets.forget_unopened(&name);
        for View { topic, .. } in &unopened.views {
            datasets.hidden.insert(topic.beginning(), (name.clone(), topic.clone()));
        }
        datasets.unopened.insert(name, Arc::new(unopened));
    }

    /// Notes that a dataset is not there any more, or is open.
    pub(crate) fn forget_unopened(&self, name: &Name) {
        self.change().forget_unopened(name);
    }

    /// A dataset by name.
    pub(crate) fn dataset(&self, name: &str) -> Option<Dataset> {
        self.read().open.get(name).cloned()
    }

    /// The open datasets, by name.
    pub(crate) fn datasets(&self) -> Vec<Dataset> {
        self.read().open.values().cloned().collect()
    }

    /// Number of open datasets.
    pub(crate) fn count(&self) -> usize {
        self.read().open.len()
    }

    /// The names of all datasets, open or not.
    pub(crate) fn names(&self) -> BTreeSet<Name> {
        let datasets = self.read();
        datasets.open.keys().chain(datasets.unopened.keys()).cloned().collect()
    }

    /// The datasets that are not open, by name.
    pub(crate) fn unopened(&self) -> Vec<(Name, Arc<Unopened>)> {
        let datasets = self.read();
        let all = datasets.unopened.iter();
        all.map(|(name, unopened)| (name.clone(), Arc::clone(unopened))).collect()
    }

    /// A dataset that is not open, by name.
    pub(crate) fn why_unopened(&self, name: &str) -> Option<Arc<Unopened>> {
        self.read().unopened.get(name).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Datasets> {
        self.datasets.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Datasets to change. The generation is another one before the change can be seen.
    fn change(&self) -> RwLockWriteGuard<'_, Datasets> {
        let datasets = self.datasets.write().unwrap_or_else(PoisonError::into_inner);
        self.generation.fetch_add(1, Ordering::Relaxed);
        datasets
    }
}

impl Datasets {
    fn forget_unopened(&mut self, name: &Name) {
        let Some(unopened) = self.unopened.remove(name) else { return };
        for view in &unopened.views {
            self.hidden.remove(view.topic.beginning(), |(of, _)| of == name);
        }
    }
}

fn topics_of(dataset: &Dataset) -> Vec<TopicPattern> {
    dataset.views().into_iter().map(|(view, _)| view.topic).collect()
}

/// The first dataset by name that shows rows on a topic.
fn first<'a>(views: &'a PrefixIndex<(Name, TopicPattern)>, topic: &str) -> Option<&'a Name> {
    let matching = views.values_of(topic).filter(|(_, pattern)| pattern.matches(topic));
    matching.map(|(name, _)| name).min()
}

#[cfg(test)]
mod tests;
