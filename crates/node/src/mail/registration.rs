//! A registration: the right of one connection, or of one puller, to take the mail of a server.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use instep_model::commit::Operation;
use instep_model::limits;
use instep_model::mail::delivery::{Event, Given, Meant};
use instep_model::mail::{Lease, Mail, MailOperation, RegistrationId, Seq, Status, outcome};
use instep_model::registration::Generation;
use instep_protocol::payload::mail::Registered;
use instep_protocol::payload::mail::words::{Which, Words, few};
use tokio::sync::oneshot;

use super::port::Port;
use super::told::SharedOutbox;
use super::{Answer, Answered, Delivery, MailError, Push, Reply};
use crate::clock::now_ms;
use crate::quota::{Permit, Quota};
use crate::sync::lock;
use crate::topics::Subscriber;

/// Reply to an event of a server, once its outcome is known.
pub type Said = Pin<Box<dyn Future<Output = Result<Reply, MailError>> + Send>>;

/// Registration of a server: its holder is given the server's mail, until another one registers for
/// the same server. Dropping it leaves.
pub struct Registration {
    port: Port,
    server: Arc<str>,
    id: RegistrationId,
    pending: u64,
    outbox: SharedOutbox,
    /// Quota of its events that wait for the delivery.
    quota: Arc<Quota>,
    /// Messages written to this connection.
    given: Arc<Mutex<Given>>,
}

impl Port {
    /// Registers for a server's mail in this dataset. The registration before is told, and takes it
    /// no more.
    ///
    /// # Errors
    /// [`MailError`].
    pub(super) async fn register(
        &self,
        server: String,
        credit: usize,
        have: Option<Vec<Seq>>,
    ) -> Result<Registration, MailError> {
        let permit = self.mail().permit_to_begin()?;
        let operation = MailOperation::Register { server: server.clone() };
        let receipt = self.commit(vec![Operation::Mail(operation)].into()).await?;
        let generation = receipt.results.first().copied().flatten().unwrap_or_default();
        let generation = Generation(u64::try_from(generation).unwrap_or_default());
        let state = self.state();
        let number = state.mail.server_number(&server).ok_or(MailError::Fenced)?;
        let pending = state.mail.server(number).map_or(0, |server| server.pending);
        let outbox = SharedOutbox::default();
        let id = number.at(generation);
        self.mail().registered(id, (credit, have), outbox.clone(), permit);
        let (port, server, given) = (self.clone(), server.into(), Arc::default());
        let quota = self.mail().quota();
        Ok(Registration { port, server, id, pending, outbox, quota, given })
    }

    /// Goes on as the newest registration of a server, which pulled before it was silent for long
    /// or this process began.
    pub(super) fn resume(
        &self,
        server: &str,
        generation: Generation,
    ) -> Result<Registration, MailError> {
        let state = self.state();
        let newest = state.mail.generation(server);
        if generation > newest {
            return Err(MailError::NotRegistered { generation, newest });
        }
        let number = state.mail.server_number(server).filter(|_| generation == newest);
        let number = number.ok_or(MailError::Fenced)?;
        let pending = state.mail.server(number).map_or(0, |server| server.pending);
        let outbox = SharedOutbox::default();
        let permit = self.mail().permit_to_begin()?;
        let id = number.at(generation);
        self.mail().resumed(id, outbox.clone(), permit);
        let (port, server, given) = (self.clone(), server.into(), Arc::default());
        let quota = self.mail().quota();
        Ok(Registration { port, server, id, pending, outbox, quota, given })
    }

    /// Takes in that a registration has not got messages that it was asked about; for each what
    /// becomes of that.
    pub(super) fn has_not(
        &self,
        (server, generation): (&str, Generation),
        seqs: Vec<Seq>,
        permit: Permit,
    ) -> Vec<Answered> {
        let state = self.state();
        let mail = &state.mail;
        let is_newest = generation.is_newest(mail.generation(server));
        let otherwise = if is_newest { outcome::OK } else { outcome::FENCED };
        let outcome = |seq| standing(mail, server, seq).unwrap_or(otherwise);
        let all = seqs.iter().map(|seq| Answered { seq: *seq, outcome: outcome(*seq) });
        let all = all.collect();
        if let Some(server) = mail.server_number(server).filter(|_| is_newest) {
            let registration = server.at(generation);
            self.mail().happened(Event::HasNot { registration, seqs }, Some(permit));
        }
        all
    }

