//! A registration: somebody takes the mail of a server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use instep_model::commit::Operation;
use instep_model::limits;
use instep_model::mail::delivery::Event;
use instep_model::mail::{Hold, MailOperation, outcome};
use serde_json::{Value, json};

use super::outbox::SharedOutbox;
use super::{Answer, Answered, Delivery, MailError, Reply, Told, Wish, credit_of, seqs_of};
use crate::Node;
use crate::dataset::Dataset;
use crate::topics::Listener;

/// What becomes of what a server says, once that is known.
pub type Said = Pin<Box<dyn Future<Output = Result<Reply, MailError>> + Send>>;

/// A server's mail is given to whoever holds this, until another one registers for the same
/// server. Dropping it leaves.
pub struct Registration {
    dataset: Dataset,
    server: Arc<str>,
    number: u32,
    generation: u64,
    pending: u64,
    outbox: SharedOutbox,
}

impl Node {
    /// Registers for a server's mail. Whoever took it before is told, and takes it no more.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn register(&self, wish: Wish) -> Result<Registration, MailError> {
        let dataset = match &wish.dataset {
            Some(name) => {
                self.dataset(name).filter(Dataset::has_mail).ok_or(MailError::Unmatched)?
            }
            None => {
                let mut all = self.datasets().into_iter().filter(Dataset::has_mail);
                match (all.next(), all.next()) {
                    (None, _) => return Err(MailError::Unmatched),
                    (Some(only), None) => only,
                    (Some(_), Some(_)) => return Err(MailError::Which),
                }
            }
        };
        dataset.register(wish.server, wish.credit, wish.have).await
    }
}

impl Dataset {
    /// Registers for a server's mail in this dataset.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn register(
        &self,
        server: String,
        credit: usize,
        have: Option<Vec<u64>>,
    ) -> Result<Registration, MailError> {
        let operation = MailOperation::Register { server: server.clone() };
        let receipt = self.commit(vec![Operation::Mail(operation)].into()).await?;
        let generation = receipt.results.first().copied().flatten().unwrap_or_default();
        let generation = u64::try_from(generation).unwrap_or_default();
        let state = self.state();
        let number = state.mail.server_number(&server).ok_or(MailError::Fenced)?;
        let pending = state.mail.server(number).map_or(0, |server| server.pending);
        let outbox = SharedOutbox::default();
        self.post().registered((number, generation), credit, have, outbox.clone());
        let (dataset, server) = (self.clone(), server.into());
        Ok(Registration { dataset, server, number, generation, pending, outbox })
    }

    /// Says what became of messages, for whoever holds that registration.
    ///
    /// # Errors
    /// [`MailError::Refused`] when nothing of it was stored.
    pub async fn answer_mail(
        &self,
        server: &Arc<str>,
        generation: u64,
        answers: impl IntoIterator<Item = (u64, Answer)>,
    ) -> Result<Vec<Answered>, MailError> {
        let hold = |seq| Hold { server: Arc::clone(server), generation, seq };
        let mut answered = vec![];
        let operations = answers.into_iter().map(|(seq, answer)| {
            answered.push(Answered { seq, outcome: outcome::OK });
            Operation::Mail(answer.operation(hold(seq)))
        });
        let operations: Vec<_> = operations.collect();
        if operations.is_empty() {
            return Ok(vec![]);
        }
        let receipt = self.commit(operations.into()).await?;
        for (answered, result) in answered.iter_mut().zip(&receipt.results) {
            answered.outcome = result.unwrap_or(outcome::OK);
        }
        let fenced = answered.iter().filter(|one| one.outcome == outcome::FENCED);
        self.post().note_fenced(fenced.count() as u64);
        Ok(answered)
    }
}

impl Registration {
    /// What tells it from all before.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What whoever has registered is told first.
    #[must_use]
    pub fn greeting(&self) -> Value {
        json!({
            "dataset": self.dataset.name().as_str(), "server": &*self.server,
            "generation": self.generation, "pending": self.pending,
        })
    }

    /// Wakes `listener` whenever there is something to be told.
    pub fn listen(&self, listener: Listener) {
        self.outbox.listen(listener);
    }

    /// What is to be told next.
    #[must_use]
    pub fn take(&self) -> Option<Told> {
        loop {
            match self.outbox.take()? {
                // It was moved, or has ended, while it waited here: nobody gets it after that.
                Told::Message(delivery) if !self.is_its_own(&delivery) => {}
                told => return Some(told),
            }
        }
    }

    fn is_its_own(&self, delivery: &Delivery) -> bool {
        let state = self.dataset.state();
        state.mail.is_its_own(delivery.seq, self.number, delivery.route)
    }

