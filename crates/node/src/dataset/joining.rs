//! Joining the topics of a dataset, and catching up with them.

use instep_model::feed::{JoinRefusal, Joined};
use instep_model::position::Position;

use super::Dataset;
use crate::topics::{Subscriber, Subscription};

impl Dataset {
    /// Joins a topic. What was acknowledged before is told to the joiner, not after it, if the
    /// dataset is settled.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn join(
        &self,
        topic: &str,
        since: Option<Option<Position>>,
        listener: &Subscriber,
    ) -> Result<(Joined, Subscription), JoinRefusal> {
        self.0.hub.join(topic, since, listener)
    }

    /// The same as [`Dataset::join`], for a thread that must not wait: none while subscribers are
    /// being told of an entry.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn try_join(
        &self,
        topic: &str,
        since: Option<Option<Position>>,
        listener: &Subscriber,
    ) -> Option<Result<(Joined, Subscription), JoinRefusal>> {
        match self.0.hub.try_join(topic, since, listener) {
            // Another joiner has it, which takes no time.
            None if self.is_settled() => Some(self.join(topic, since, listener)),
            tried => tried,
        }
    }

    /// The same as [`Dataset::catch_up`], for a thread that must not wait: none while subscribers
    /// are being told of an entry.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn try_catch_up(
        &self,
        subscription: &mut Subscription,
        since: Option<Position>,
    ) -> Option<Result<Joined, JoinRefusal>> {
        self.0.hub.try_catch_up(subscription, since)
    }

    /// Catches a subscriber up that fell off the ring: everything since `since`, by key.
    ///
    /// # Errors
    /// See [`JoinRefusal`].
    pub fn catch_up(
        &self,
        subscription: &mut Subscription,
        since: Option<Position>,
    ) -> Result<Joined, JoinRefusal> {
        self.0.hub.catch_up(subscription, since)
    }
}
