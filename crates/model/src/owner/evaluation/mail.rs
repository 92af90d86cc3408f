//! From operations on messages to records. What a record does is seen by the operations behind it
//! ([`MailOverlay`](super::mail_overlay::Letters)).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Evaluation;
use super::mail_overlay::{Before, Below};
use crate::backoff::Backoff;
use crate::commit::{Record, digest, weigh_value};
use crate::json::is_deeper;
use crate::limits;
use crate::mail::derived::derived_id;
use crate::mail::kinds::Route;
use crate::mail::{
    Endpoint, HIGHEST_PRIORITY, Keep, Lease, Mail, MailOperation, MailRecord, MailRules, Message,
    NewMessage, Origin, PRIORITY, Seq, ServerNo, Status, outcome,
};
use crate::name::Name;
use crate::owner::Refusal;
use crate::registration::Generation;
use crate::row::Fields;
use crate::text::cut;

impl<'a> Evaluation<'a> {
    fn below(&self) -> Below<'a> {
        Below { mail: &self.state.mail, now_ms: self.now_ms }
    }

    /// The mail as it is behind the operations so far.
    fn mail(&mut self) -> &Mail {
        let below = self.below();
        self.own.letters.whole(below)
    }

    /// The same without messages that were just stored or confirmed.
    fn books(&self) -> &Mail {
        self.own.letters.base(self.below())
    }

    fn message(&mut self, seq: Seq) -> Option<Message> {
        let below = self.below();
        self.own.letters.message(seq, below)
    }

    fn write(&mut self, record: MailRecord) {
        let below = self.below();
        self.own.letters.write(record.clone(), below);
        self.records.push(Record::Mail(record));
    }

    fn bad(&self, detail: impl Into<String>) -> Refusal {
        Refusal::BadOperation { operation: self.operation, detail: detail.into() }
    }

    fn endpoint(&self, text: &str) -> Result<Endpoint, Refusal> {
        let refuse = |error| Refusal::BadEndpoint { operation: self.operation, error };
        self.rules.endpoint(text).map_err(refuse)
    }

    fn route(&self, endpoint: &Endpoint) -> Result<Option<Route>, Refusal> {
        self.rules.route(endpoint, |table, key| match self.row(table, key) {
            // A table that does not exist yet routes nothing.
            Err(Refusal::UnknownTable { .. }) => Ok(None),
            read => read,
        })
    }

    /// Returns the refusal for an endpoint without a route: it tells how to give it one.
    fn no_route(&self, endpoint: &Endpoint) -> Refusal {
        let row = match self.rules.origin(endpoint) {
            Origin::Row { key, .. } => Some(key.as_str().to_owned()),
            Origin::Server(_) | Origin::Nowhere => None,
        };
        Refusal::NoRoute { operation: self.operation, endpoint: endpoint.to_string(), row }
    }

    pub(super) fn create_queue(&mut self, queue: Name) -> Result<(), Refusal> {
        if self.books().queue(&queue).is_some() {
            return Ok(());
        }
        if self.books().queues().count() >= limits::QUEUES {
            return Err(self.bad(format!("a dataset has at most {} queues", limits::QUEUES)));
        }
        self.write(MailRecord::Queue { queue });
        Ok(())
    }

    /// Stores a message; computes its number.
    pub(super) fn send(&mut self, letter: NewMessage, routed: bool) -> Result<i64, Refusal> {
        let operation = self.operation;
        let NewMessage { queue, to, body, id, priority, ttl_ms, not_before, sender } = letter;
        let Some(number_of_queue) = self.books().queue(&queue) else {
            return Err(Refusal::UnknownQueue { operation, queue });
        };
        let endpoint = self.endpoint(&to)?;
        if is_deeper(&body, limits::VALUE_DEPTH) {
            return Err(Refusal::MessageTooDeep { operation, limit: limits::VALUE_DEPTH });
        }
        let body = bytes_of(&body);
        if body.len() > limits::MAIL_BODY_BYTES {
            let (bytes, limit) = (body.len(), limits::MAIL_BODY_BYTES);
            return Err(Refusal::MessageTooLarge { operation, bytes, limit });
        }
        let priority = priority.unwrap_or(PRIORITY);
        if priority > HIGHEST_PRIORITY {
            return Err(self.bad(format!("priority: 0 to {HIGHEST_PRIORITY}")));
        }
        let to = endpoint.as_str();
        let digest = fingerprint(to, &body, (priority, ttl_ms, not_before));
        let seq = self.own.letters.last(self.below()).next();
        let (scope, has_id) = (scope(&queue, sender), id.is_some());
        let id = match id {
            None => derived_id(&self.incarnation.0, seq),
            Some(id) => match self.own.letters.known((id, scope), number_of_queue, self.below()) {
                None => id,
                // Sent before: nothing is stored again, and it counts as what it was.
                Some((known, Before::Scoped(before))) if before == digest => {
                    return Ok(number(known.0));
                }
                Some((known, Before::Unscoped(before))) if before == unscoped(to, &body) => {
                    return Ok(number(known.0));
                }
                Some(_) => return Err(Refusal::MessageConflict { operation, id }),
            },
        };
        let route = if routed { self.route(&endpoint)? } else { None };
        if routed && route.is_none() {
            return Err(self.no_route(&endpoint));
        }
        let (server, via, generation) = match route {
            Some(Route { server, via, generation }) => (Some(server), via, generation),
            None => (None, None, 0),
        };
        let record = MailRecord::Stored {
            seq,
            queue,
            id,
            to: endpoint.to_string(),
            server,
            via,
            generation,
            priority,
            not_before: not_before.filter(|at| *at > self.now_ms).unwrap_or(0),
            expires: ttl_ms.map_or(0, |ttl| self.now_ms.saturating_add(ttl.max(1))),
            digest,
            body,
        };
        self.becomes(size_of(&record), 0)?;
        self.write(record);
        if has_id {
            self.write(MailRecord::SentBy { seq, scope });
        }
        Ok(number(seq.0))
    }

    /// Routes an endpoint to a server; computes the generation.
    pub(super) fn move_endpoint(
        &mut self,
        endpoint: &str,
        to: &str,
        expected: Option<u64>,
    ) -> Result<i64, Refusal> {
        let operation = self.operation;
        let endpoint = self.endpoint(endpoint)?;
        let to = self.rules.server(to).map_err(|error| self.bad(format!("to: {error}")))?;
        let to = to.to_owned();
        let Origin::Row { table, key, field } = self.rules.origin(&endpoint) else {
            let endpoint = endpoint.to_string();
            return Err(Refusal::NotMovable { operation, endpoint });
        };
        if key.as_str() != endpoint.as_str() {
            let detail = format!("{endpoint} has the server of {key}: move that");
            return Err(self.bad(detail));
        }
        if self.options(&table).is_err() {
            self.create_table(table.clone(), crate::commit::TableOptions::default())?;
        }
        let mut row = self.row(&table, &key)?.map_or_else(Fields::new, |row| row.fields());
        let before = row.get("generation").and_then(Value::as_u64).unwrap_or(0);
        if expected.is_some_and(|expected| expected != before) {
            let detail = format!("the route of {endpoint} has generation {before}");
            return Err(Refusal::ConditionFailed { operation, table, key, detail });
        }
        let next = before.checked_add(1).and_then(|next| u32::try_from(next).ok());
        let generation = next.ok_or_else(|| {
            self.bad(format!(
                "the route of {endpoint} has generation {before}: none comes behind it"
            ))
        })?;
        row.insert(field, json!(to));
        row.insert("generation".into(), json!(generation));
        self.put(table, key, &row)?;
        self.moves(|mail, left| mail.moves(endpoint.as_str(), left))?;
        self.write(MailRecord::Moved { via: endpoint.to_string(), server: to, generation });
        Ok(i64::from(generation))
    }

    /// Counts the messages that moves look at: a commit that moves the same messages to and fro
    /// would become work and changes without end.
    fn moves(&mut self, count: impl FnOnce(&Mail, u64) -> u64) -> Result<(), Refusal> {
        let before = self.moves;
        let mail = self.mail();
        let limit = limits::COMMIT_MOVES + limits::COMMIT_MOVES_OF_ALL * mail.movable();
        let moves = before.saturating_add(count(mail, limit.saturating_sub(before)));
        self.moves = moves;
        if moves > limit {
            Err(Refusal::TooManyMoves { operation: self.operation, limit })
        } else {
            Ok(())
        }
    }

    /// Gives the unfinished messages of an endpoint its route of now; computes the generation.
    pub(super) fn readdress(&mut self, endpoint: &str) -> Result<i64, Refusal> {
        let endpoint = self.endpoint(endpoint)?;
        let Some(Route { server, via, generation }) = self.route(&endpoint)? else {
            return Err(self.no_route(&endpoint));
        };
        let endpoint = endpoint.to_string();
        self.moves(|mail, _| mail.readdresses(&endpoint))?;
        self.write(MailRecord::Readdressed { endpoint, server, via, generation });
        Ok(i64::from(generation))
    }

    /// Queues a dead letter again; computes its number.
    pub(super) fn retry(&mut self, seq: Seq) -> Result<i64, Refusal> {
        let operation = self.operation;
        match self.message(seq).map(|message| message.status) {
            Some(Status::Dead) => {
                // Its endpoint may have moved while it was dead.
                self.route_again(seq)?;
                self.write(MailRecord::Retried { seq });
                Ok(number(seq.0))
            }
            Some(_) => Err(self.bad(format!("message {seq} is no dead letter"))),
            None => Err(Refusal::UnknownMessage { operation, seq }),
        }
    }

    /// Gives a message the route that its endpoint has now.
    fn route_again(&mut self, seq: Seq) -> Result<(), Refusal> {
        let operation = self.operation;
        let mail = self.mail();
        let Some(message) = mail.message(seq) else {
            return Err(Refusal::UnknownMessage { operation, seq });
        };
        let (text, generation) = (mail.endpoint(message.endpoint).to_owned(), message.generation);
        let server = mail.server(message.server).map(|server| Arc::clone(&server.server));
        let endpoint = self.endpoint(&text)?;
        let Some(route) = self.route(&endpoint)? else {
            return Err(self.no_route(&endpoint));
        };
        if server.as_deref() != Some(&*route.server) || generation != route.generation {
            let Route { server, via, generation } = route;
            self.write(MailRecord::Routed { seq, server, via, generation });
        }
        Ok(())
    }

    pub(super) fn do_mail(&mut self, wanted: MailOperation) -> Result<i64, Refusal> {
        match wanted {
            MailOperation::Register { server } => self.register(server),
            MailOperation::Ack(lease) => Ok(match self.held(&lease) {
                Ok(_) => {
                    self.write(MailRecord::Confirmed { seq: lease.seq });
                    outcome::OK
                }
                Err(outcome) => outcome,
            }),
            MailOperation::Nack { lease, delay_ms, failed } => {
                Ok(self.nack(&lease, delay_ms, failed))
            }
            MailOperation::Reject { lease, mut reason } => Ok(match self.held(&lease) {
                Ok(message) => {
                    let attempts = message.attempts.saturating_add(1);
                    reason.truncate(cut(&reason, limits::MAIL_REASON_BYTES).len());
                    self.write(MailRecord::DeadLettered { seq: lease.seq, attempts, reason });
                    outcome::OK
                }
                Err(outcome) => outcome,
            }),
            MailOperation::WorkerDied(lease) => Ok(match self.its_own(&lease) {
                Ok(message) => {
                    self.failed(lease.seq, &message, 0, "its server died while working on it")
                }
                Err(outcome) => outcome,
            }),
            MailOperation::Route { seq } => self.fill_in(seq),
            MailOperation::Sweep => Ok(self.tend()),
            MailOperation::ForgetServers(servers) => Ok(self.forget_servers(&servers)),
        }
    }

    fn register(&mut self, server: String) -> Result<i64, Refusal> {
        match self.rules.server(&server) {
            Ok(id) if id == server => {}
            // A topic is not read in two ways: a joiner is told which it is.
            Ok(id) => return Err(self.bad(format!("the id of server {server:?} is {id:?}"))),
            Err(error) => return Err(self.bad(error.to_string())),
        }
        let generation = self.books().next_generation(&server);
        self.write(MailRecord::Registered { server, generation });
        Ok(number(generation.0))
    }

    /// Forgets servers; computes how many.
    fn forget_servers(&mut self, servers: &[(Arc<str>, Generation)]) -> i64 {
        let mail = self.mail();
        let is_idle = |(server, generation): &&(Arc<str>, Generation)| {
            let number = mail.server_number(server);
            let state = number.and_then(|number| mail.server(number));
            state.is_some_and(|state| state.held == 0 && state.generation == *generation)
        };
        let idle = servers.iter().take(limits::MAIL_TENDED).filter(is_idle);
        let servers: Vec<String> = idle.map(|(server, _)| server.to_string()).collect();
        let count = servers.len() as u64;
        if count > 0 {
            self.write(MailRecord::ServersForgotten { servers });
        }
        number(count)
    }

    /// A pending message that the newest registration of its server speaks of.
    fn held(&mut self, lease: &Lease) -> Result<Message, i64> {
        let message = self.its_own(lease)?;
        let newest = self.books().server(message.server).map(|server| server.generation);
        if newest.is_some_and(|newest| lease.generation.is_newest(newest)) {
            Ok(message)
        } else {
            Err(outcome::FENCED)
        }
    }

    /// A pending message of that server.
    fn its_own(&mut self, lease: &Lease) -> Result<Message, i64> {
        let last = self.own.letters.last(self.below());
        let message =
            self.message(lease.seq).ok_or(if lease.seq <= last && lease.seq > Seq::ZERO {
                // It has ended so long ago that it is forgotten.
                outcome::DONE
            } else {
                outcome::UNKNOWN
            })?;
        match message.status {
            // Ended, by whichever event: no answer is needed any more.
            Status::Dead | Status::Confirmed | Status::Expired => return Err(outcome::DONE),
            Status::Pending => {}
        }
        let server = self.books().server(message.server).map(|server| &*server.server);
        if message.server == ServerNo::NOWHERE || server != Some(&*lease.server) {
            return Err(outcome::NOT_YOURS);
        }
        // Its time is over, also when the house has not got round to it.
        if self.books().has_expired(lease.seq, &message, self.now_ms) {
            Err(outcome::DONE)
        } else {
            Ok(message)
        }
    }

    fn nack(&mut self, lease: &Lease, delay_ms: u64, failed: bool) -> i64 {
        let message = match self.held(lease) {
            Ok(message) => message,
            Err(outcome) => return outcome,
        };
        if failed {
            return self.failed(lease.seq, &message, delay_ms, "it failed too often");
        }
        let not_before = self.now_ms.saturating_add(delay_ms.max(1));
        let attempts = message.attempts;
        self.write(MailRecord::Delayed { seq: lease.seq, attempts, not_before });
        outcome::OK
    }

    /// Counts a failure: the message rests, for longer each time, or is a dead letter.
    fn failed(&mut self, seq: Seq, message: &Message, delay_ms: u64, reason: &str) -> i64 {
        let attempts = message.attempts.saturating_add(1);
        if attempts >= self.rules.max_attempts {
            let reason = format!("{reason} ({attempts} attempts)");
            self.write(MailRecord::DeadLettered { seq, attempts, reason });
            return outcome::OK;
        }
        let backoff =
            Backoff { first_ms: self.rules.retry_ms, most_ms: limits::MAIL_RETRY_MS_MOST };
        // Different for each message, and the same on every machine.
        let spread = digest(&[seq.0.to_le_bytes(), u64::from(attempts).to_le_bytes()].concat());
        let rest = backoff.wait_ms(u32::from(attempts - 1), spread);
        let not_before = self.now_ms.saturating_add(rest.max(delay_ms).max(1));
        self.write(MailRecord::Delayed { seq, attempts, not_before });
        outcome::OK
    }

    fn fill_in(&mut self, seq: Seq) -> Result<i64, Refusal> {
        let Some(message) = self.message(seq) else { return Ok(outcome::UNKNOWN) };
        let is_over = self.books().has_expired(seq, &message, self.now_ms);
        if message.server != ServerNo::NOWHERE || message.status != Status::Pending || is_over {
            return Ok(outcome::DONE);
        }
        let text = self.mail().endpoint(message.endpoint).to_owned();
        // Its kind may be one that is not configured any more.
        let Ok(endpoint) = self.rules.endpoint(&text) else { return Ok(outcome::NO_ROUTE) };
        Ok(match self.route(&endpoint)? {
            Some(Route { server, via, generation }) => {
                self.write(MailRecord::Routed { seq, server, via, generation });
                outcome::OK
            }
            None => outcome::NO_ROUTE,
        })
    }

    /// Does everything that is due; computes how much that was.
    fn tend(&mut self) -> i64 {
        let MailRules { keep_finished, keep_ms, keep_dead, .. } = *self.rules;
        let keep = Keep { finished: keep_finished, finished_ms: keep_ms, dead: keep_dead };
        let now_ms = self.now_ms;
        let due = self.mail().due(now_ms, keep, limits::MAIL_TENDED);
        let done = due.expired.len() + due.released.len() + due.forgotten.len();
        let is_pending = |message: Message| message.status == Status::Pending;
        for seq in due.expired {
            self.write(MailRecord::Expired { seq });
        }
        for seq in due.released {
            if self.message(seq).is_some_and(is_pending) {
                self.write(MailRecord::Released { seq });
            }
        }
        if !due.forgotten.is_empty() {
            self.write(MailRecord::Forgotten { seqs: due.forgotten });
        }
        number(done as u64)
    }
}

