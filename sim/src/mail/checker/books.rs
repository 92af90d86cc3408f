//! Books of mail: the state that the log adds up to, computed the slow way.

use std::collections::BTreeMap;

use instep_model::mail::{MailRecord, Seq};
use instep_model::registration::Generation;
use uuid::Uuid;

use super::notes_of;
use crate::mail::fact::{Fact, Noted};

/// State of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Dead,
    Confirmed,
    Expired,
}

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: Uuid,
    pub(super) to: String,
    pub(super) via: Option<String>,
    pub(super) server: Option<String>,
    pub(super) priority: u8,
    pub(super) state: State,
    pub(super) rests: bool,
    pub(super) expires: u64,
    /// Time of storing it, and the earliest time of later entries if the clock was set back behind
    /// it.
    pub(super) stored: u64,
    pub(super) set_back: Option<u64>,
    /// Times that it was taken from the server that had it: put back, ended, or moved.
    pub(super) takings: u64,
    attempts: u16,
}

impl Message {
    /// It has lived as long as it was to, by the clock or by one that was set back.
    pub(super) fn has_lived(&self, time_ms: u64) -> bool {
        let length = self.expires.saturating_sub(self.stored);
        let anew = self.set_back.is_some_and(|at| at + length <= time_ms);
        self.expires > 0 && (self.expires <= time_ms || anew)
    }
}

/// The sum of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    /// Time of the newest entry.
    now_ms: u64,
    pub(super) messages: BTreeMap<Seq, Message>,
    /// Every message that ever was.
    pub(super) ids: BTreeMap<Seq, Uuid>,
    pub(super) directory: BTreeMap<String, String>,
    pub(super) generations: BTreeMap<String, Generation>,
    /// By commit and message: whose it was when it was confirmed or put back.
    pub(super) verdicts: BTreeMap<(u64, usize, Seq), (String, Generation)>,
    /// Confirmed since the last look, with the server.
    pub(super) confirmed: Vec<(Seq, String)>,
    /// Failures counted, by message.
    pub(super) failures: BTreeMap<Seq, u64>,
    /// Contradictions in the log.
    pub(super) problems: Vec<String>,
}

impl Books {
    /// Takes a fact in, if it is one of the log.
    pub(super) fn take(&mut self, fact: &Fact) {
        let Fact::Stored { revision, time_ms, .. } = fact else { return };
        self.now_ms = *time_ms;
        for message in self.messages.values_mut().filter(|message| message.stored > *time_ms) {
            message.set_back = Some(message.set_back.map_or(*time_ms, |at| at.min(*time_ms)));
        }
        for (index, noted) in notes_of(fact) {
            match noted {
                Noted::Route(endpoint, server) => {
                    self.directory.insert(endpoint.clone(), server.clone());
                }
                Noted::Mail(record) => self.record((*revision, index), record),
            }
        }
    }