    pub(super) fn has_news(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// How many messages may be unconfirmed from now on, besides those that are.
    pub(super) fn grant(&self, more: usize) {
        let unconfirmed = self.unconfirmed(0, u64::MAX).len();
        let credit = (unconfirmed + more).min(limits::MAIL_CREDIT_MOST);
        self.happened(|server, generation| Event::Credit { server, generation, credit });
    }

    /// True when more messages are pending than are given and not confirmed.
    pub(super) fn is_owed(&self) -> bool {
        let state = self.dataset.state();
        let pending = state.mail.server(self.number).map_or(0, |server| server.pending);
        pending > self.unconfirmed(0, u64::MAX).len() as u64
    }

    fn unconfirmed(&self, first: u64, last: u64) -> Vec<u64> {
        self.dataset.post().unconfirmed(self.number, self.generation, (first, last))
    }

    fn happened(&self, event: impl FnOnce(u32, u64) -> Event) {
        self.dataset.post().happened(event(self.number, self.generation));
    }

    /// Takes what the server says of its messages: an event with a JSON object.
    ///
    /// # Errors
    /// [`MailError::Bad`] and [`MailError::Event`] when that makes no sense.
    pub fn say(&self, event: &str, text: &[u8]) -> Result<Said, MailError> {
        let bad = |error: serde_json::Error| MailError::Bad(error.to_string());
        let said: Value = serde_json::from_slice(text).map_err(bad)?;
        match event {
            "ack" => Ok(self.answers(self.seqs(&said)?, Answer::Ack)),
            "nack" => {
                let delay_ms = said.get("delay_ms").and_then(Value::as_u64).unwrap_or_default();
                let failed = said.get("failed").and_then(Value::as_bool).unwrap_or_default();
                Ok(self.answers(self.seqs(&said)?, Answer::Nack { delay_ms, failed }))
            }
            "reject" => {
                let reason = said.get("reason").and_then(Value::as_str).unwrap_or_default();
                let reason = reason.to_owned();
                Ok(self.answers(self.seqs(&said)?, Answer::Reject { reason }))
            }
            "answer" => {
                let list = |field| said.get(field).map_or(Ok(vec![]), |list| seqs_of(list, field));
                let (have, seqs) = (list("have")?, list("not")?);
                self.happened(|server, generation| Event::HasNot { server, generation, seqs });
                Ok(self.answers(have, Answer::Ack))
            }
            "started" => {
                let seqs = self.seqs(&said)?;
                self.happened(|server, generation| Event::Started { server, generation, seqs });
                Ok(Box::pin(async { Ok(Reply::Noted) }))
            }
            "credit" => {
                let credit = credit_of(said.get("window").unwrap_or(&Value::Null))?;
                self.happened(|server, generation| Event::Credit { server, generation, credit });
                Ok(Box::pin(async { Ok(Reply::Noted) }))
            }
            other => Err(MailError::Event {
                event: other.to_owned(),
                known: "ack, nack, reject, started, answer or credit",
            }),
        }
    }

    /// The messages that are meant: one by one, or those between two numbers that were given.
    fn seqs(&self, said: &Value) -> Result<Vec<u64>, MailError> {
        let mut seqs = said.get("seqs").map_or(Ok(vec![]), |list| seqs_of(list, "seqs"))?;
        let ranges = said.get("ranges").and_then(Value::as_array);
        for range in ranges.into_iter().flatten() {
            let ends = (range.get(0).and_then(Value::as_u64), range.get(1).and_then(Value::as_u64));
            let (Some(first), Some(last)) = ends else {
                return Err(MailError::Bad("ranges: [[first, last], …] is wanted".into()));
            };
            seqs.extend(self.unconfirmed(first, last));
        }
        if said.get("seqs").is_none() && ranges.is_none() {
            return Err(MailError::Bad("seqs: a list of numbers of messages is wanted".into()));
        }
        match seqs.len() > limits::MAIL_CREDIT_MOST {
            true => Err(MailError::Bad(format!("seqs: at most {}", limits::MAIL_CREDIT_MOST))),
            false => Ok(seqs),
        }
    }

    fn answers(&self, seqs: Vec<u64>, answer: Answer) -> Said {
        let (dataset, server) = (self.dataset.clone(), Arc::clone(&self.server));
        let generation = self.generation;
        Box::pin(async move {
            let mut all = Vec::with_capacity(seqs.len());
            for some in seqs.chunks(limits::COMMIT_PROPOSALS) {
                let answers = some.iter().map(|seq| (*seq, answer.clone()));
                all.append(&mut dataset.answer_mail(&server, generation, answers).await?);
            }
            Ok(Reply::Answered(all))
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.happened(|server, generation| Event::Left { server, generation });
    }
}
