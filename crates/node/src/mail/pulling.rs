//! Mail for programs that hold no socket: a registration that lives between requests.

use std::any::Any;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use instep_model::limits;
use instep_model::mail::Seq;
use instep_model::mail::delivery::Event;
use instep_model::registration::Generation;
use tokio::sync::{Notify, oneshot};

use super::port::Port;
use super::{Answer, Answered, Answers, Delivery, MailError, Nack, Push, Registration, Reject};
use crate::quota::Quota;
use crate::sync::lock;
use crate::topics::Subscriber;

const IDLE: Duration = Duration::from_millis(limits::MAIL_PULL_IDLE_MS);

/// Result of a pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// The generation of the registration.
    pub registration: Generation,
    /// Messages to work on.
    pub messages: Vec<Delivery>,
    /// Messages that the server is asked about.
    pub ask: Vec<Seq>,
}

/// Registrations that pull.
#[derive(Default)]
pub(crate) struct Pulls(Mutex<HashMap<String, Puller>>);

/// Guard kept beside a registration for as long as it lasts: with it, the door that admits pullers
/// counts them.
pub type Kept = Box<dyn Any + Send + Sync>;

/// Parameters of a pull.
#[derive(Debug, Clone, Copy)]
pub struct Pull {
    /// Registration, as the first pull returned it; without it a new registration takes over.
    pub registration: Option<Generation>,
    /// Limit of messages.
    pub max: usize,
    /// Timeout of waiting for the first message.
    pub wait: Duration,
}

#[derive(Clone)]
struct Puller {
    registration: Arc<Registration>,
    notify: Arc<Notify>,
    seen: Instant,
    _kept: Arc<Kept>,
}

impl Puller {
    fn new(registration: Registration, kept: Kept) -> Self {
        let notify = Arc::new(Notify::new());
        registration.listen(Subscriber::Task(Arc::clone(&notify)));
        let (registration, _kept) = (Arc::new(registration), Arc::new(kept));
        Self { registration, notify, seen: Instant::now(), _kept }
    }
}

impl Pulls {
    /// Removes the registrations of pullers that have been silent for long.
    pub(super) fn forget_silent(&self) {
        let mut pulls = lock(&self.0);
        let silent: Vec<String> = pulls
            .iter()
            .filter(|(_, puller)| puller.seen.elapsed() > IDLE)
            .map(|(server, _)| server.clone())
            .collect();
        let gone: Vec<_> = silent.iter().filter_map(|server| pulls.remove(server)).collect();
        // Leaving wakes others; not under the lock.
        drop(pulls);
        drop(gone);
    }

    /// Removes all of them.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        drop(all);
    }

    /// Notes a sign of life of the puller of this registration; gives the quota of its events.
    fn saw(&self, server: &str, generation: Generation) -> Option<Arc<Quota>> {
        let mut pulls = lock(&self.0);
        let known = pulls.get_mut(server);
        let puller = known.filter(|known| known.registration.generation() == generation)?;
        puller.seen = Instant::now();
        Some(Arc::clone(puller.registration.quota()))
    }

    /// The puller of this registration, or else another one that `resume` makes of it.
    fn find_or(
        &self,
        server: &str,
        generation: Generation,
        resume: impl FnOnce() -> Result<Puller, MailError>,
    ) -> Result<Puller, MailError> {
        let mut pulls = lock(&self.0);
        if let Some(known) = pulls.get_mut(server)
            && known.registration.generation() == generation
        {
            known.seen = Instant::now();
            return Ok(known.clone());
        }
        let puller = resume()?;
        let before = pulls.insert(server.to_owned(), puller.clone());
        drop(pulls);
        drop(before);
        Ok(puller)
    }

    fn put(&self, server: &str, puller: Puller) -> Puller {
        let before = lock(&self.0).insert(server.to_owned(), puller.clone());
        drop(before);
        puller
    }

    fn remove(&self, server: &str, generation: Generation) {
        let mut pulls = lock(&self.0);
        let ours = |puller: &Puller| puller.registration.generation() == generation;
        let gone = pulls.get(server).is_some_and(ours).then(|| pulls.remove(server));
        drop(pulls);
        drop(gone);
    }
}