    /// Stores answers about messages, for the holder of that registration.
    ///
    /// # Errors
    /// [`MailError::Refused`] when nothing of it was stored.
    pub(super) async fn answer_mail(
        &self,
        server: &Arc<str>,
        generation: Generation,
        answers: impl IntoIterator<Item = (Seq, Answer)>,
    ) -> Result<Vec<Answered>, MailError> {
        let lease = |seq| Lease { server: Arc::clone(server), generation, seq };
        let mut answered = vec![];
        let operations = answers.into_iter().map(|(seq, answer)| {
            answered.push(Answered { seq, outcome: outcome::OK });
            Operation::Mail(operation_of(answer, lease(seq)))
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
        self.mail().note_fenced(fenced.count() as u64);
        Ok(answered)
    }
}

impl Registration {
    /// Generation, which tells it from all registrations before.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.id.generation
    }

    /// Greeting: the first message to a client that has registered.
    #[must_use]
    pub fn greeting(&self) -> Bytes {
        let (dataset, server) = (self.port.name().as_str(), &*self.server);
        let (generation, pending) = (self.id.generation, self.pending);
        Registered { dataset, generation, pending, server }.encode()
    }

    /// Wakes `listener` whenever there is something to be told.
    pub fn listen(&self, listener: Subscriber) {
        self.outbox.listen(listener);
    }

    /// Returns the next event for the registration.
    #[must_use]
    pub fn take(&self) -> Option<Push> {
        loop {
            match self.outbox.take()? {
                Push::Message(mut delivery) => {
                    // It was moved, or has ended, while it waited here: it is not given after that.
                    if self.is_its_own(&delivery) {
                        lock(&self.given).give(delivery.seq);
                        self.port.mail().date(&mut delivery);
                        return Some(Push::Message(delivery));
                    }
                }
                Push::Gone(seqs) => {
                    lock(&self.given).gone(&seqs);
                    return Some(Push::Gone(seqs));
                }
                told @ (Push::Ask(_) | Push::Replaced) => return Some(told),
            }
        }
    }

    /// Returns true if a message is still to be given to it.
    pub(super) fn is_its_own(&self, delivery: &Delivery) -> bool {
        let state = self.port.state();
        state.mail.is_its_own(delivery.seq, self.id.server, delivery.route, now_ms())
    }

    /// Returns true if it is still to be asked about a message.
    pub(super) fn is_asked(&self, seq: Seq) -> bool {
        let message = self.port.state().mail.message(seq);
        message.is_some_and(|one| one.status == Status::Pending && one.server == self.id.server)
    }

    pub(super) fn has_news(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Quota of its events.
    pub(super) fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// Permits an event about so many messages.
    pub(super) fn permit(&self, messages: usize) -> Result<Permit, MailError> {
        self.port.mail().permit(Some(&self.quota), messages)
    }

    pub(super) fn happened(
        &self,
        permit: Option<Permit>,
        event: impl FnOnce(RegistrationId) -> Event,
    ) {
        self.port.mail().happened(event(self.id), permit);
    }

    /// Begins a pull of `most` messages. The receiver tells when what was there for it is given.
    ///
    /// # Errors
    /// [`MailError::Busy`].
    pub(super) fn pull_began(&self, most: usize) -> Result<oneshot::Receiver<()>, MailError> {
        let permit = self.permit(0)?;
        let (looked, receiver) = oneshot::channel();
        let event = Event::PullBegan { registration: self.id, most };
        self.port.mail().pull_began(event, looked, permit);
        Ok(receiver)
    }

    /// Takes what the server says of its messages: an event with a JSON object.
    ///
    /// # Errors
    /// [`MailError::Bad`] and [`MailError::Event`] when that makes no sense, and
    /// [`MailError::Busy`]; nothing has happened then.
    pub fn say(&self, event: &str, text: &[u8]) -> Result<Said, MailError> {
        match Words::read(event, text)? {
            Words::Answer(which, answer) => {
                let Meant { seqs, unknown } = self.meant(which)?;
                Ok(self.answers(seqs, answer, self.outcomes(&unknown, outcome::NOT_GIVEN)))
            }
            Words::Have { have, not } => {
                let permit = self.permit(not.len())?;
                lock(&self.given).gone(&not);
                let said = self.outcomes(&not, outcome::OK);
                let event = |registration| Event::HasNot { registration, seqs: not };
                self.happened(Some(permit), event);
                Ok(self.answers(have, Answer::Ack, said))
            }
            Words::Started(which) => {
                self.port.mail().permit_work()?;
                let Meant { seqs, .. } = self.meant(which)?;
                let permit = self.permit(seqs.len())?;
                let event = |registration| Event::Started { registration, seqs };
                self.happened(Some(permit), event);
                Ok(Box::pin(async { Ok(Reply::Noted) }))
            }
            Words::Credit(credit) => {
                let event = |registration| Event::Credit { registration, credit };
                self.happened(Some(self.permit(0)?), event);
                Ok(Box::pin(async { Ok(Reply::Noted) }))
            }
        }
    }

    /// The messages that are meant: one by one, or those of ranges that the client has read here.
    fn meant(&self, which: Which) -> Result<Meant, MailError> {
        let Which { seqs, ranges } = which;
        let mut all = Meant { seqs, unknown: vec![] };
        if !ranges.is_empty() {
            let mut known: BTreeSet<Seq> = all.seqs.iter().copied().collect();
            let given = lock(&self.given);
            for (first, last) in ranges {
                let Meant { seqs, unknown } = given.range(first, last);
                all.seqs.extend(seqs.into_iter().filter(|seq| known.insert(*seq)));
                all.unknown.extend(unknown.into_iter().filter(|seq| known.insert(*seq)));
            }
        }
        all.seqs = few("seqs", all.seqs)?;
        Ok(all)
    }

    /// Returns outcomes of messages that are not changed: their state, or else `otherwise`.
    fn outcomes(&self, seqs: &[Seq], otherwise: i64) -> Vec<Answered> {
        let state = self.port.state();
        let say = |seq: &Seq| {
            let outcome = standing(&state.mail, &self.server, *seq).unwrap_or(otherwise);
            Answered { seq: *seq, outcome }
        };
        seqs.iter().map(say).collect()
    }

    /// Stores an answer for each message and returns the outcomes; `said` are known already.
    fn answers(&self, seqs: Vec<Seq>, answer: Answer, said: Vec<Answered>) -> Said {
        let (port, server) = (self.port.clone(), Arc::clone(&self.server));
        let (generation, given) = (self.id.generation, Arc::clone(&self.given));
        let closed = lock(&given).answer(&seqs);
        Box::pin(async move {
            let mut all = Vec::with_capacity(seqs.len() + said.len());
            for some in seqs.chunks(limits::COMMIT_PROPOSALS) {
                let answers = some.iter().map(|seq| (*seq, answer.clone()));
                match port.answer_mail(&server, generation, answers).await {
                    Ok(mut answered) => all.append(&mut answered),
                    Err(error) => {
                        // Nothing of it is stored: a range means these messages as before.
                        lock(&given).reopen(&closed);
                        return Err(error);
                    }
                }
            }
            all.extend(said);
            Ok(Reply::Answered(all))
        })
    }
}

fn operation_of(answer: Answer, lease: Lease) -> MailOperation {
    match answer {
        Answer::Ack => MailOperation::Ack(lease),
        Answer::Nack { delay_ms, failed } => MailOperation::Nack { lease, delay_ms, failed },
        Answer::Reject { reason } => MailOperation::Reject { lease, reason },
    }
}

/// Returns the outcome for a message of which the server has nothing to change; none if it has.
fn standing(mail: &Mail, server: &str, seq: Seq) -> Option<i64> {
    match mail.message(seq) {
        None if seq > Seq::ZERO && seq <= mail.last() => Some(outcome::DONE),
        None => Some(outcome::UNKNOWN),
        Some(message) if message.status != Status::Pending => Some(outcome::DONE),
        Some(message) => {
            let own = mail.server(message.server).is_some_and(|own| *own.server == *server);
            (!own).then_some(outcome::NOT_YOURS)
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.port.mail().left(self.id, Arc::clone(&self.outbox));
    }
}
