//! Forgetting: names of endpoints and servers that nothing needs, whose numbers are given again.
//!
//! | name | is held by |
//! | --- | --- |
//! | endpoint | a message that is remembered, or an endpoint that is routed by its row |
//! | server | a message that is remembered, or a registration |
//!
//! All of it follows from the log, so a replay forgets the same. Only whether a registration takes
//! the mail of a server *now* does not: that one is forgotten by a record
//! ([`MailRecord::ServersForgotten`](super::MailRecord)). The registrations that come after it have
//! larger generations than all that were forgotten: a number that was given out never fits another.

use super::{EndpointNo, Mail, MailChange, ServerNo};
use crate::registration::Generation;

impl Mail {
    /// A message has come to an endpoint and a server.
    pub(super) fn hold(&mut self, endpoint: EndpointNo, server: ServerNo) {
        *self.held.entry(endpoint).or_default() += 1;
        self.hold_server(server);
    }

    pub(super) fn hold_server(&mut self, server: ServerNo) {
        self.update_server(server, |server| server.held += 1);
    }

    /// A message of them is forgotten.
    pub(super) fn let_go(&mut self, endpoint: EndpointNo, server: ServerNo) {
        let left = self.held.get_mut(&endpoint).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            self.held.remove(&endpoint);
            self.release_endpoint(endpoint);
        }
        self.let_go_server(server);
    }

    pub(super) fn let_go_server(&mut self, server: ServerNo) {
        self.update_server(server, |server| server.held -= 1);
        self.release_server(server);
    }

    /// Forgets an endpoint that nothing holds, and by whose row it was routed if that is the last.
    pub(super) fn release_endpoint(&mut self, number: EndpointNo) {
        let Some(state) = self.endpoints.get(number.index()) else { return };
        let (name, via) = (state.name.clone(), state.via);
        let mut followers =
            self.followers.range((number, EndpointNo(0))..=(number, EndpointNo::NOWHERE));
        let is_followed = followers.any(|(_, follower)| *follower != number);
        if name.is_empty() || is_followed || self.held.contains_key(&number) {
            return;
        }
        self.followers.remove(&(via, number));
        self.endpoint_numbers.remove(&name);
        if let Some(state) = self.endpoints.get_mut(number.index()) {
            (state.name, state.via) = ("".into(), EndpointNo::NOWHERE);
        }
        self.vacant_endpoints.insert(number);
        while let Some(last) = self.endpoints.len().checked_sub(1)
            && self.vacant_endpoints.remove(&EndpointNo::of(last)).is_some()
        {
            self.endpoints.pop_back();
        }
        if via != EndpointNo::NOWHERE && via != number {
            self.release_endpoint(via);
        }
    }

    /// Forgets a server that nothing holds.
    pub(super) fn release_server(&mut self, number: ServerNo) {
        let state = self.servers.get(number.index());
        if state.is_some_and(|state| state.held == 0 && state.generation == Generation::NONE) {
            self.vacate_server(number);
        }
    }

    /// Forgets a server without mail that had registered, and that has no registration any more.
    pub(super) fn forget_server(&mut self, server: &str, see: &mut dyn FnMut(MailChange)) {
        let Some(number) = self.server_number(server) else { return };
        let Some(state) = self.servers.get(number.index()).filter(|state| state.held == 0) else {
            return;
        };
        let generation = state.generation;
        self.generations = self.generations.max(generation);
        self.vacate_server(number);
        see(MailChange::Forgotten { server: number, generation });
    }

    fn vacate_server(&mut self, number: ServerNo) {
        let Some(state) = self.servers.get_mut(number.index()) else { return };
        let gone = std::mem::take(state);
        if gone.server.is_empty() {
            return;
        }
        self.server_numbers.remove(&gone.server);
        self.vacant_servers.insert(number);
        while let Some(last) = self.servers.len().checked_sub(1)
            && self.vacant_servers.remove(&ServerNo::of(last)).is_some()
        {
            self.servers.pop_back();
        }
    }

    /// A snapshot of before may hold names that nothing needs.
    pub(crate) fn release_unused(&mut self) {
        for number in 0..self.endpoints.len() {
            self.release_endpoint(EndpointNo::of(number));
        }
        for number in 0..self.servers.len() {
            self.release_server(ServerNo::of(number));
        }
    }

    /// Returns true if there are numbers without a name, or generations of forgotten servers.
    #[must_use]
    pub fn has_forgotten_names(&self) -> bool {
        let vacant = !self.vacant_endpoints.is_empty() || !self.vacant_servers.is_empty();
        vacant || self.generations > Generation::NONE
    }

    /// The registered servers that nothing holds but their registration, and its generation.
    pub fn idle_servers(&self) -> impl Iterator<Item = (ServerNo, &super::ServerState)> {
        self.servers().filter(|(_, state)| state.held == 0 && state.generation > Generation::NONE)
    }

    /// The generation of the next registration of a server.
    #[must_use]
    pub fn next_generation(&self, server: &str) -> Generation {
        self.generation(server).next(self.generations)
    }
}
