//! The meeting point of a dataset's feed and its subscribers: no subscriber joins between two
//! commits.
//!
//! An entry may keep the feed busy for long. A caller that only asks which topics the dataset has,
//! such as each publisher to a live topic, does not wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use instep_model::feed::{Behind, Feed, JoinRefusal, Joined, Listing};
use instep_model::name::Name;
use instep_model::position::{Place, Position, Revision};
use instep_model::state::{CommitChanges, Tables};
use instep_model::view::{Failure, Failures, View};
use instep_protocol::payload::frame;
use tokio::sync::watch;

use crate::sync::lock;
use crate::topics::{Subscriber, Subscription, Topics};

/// The feed of one dataset with the topics that it tells.
pub(crate) struct Hub {
    feed: Mutex<Feed>,
    /// Index of the dataset's topics, as of the newest entry that was processed.
    behind: RwLock<Behind>,
    /// The views, each with what it could not show by then.
    views: RwLock<Vec<(View, Failures)>>,
    topics: Topics,
    place: watch::Sender<Place>,
    bookmarked: Mutex<Place>,
    /// Set when the dataset is removed: its topics may be another's from then on.
    ended: AtomicBool,
    /// Set when the dataset is about to close: subscribers are told of no entry any more.
    abandoned: AtomicBool,
    /// Count of the failures of each view that were logged.
    failures_told: Mutex<Vec<u64>>,
}

impl Hub {
    pub(crate) fn new(feed: Feed, topics: Topics) -> Self {
        let place = feed.position().place;
        Self {
            behind: RwLock::new(feed.behind()),
            views: RwLock::new(views_of(&feed)),
            feed: Mutex::new(feed),
            topics,
            place: watch::Sender::new(place),
            bookmarked: Mutex::new(place),
            ended: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            failures_told: Mutex::default(),
        }
    }

    /// Ends every topic: a subscriber looks for what it missed, and is refused; none is
    /// told anything more.
    pub(crate) fn end(&self) {
        let feed = lock(&self.feed);
        self.ended.store(true, Ordering::Release);
        self.cut(&feed);
    }

    /// Gives up the entry that is being told, and those behind it. Does not wait.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        // Joiners that wait for an entry go on without it.
        self.place.send_replace(Place { revision: Revision(u64::MAX), index: u16::MAX });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Makes every subscriber catch up.
    fn cut(&self, feed: &Feed) {
        for topic in self.topics.all() {
            if feed.has_topic(topic.name()) {
                topic.cut();
            }
        }
    }

