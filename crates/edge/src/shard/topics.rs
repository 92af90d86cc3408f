//! The topics that connections of a shard have joined, and who they are.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use instep_model::ring::Cursor;
use instep_node::{Notifier, Subscriber, Topic};
use instep_protocol::session::ChannelId;
use slab::Slab;

use super::connection::{Connection, Side};
use crate::driver::Joined;

pub(super) struct Topics {
    notifier: Arc<Notifier>,
    by_name: HashMap<Arc<str>, u32>,
    topics: Slab<Members>,
    /// Topics to look at, in the order in which something came.
    pub(super) marked: VecDeque<u32>,
}

/// One topic with its subscribers.
pub(super) struct Members {
    name: Arc<str>,
    /// None until a client has joined.
    pub(super) topic: Option<Arc<Topic>>,
    /// Cursor before which each subscriber that is not behind has been given everything.
    pub(super) cursor: Option<Cursor>,
    pub(super) members: Vec<Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) slot: u32,
    pub(super) channel: ChannelId,
}

impl Topics {
    pub(super) fn new(notifier: Arc<Notifier>) -> Self {
        Self { notifier, by_name: HashMap::new(), topics: Slab::new(), marked: VecDeque::new() }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.marked.is_empty()
    }

    pub(super) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    pub(super) fn get(&mut self, mark: u32) -> Option<&mut Members> {
        self.topics.get_mut(mark as usize)
    }

    /// Returns the subscriber of a topic for this shard, and its mark.
    pub(super) fn subscriber(&mut self, name: &Arc<str>) -> (Subscriber, u32) {
        let mark = match self.by_name.get(name) {
            Some(mark) => *mark,
            None => {
                let members =
                    Members { name: Arc::clone(name), topic: None, cursor: None, members: vec![] };
                let mark = u32::try_from(self.topics.insert(members)).unwrap_or(u32::MAX);
                self.by_name.insert(Arc::clone(name), mark);
                mark
            }
        };
        (Subscriber::Shared { notifier: Arc::clone(&self.notifier), mark }, mark)
    }

    /// Notes that a connection has joined.
    pub(super) fn enter(&mut self, mark: u32, slot: u32, joined: &mut Joined) {
        let Some(members) = self.topics.get_mut(mark as usize) else {
            return;
        };
        if members.topic.is_none() {
            members.topic = Some(Arc::clone(joined.subscription.topic()));
            members.cursor = Some(joined.subscription.cursor());
        }
        joined.mark = mark;
        joined.place = u32::try_from(members.members.len()).unwrap_or(u32::MAX);
        members.members.push(Member { slot, channel: joined.id() });
    }

    /// Forgets a subscription that has ended.
    pub(super) fn leave(&mut self, slot: u32, joined: Joined, connections: &mut Slab<Connection>) {
        let Some(topic) = self.topics.get_mut(joined.mark as usize) else {
            return;
        };
        let member = Member { slot, channel: joined.id() };
        let place = if topic.members.get(joined.place as usize) == Some(&member) {
            Some(joined.place as usize)
        } else {
            // It was moved after it had ended.
            topic.members.iter().position(|other| *other == member)
        };
        if let Some(place) = place {
            topic.members.swap_remove(place);
            if let Some(moved) = topic.members.get(place)
                && let Some(connection) = connections.get_mut(moved.slot as usize)
                && let Side::Channels(driver) = &mut connection.side
                && let Some(other) = driver.find(moved.channel)
            {
                other.place = u32::try_from(place).unwrap_or(u32::MAX);
            }
        }
        let mark = joined.mark;
        // The node forgets it before the mark can be given to another topic.
        drop(joined);
        self.forget_unused(mark);
    }

    /// Forgets a topic without subscribers.
    pub(super) fn forget_unused(&mut self, mark: u32) {
        let unused = self.topics.get(mark as usize).is_some_and(|topic| topic.members.is_empty());
        if unused {
            let members = self.topics.remove(mark as usize);
            self.by_name.remove(&members.name);
        }
    }
}