impl Port {
    /// Takes messages of a server, and waits for the first, at most until `over`. `let_in` is
    /// called unless the puller is known already.
    ///
    /// # Errors
    /// [`MailError::Fenced`] when another registration has taken over, and [`MailError::Busy`].
    pub(super) async fn pull(
        &self,
        server: &str,
        Pull { registration, max, wait }: Pull,
        let_in: impl FnOnce() -> Result<Kept, MailError>,
        over: impl Future<Output = ()>,
    ) -> Result<Pulled, MailError> {
        let puller = match registration {
            Some(generation) => self.puller(server, generation, let_in)?,
            None => {
                let kept = let_in()?;
                let registration = self.register(server.to_owned(), 0, None).await?;
                self.pulls().put(server, Puller::new(registration, kept))
            }
        };
        let (mut turn, mut looked) = Turn::begin(puller, max)?;
        let mut over = pin!(over);
        let mut patience = Patience::new(Instant::now(), wait);
        loop {
            if turn.take() {
                self.pulls().remove(server, turn.pulled.registration);
                return Err(MailError::Fenced);
            }
            let until = patience.until(turn.is_empty(), Instant::now());
            let Some(until) = until.filter(|_| !turn.is_full()) else { break };
            tokio::select! {
                biased;
                () = turn.puller.notify.notified() => {}
                _ = &mut looked, if !patience.has_looked => patience.has_looked = true,
                () = tokio::time::sleep_until(until.into()) => break,
                () = &mut over => break,
            }
        }
        Ok(turn.end())
    }

    /// Takes what a program says that pulls. It is a sign of life like a pull.
    ///
    /// # Errors
    /// [`MailError::NotRegistered`] when there was no such registration yet, and
    /// [`MailError::Refused`] and [`MailError::Busy`] when nothing of it was stored.
    pub(super) async fn answer_pulled(
        &self,
        server: &str,
        said: Answers,
    ) -> Result<Vec<Answered>, MailError> {
        let Answers { registration, ack, nack, reject, not } = said;
        let newest = self.state().mail.generation(server);
        if registration > newest {
            return Err(MailError::NotRegistered { generation: registration, newest });
        }
        let quota = self.pulls().saw(server, registration);
        // Before anything is stored: an answer is taken whole, or refused.
        let permit = self.mail().permit(quota.as_ref(), not.len())?;
        let acks = ack.into_iter().map(|seq| (seq, Answer::Ack));
        let nacks = nack.into_iter();
        let nacks =
            nacks.map(|Nack { seq, delay_ms, failed }| (seq, Answer::Nack { delay_ms, failed }));
        let rejects = reject.into_iter();
        let rejects = rejects.map(|Reject { seq, reason }| (seq, Answer::Reject { reason }));
        let all = acks.chain(nacks).chain(rejects);
        let mut answered = self.answer_mail(&server.into(), registration, all).await?;
        answered.extend(self.has_not((server, registration), not, permit));
        Ok(answered)
    }

    /// Returns the puller of this registration. One that was silent for long, or pulled before the
    /// server started anew, is resumed: no other has taken over as long as it is the newest.
    fn puller(
        &self,
        server: &str,
        generation: Generation,
        let_in: impl FnOnce() -> Result<Kept, MailError>,
    ) -> Result<Puller, MailError> {
        self.pulls().find_or(server, generation, || {
            let kept = let_in()?;
            Ok(Puller::new(self.resume(server, generation)?, kept))
        })
    }
}

/// Wait of a pull for messages.
struct Patience {
    /// Time at which it ends though nothing has come.
    until: Instant,
    /// Time at which it no longer waits for the task that gives messages out.
    look_until: Instant,
    /// Look at the mailbox since the pull began: what was there is given.
    has_looked: bool,
    /// The first message came behind the look: others may be on their way.
    soon: Option<Instant>,
}

impl Patience {
    fn new(began: Instant, wait: Duration) -> Self {
        let until = began + wait;
        let look_until = until.max(began + Duration::from_millis(LOOK_MS));
        Self { until, look_until, has_looked: false, soon: None }
    }

    /// Time until which it goes on; none when it ends now.
    fn until(&mut self, is_empty: bool, now: Instant) -> Option<Instant> {
        let until = match (self.has_looked, is_empty) {
            (false, _) => self.look_until,
            (true, true) => self.until,
            (true, false) => {
                let soon = now + Duration::from_millis(MOMENT_MS);
                (*self.soon.get_or_insert(soon)).min(self.until)
            }
        };
        (until > now).then_some(until)
    }
}