    /// The feed, for a subscriber or one that is about to join.
    ///
    /// # Errors
    /// [`JoinRefusal::Unmatched`] when the dataset was removed.
    fn living(&self) -> Result<MutexGuard<'_, Feed>, JoinRefusal> {
        let feed = lock(&self.feed);
        if self.has_ended() { Err(JoinRefusal::Unmatched) } else { Ok(feed) }
    }

    /// Tells subscribers what an entry changed.
    pub(crate) fn apply(&self, commits: &[CommitChanges], tables: Tables, place: Place) {
        let mut feed = lock(&self.feed);
        let goes_on = || !self.abandoned.load(Ordering::Acquire);
        let Some(mut notices) = feed.apply_while(commits, tables.clone(), place, goes_on) else {
            return;
        };
        self.note(&feed, tables);
        if self.has_ended() {
            notices.clear();
        }
        // Pushed under the feed's lock: a joiner is either before all of them or after.
        for told in notices.chunk_by(|a, b| a.topic == b.topic) {
            if let Some(topic) = told.first().and_then(|notice| self.topics.get(&notice.topic)) {
                topic.push(told.iter().map(|notice| Arc::new(frame::of_notice(notice))));
            }
        }
        drop(feed);
        self.place.send_replace(place);
    }

    /// Begins anew from the tables after a panic in the middle of an entry: subscribers stay, and
    /// get what they see now instead of what they may have missed.
    pub(crate) fn rebuild(&self, tables: Tables, place: Place) {
        let mut feed = lock(&self.feed);
        *feed = feed.rebuilt(tables.clone(), place);
        self.note(&feed, tables);
        self.cut(&feed);
        drop(feed);
        self.place.send_replace(place);
    }

    /// Joins a topic: what to tell the joiner, and its place on the ring right behind that.
    pub(crate) fn join(
        &self,
        topic: &str,
        since: Option<Option<Position>>,
        listener: &Subscriber,
    ) -> Result<(Joined, Subscription), JoinRefusal> {
        let feed = self.living()?;
        let listing = feed.list(topic, since)?;
        let subscription = self.topics.subscribe(topic, listener);
        // Commits are told under this lock, and rows may be many.
        drop(feed);
        Ok((listing.make(), subscription))
    }

    /// The same, for a thread that must not wait: none while the feed is busy.
    pub(crate) fn try_join(
        &self,
        topic: &str,
        since: Option<Option<Position>>,
        listener: &Subscriber,
    ) -> Option<Result<(Joined, Subscription), JoinRefusal>> {
        let feed = self.free()?;
        let listing =
            if self.has_ended() { Err(JoinRefusal::Unmatched) } else { feed.list(topic, since) };
        let found = listing.map(|listing| (listing, self.topics.subscribe(topic, listener)));
        drop(feed);
        Some(found.map(|(listing, subscription)| (listing.make(), subscription)))
    }

    /// The feed, unless another thread has it.
    fn free(&self) -> Option<MutexGuard<'_, Feed>> {
        match self.feed.try_lock() {
            Ok(feed) => Some(feed),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Catches a subscriber up that fell off the ring; none while the feed is busy.
    pub(crate) fn try_catch_up(
        &self,
        subscription: &mut Subscription,
        since: Option<Position>,
    ) -> Option<Result<Joined, JoinRefusal>> {
        let feed = self.free()?;
        let listing = if self.has_ended() {
            Err(JoinRefusal::Unmatched)
        } else {
            Self::skipped(&feed, subscription, since)
        };
        drop(feed);
        Some(listing.map(Listing::make))
    }

    /// Catches a subscriber up that fell off the ring.
    pub(crate) fn catch_up(
        &self,
        subscription: &mut Subscription,
        since: Option<Position>,
    ) -> Result<Joined, JoinRefusal> {
        let feed = self.living()?;
        let listing = Self::skipped(&feed, subscription, since)?;
        // Commits are told under this lock, and rows may be many.
        drop(feed);
        Ok(listing.make())
    }

    fn skipped(
        feed: &Feed,
        subscription: &mut Subscription,
        since: Option<Position>,
    ) -> Result<Listing, JoinRefusal> {
        let listing = feed.list(subscription.topic().name(), Some(since))?;
        subscription.skip_to_end();
        Ok(listing)
    }

    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.behind.read().unwrap_or_else(PoisonError::into_inner).has_topic(topic)
    }

    /// The views, each with what it could not show.
    pub(crate) fn views(&self) -> Vec<(View, Failures)> {
        self.views.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what is asked while the feed is busy with the next entry.
    fn note(&self, feed: &Feed, tables: Tables) {
        let mut behind = self.behind.write().unwrap_or_else(PoisonError::into_inner);
        *behind = behind.with_tables(tables);
        drop(behind);
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        let known = views.iter().map(|(_, failures)| failures.count);
        if !known.eq(feed.views().map(|(_, failures)| failures.count)) {
            *views = views_of(feed);
        }
    }

    /// Warns of rows that views could not show since it did so last; true if there were any.
    pub(crate) fn tell_failures(&self, dataset: &Name) -> bool {
        let failed = self.new_failures();
        for (view, rows, newest) in &failed {
            tracing::warn!(
                %dataset,
                view = %view.name,
                table = %view.table,
                key = newest.key.as_str(),
                error = %newest.error,
                rows,
                "a view cannot show a row: its expression fails on it"
            );
        }
        !failed.is_empty()
    }

    /// Views that could not show rows since this was asked last: how many, and the newest one.
    fn new_failures(&self) -> Vec<(View, u64, Failure)> {
        let mut told = lock(&self.failures_told);
        let mut failed = vec![];
        for (index, (view, failures)) in self.views().into_iter().enumerate() {
            if told.len() <= index {
                told.push(0);
            }
            // A feed that began anew counts anew.
            let new = failures.count.checked_sub(told[index]).unwrap_or(failures.count);
            told[index] = failures.count;
            if let Some(newest) = failures.newest.filter(|_| new > 0) {
                failed.push((view, new, newest));
            }
        }
        failed
    }

    /// True when subscribers have been told up to `place`.
    pub(crate) fn has_told(&self, place: Place) -> bool {
        *self.place.borrow() >= place
    }

    /// Follows how far subscribers have been told.
    pub(crate) fn watch(&self) -> watch::Receiver<Place> {
        self.place.subscribe()
    }

    /// True when a bookmark would say something new.
    pub(crate) fn has_news(&self) -> bool {
        *self.place.borrow() != *lock(&self.bookmarked) && !self.has_ended()
    }

    /// Tells every joined topic up to where it is complete, if that moved since the last time
    /// (I16).
    pub(crate) fn bookmark(&self) {
        let feed = lock(&self.feed);
        let position = feed.position();
        let mut bookmarked = lock(&self.bookmarked);
        if *bookmarked == position.place || self.has_ended() {
            return;
        }
        *bookmarked = position.place;
        for topic in self.topics.all() {
            if feed.has_topic(topic.name()) {
                topic.push([Arc::new(frame::bookmark(topic.name(), position))]);
            }
        }
    }
}

fn views_of(feed: &Feed) -> Vec<(View, Failures)> {
    feed.views().map(|(view, failures)| (view.clone(), failures.clone())).collect()
}