    fn record(&mut self, (revision, index): (u64, usize), record: &MailRecord) {
        match record {
            MailRecord::Stored {
                seq, id, to, server, via, priority, not_before, expires, ..
            } => {
                let message = Message {
                    id: *id,
                    to: to.clone(),
                    via: via.clone(),
                    server: server.clone(),
                    priority: *priority,
                    state: State::Pending,
                    rests: *not_before > 0,
                    expires: *expires,
                    stored: self.now_ms,
                    set_back: None,
                    takings: 0,
                    attempts: 0,
                };
                self.store(*seq, message);
            }
            MailRecord::Routed { seq, server, via, .. } => {
                if let Some(message) = self.messages.get_mut(seq) {
                    (message.server, message.via) = (Some(server.clone()), via.clone());
                }
            }
            MailRecord::Moved { via, server, .. } => {
                self.readdress(server, |message| message.via.as_ref() == Some(via));
            }
            MailRecord::Readdressed { endpoint, server, via, .. } => {
                self.readdress(server, |message| message.to == *endpoint);
                for message in self.messages.values_mut().filter(|one| one.to == *endpoint) {
                    message.via.clone_from(via);
                }
            }
            MailRecord::Registered { server, generation } => {
                self.generations.insert(server.clone(), *generation);
            }
            MailRecord::Confirmed { seq } => {
                self.verdict((revision, index), *seq);
                self.end(*seq, State::Confirmed);
                let server = self.messages.get(seq).and_then(|message| message.server.clone());
                self.confirmed.push((*seq, server.unwrap_or_default()));
            }
            MailRecord::Expired { seq } => self.end(*seq, State::Expired),
            MailRecord::Delayed { seq, attempts, .. } => {
                self.verdict((revision, index), *seq);
                self.attempts(*seq, *attempts);
                self.with(*seq, |message| {
                    message.rests = true;
                    message.takings += 1;
                });
            }
            MailRecord::Released { seq } => self.with(*seq, |message| message.rests = false),
            MailRecord::DeadLettered { seq, attempts, .. } => {
                self.verdict((revision, index), *seq);
                self.attempts(*seq, *attempts);
                self.end(*seq, State::Dead);
            }
            MailRecord::Retried { seq } => self.with(*seq, |message| {
                (message.state, message.rests, message.attempts) = (State::Pending, false, 0);
                message.expires = 0;
            }),
            MailRecord::Forgotten { seqs } => seqs.iter().for_each(|seq| {
                self.messages.remove(seq);
            }),
            MailRecord::ServersForgotten { servers } => self.forget_servers(servers),
            MailRecord::Queue { .. } | MailRecord::SentBy { .. } => {}
        }
    }

    fn forget_servers(&mut self, servers: &[String]) {
        for server in servers {
            self.generations.remove(server);
            let holds = |message: &Message| {
                message.state == State::Pending && message.server.as_ref() == Some(server)
            };
            if self.messages.values().any(holds) {
                self.problems.push(format!("server {server} is forgotten with its mail"));
            }
        }
    }

    /// Makes unfinished messages that have a route this server's.
    fn readdress(&mut self, server: &str, which: impl Fn(&Message) -> bool) {
        for message in self.messages.values_mut().filter(|message| which(message)) {
            if message.server.is_some() && message.state == State::Pending {
                message.takings += u64::from(message.server.as_deref() != Some(server));
                message.server = Some(server.to_owned());
            }
        }
    }

    fn store(&mut self, seq: Seq, message: Message) {
        if self.ids.insert(seq, message.id).is_some() {
            self.problems.push(format!("number {seq} is used twice"));
        }
        self.messages.insert(seq, message);
    }

    fn with(&mut self, seq: Seq, change: impl FnOnce(&mut Message)) {
        match self.messages.get_mut(&seq) {
            Some(message) => change(message),
            None => self.problems.push(format!("message {seq} is not there")),
        }
    }

    fn end(&mut self, seq: Seq, state: State) {
        if self.messages.get(&seq).is_some_and(|message| message.state != State::Pending) {
            self.problems.push(format!("message {seq} has ended already"));
        }
        self.with(seq, |message| {
            (message.state, message.rests) = (state, false);
            message.takings += 1;
        });
    }

    fn attempts(&mut self, seq: Seq, attempts: u16) {
        let before = self.messages.get(&seq).map_or(0, |message| message.attempts);
        *self.failures.entry(seq).or_default() += u64::from(attempts.saturating_sub(before));
        self.with(seq, |message| message.attempts = attempts);
    }

    fn verdict(&mut self, (revision, index): (u64, usize), seq: Seq) {
        let server = self.messages.get(&seq).and_then(|message| message.server.clone());
        let server = server.unwrap_or_default();
        let generation = self.generations.get(&server).copied().unwrap_or_default();
        self.verdicts.insert((revision, index, seq), (server, generation));
    }
}
