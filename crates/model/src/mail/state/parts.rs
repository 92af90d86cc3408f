//! The mail as the parts of a snapshot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{EndpointNo, EndpointState, Mail, Message, QueueState, Seq, ServerNo, ServerState};
use crate::registration::Generation;

/// The parts of which a snapshot is made: everything else follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MailPart {
    /// A queue; the books count messages that are linked again.
    Queue(QueueState),
    /// A server.
    Server(ServerState),
    /// An endpoint, and whose row routes it.
    Endpoint(Arc<str>, EndpointNo),
    /// A message, and why it is a dead letter if it is one.
    Message(Seq, Message, Option<Arc<str>>),
    /// The number of the newest message.
    Last(Seq),
    /// A message rests, since then.
    Delayed(Seq, u64),
    /// A message expires then by a clock that was set back.
    Overtaken(Seq, u64),
    /// The scope of a message's id.
    SentBy(Seq, u64),
    /// The number of a server that is forgotten.
    VacantServer,
    /// The number of an endpoint that is forgotten.
    VacantEndpoint,
    /// The largest generation of a server that is forgotten.
    Generations(Generation),
}

impl Mail {
    /// Everything, in the order in which [`Mail::restore`] takes it.
    pub fn parts(&self) -> impl Iterator<Item = MailPart> + '_ {
        let queues = self.queues.iter().cloned().map(MailPart::Queue);
        let servers = self.servers.iter().map(|server| {
            if server.server.is_empty() {
                MailPart::VacantServer
            } else {
                MailPart::Server(server.clone())
            }
        });
        let endpoints = self.endpoints.iter().map(|endpoint| {
            if endpoint.name.is_empty() {
                MailPart::VacantEndpoint
            } else {
                MailPart::Endpoint(Arc::clone(&endpoint.name), endpoint.via)
            }
        });
        let generations = (self.generations > Generation::NONE)
            .then_some(MailPart::Generations(self.generations));
        let messages = self
            .messages
            .range(Seq::ZERO)
            .map(|(seq, message)| MailPart::Message(seq, message, self.dead.get(&seq).cloned()));
        let all = queues.chain(servers).chain(endpoints).chain(messages).chain(generations);
        let scopes = self.scopes.iter().map(|(seq, scope)| MailPart::SentBy(seq, scope));
        all.chain(self.clocks.parts()).chain(scopes).chain([MailPart::Last(self.last)])
    }

    /// Takes a part of a snapshot back.
    pub fn restore(&mut self, part: MailPart) {
        match part {
            MailPart::Queue(queue) => {
                // What is linked again is counted again.
                self.queues.push_back(QueueState {
                    pending: 0,
                    unrouted: 0,
                    dead: 0,
                    kept: 0,
                    ..queue
                });
            }
            MailPart::Server(server) => {
                let number = ServerNo::of(self.servers.len());
                self.server_numbers.insert(Arc::clone(&server.server), number);
                self.servers.push_back(ServerState { pending: 0, held: 0, ..server });
            }
            MailPart::VacantServer => {
                self.vacant_servers.insert(ServerNo::of(self.servers.len()));
                self.servers.push_back(ServerState::default());
            }
            MailPart::Endpoint(name, via) => {
                let number = EndpointNo::of(self.endpoints.len());
                self.endpoint_numbers.insert(Arc::clone(&name), number);
                self.endpoints.push_back(EndpointState { name, via });
                if via != EndpointNo::NOWHERE {
                    self.followers.insert((via, number));
                }
            }
            MailPart::VacantEndpoint => {
                self.vacant_endpoints.insert(EndpointNo::of(self.endpoints.len()));
                let name = "".into();
                self.endpoints.push_back(EndpointState { name, via: EndpointNo::NOWHERE });
            }
            MailPart::Message(seq, message, reason) => {
                if let Some(reason) = reason {
                    self.dead.insert(seq, reason);
                }
                self.know(seq, &message);
                self.hold(message.endpoint, message.server);
                self.put(seq, message, &mut |_| {});
            }
            MailPart::Last(last) => self.last = last,
            MailPart::Generations(generations) => self.generations = generations,
            MailPart::SentBy(seq, scope) => drop(self.scopes.insert((seq, scope))),
            MailPart::Delayed(seq, since) => self.clocks.rests(seq, since),
            MailPart::Overtaken(seq, until) => self.clocks.overtake(seq, until),
        }
    }
}