/// About how many bytes a record takes in an entry.
pub(super) fn size_of(record: &MailRecord) -> usize {
    match record {
        MailRecord::Stored { body, .. } => body.len() + limits::ENDPOINT_BYTES,
        MailRecord::SentBy { .. } => 16,
        MailRecord::Forgotten { seqs } => 8 * seqs.len(),
        MailRecord::ServersForgotten { servers } => {
            servers.iter().map(|server| server.len() + 8).sum()
        }
        _ => limits::NAME_BYTES + limits::KEY_BYTES,
    }
}

/// Scope of message ids: a sender's ids in a queue are its own.
fn scope(queue: &Name, sender: u64) -> u64 {
    digest(&[&sender.to_le_bytes(), queue.as_str().as_bytes()].concat())
}

/// Fingerprint by which a message is the same that was sent before: everything said of it.
fn fingerprint(to: &str, body: &[u8], said: (u8, Option<u64>, Option<u64>)) -> u64 {
    let (priority, ttl_ms, not_before) = said;
    let mut text = Vec::with_capacity(to.len() + body.len() + 32);
    text.extend_from_slice(to.as_bytes());
    text.extend([0, priority]);
    for time in [ttl_ms, not_before] {
        text.push(u8::from(time.is_some()));
        text.extend(time.unwrap_or_default().to_le_bytes());
    }
    text.extend_from_slice(body);
    digest(&text)
}

/// The fingerprint of messages that were stored before ids had scopes.
fn unscoped(to: &str, body: &[u8]) -> u64 {
    digest(&[to.as_bytes(), b"\0", body].concat())
}

/// A body as it is stored: JSON without spaces.
fn bytes_of(body: &Value) -> Bytes {
    let mut text = Vec::with_capacity(weigh_value(body) + 2);
    serde_json::to_writer(&mut text, body).expect("JSON is always written into memory");
    text.into()
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