/// One pull, while it waits. When it is given up, whatever it took is put back.
struct Turn {
    puller: Puller,
    pulled: Pulled,
    /// Messages that it may still take.
    left: usize,
    handed_over: bool,
}

impl Turn {
    /// Begins a pull. The receiver tells when the mailbox was looked at for it.
    fn begin(puller: Puller, most: usize) -> Result<(Self, oneshot::Receiver<()>), MailError> {
        let registration = puller.registration.generation();
        let looked = puller.registration.pull_began(most)?;
        let pulled = Pulled { registration, ..Pulled::default() };
        Ok((Self { puller, pulled, left: most, handed_over: false }, looked))
    }

    /// Takes what there is; true when another registration has taken over.
    fn take(&mut self) -> bool {
        let Self { puller, pulled, left, .. } = self;
        while puller.registration.has_news() && *left > 0 {
            match puller.registration.take() {
                Some(Push::Message(delivery)) => {
                    *left -= 1;
                    pulled.messages.push(*delivery);
                }
                Some(Push::Ask(seqs)) => pulled.ask.extend(seqs),
                Some(Push::Gone(seqs)) => {
                    pulled.messages.retain(|message| !seqs.contains(&message.seq));
                    pulled.ask.retain(|seq| !seqs.contains(seq));
                }
                Some(Push::Replaced) => return true,
                None => break,
            }
        }
        false
    }

    fn is_empty(&self) -> bool {
        self.pulled.messages.is_empty() && self.pulled.ask.is_empty()
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Returns the messages to hand over: only those that are still to be worked on, each once.
    fn end(mut self) -> Pulled {
        self.handed_over = true;
        let mut pulled = std::mem::take(&mut self.pulled);
        let registration = &self.puller.registration;
        pulled.messages.retain(|delivery| registration.is_its_own(delivery));
        pulled.ask.sort_unstable();
        pulled.ask.dedup();
        let given = &pulled.messages;
        pulled.ask.retain(|seq| {
            registration.is_asked(*seq) && !given.iter().any(|message| message.seq == *seq)
        });
        pulled
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let unused = self.left;
        let back = if self.handed_over {
            vec![]
        } else {
            self.pulled.messages.iter().map(|message| message.seq).collect()
        };
        // It needs no permit: each pull that began has one end.
        let event = |registration| Event::PullEnded { registration, unused, back };
        self.puller.registration.happened(None, event);
        // What is left is another pull's.
        if self.puller.registration.has_news() {
            self.puller.notify.notify_one();
        }
    }
}

/// Time that a pull which has waited for its first message waits for others, in milliseconds.
const MOMENT_MS: u64 = 50;
/// Time that a pull waits at most for a look at the mailbox, in milliseconds.
const LOOK_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_pull_that_waits_for_nothing_ends_with_the_look_at_the_mailbox() {
        let began = Instant::now();
        let mut patience = Patience::new(began, Duration::ZERO);
        assert!(patience.until(true, began).is_some(), "nothing is known yet");
        assert!(patience.until(false, began + MS).is_some(), "nor whether this is all");

        patience.has_looked = true;

        assert_eq!(patience.until(true, began + MS), None);
        assert_eq!(patience.until(false, began + MS), None);
    }

    #[test]
    fn a_pull_waits_for_its_first_message_and_a_moment_for_others() {
        let began = Instant::now();
        let mut patience = Patience::new(began, 5_000 * MS);
        patience.has_looked = true;

        assert_eq!(patience.until(true, began + MS), Some(began + 5_000 * MS));
        let moment = Duration::from_millis(MOMENT_MS);
        assert_eq!(patience.until(false, began + 10 * MS), Some(began + 10 * MS + moment));
        assert_eq!(patience.until(false, began + 30 * MS), Some(began + 10 * MS + moment));
        assert_eq!(patience.until(false, began + 10 * MS + moment), None);
        let mut late = Patience { soon: None, ..patience };
        assert_eq!(late.until(false, began + 4_999 * MS), Some(began + 5_000 * MS));
    }

    #[test]
    fn a_mailbox_that_is_not_looked_at_holds_no_pull_for_long() {
        let began = Instant::now();
        let mut patience = Patience::new(began, Duration::ZERO);

        assert_eq!(patience.until(true, began + Duration::from_millis(LOOK_MS)), None);
    }
}
