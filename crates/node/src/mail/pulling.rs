//! Mail for programs that hold no socket: a registration that lives between requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use instep_model::limits;
use tokio::sync::Notify;

use super::{Delivery, MailError, Registration, Told};
use crate::dataset::Dataset;
use crate::topics::{Listener, lock};

const IDLE: Duration = Duration::from_millis(limits::MAIL_PULL_IDLE_MS);

/// What a pull brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// The generation of the registration.
    pub registration: u64,
    /// Messages to work on.
    pub messages: Vec<Delivery>,
    /// Messages that the server is asked about.
    pub ask: Vec<u64>,
}

/// The registrations of those who pull.
#[derive(Default)]
pub(super) struct Pulls(Mutex<HashMap<String, Puller>>);

#[derive(Clone)]
struct Puller {
    registration: Arc<Registration>,
    notify: Arc<Notify>,
    seen: Instant,
}

impl Pulls {
    /// Takes those for gone that have said nothing for long.
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

    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        drop(all);
    }

    fn find(&self, server: &str, generation: u64) -> Option<Puller> {
        let mut pulls = lock(&self.0);
        let puller = pulls.get_mut(server)?;
        if puller.registration.generation() != generation {
            return None;
        }
        puller.seen = Instant::now();
        Some(puller.clone())
    }

    fn put(&self, server: &str, puller: Puller) {
        let before = lock(&self.0).insert(server.to_owned(), puller);
        drop(before);
    }

    fn remove(&self, server: &str, generation: u64) {
        let mut pulls = lock(&self.0);
        let ours = |puller: &Puller| puller.registration.generation() == generation;
        let gone = pulls.get(server).is_some_and(ours).then(|| pulls.remove(server));
        drop(pulls);
        drop(gone);
    }
}

impl Dataset {
    /// Takes up to `max` messages of a server, and waits for the first. Without a `registration`
    /// a new one takes over.
    ///
    /// # Errors
    /// [`MailError::Fenced`] when another registration has taken over.
    pub async fn pull(
        &self,
        server: &str,
        registration: Option<u64>,
        max: usize,
        wait: Duration,
    ) -> Result<Pulled, MailError> {
        let pulls = &self.post().pulls;
        let puller = match registration {
            Some(generation) => pulls.find(server, generation).ok_or(MailError::Fenced)?,
            None => {
                let registration = self.register(server.to_owned(), 0, None).await?;
                let notify = Arc::new(Notify::new());
                registration.listen(Listener::Task(Arc::clone(&notify)));
                let registration = Arc::new(registration);
                let puller = Puller { registration, notify, seen: Instant::now() };
                pulls.put(server, puller.clone());
                puller
            }
        };
        let Puller { registration, notify, .. } = puller;
        let max = max.clamp(1, limits::MAIL_CREDIT_MOST);
        registration.grant(max);
        let began = tokio::time::Instant::now();
        let until = began + wait;
        let generation = registration.generation();
        let mut pulled = Pulled { registration: generation, ..Pulled::default() };
        loop {
            if take_all(&registration, max, &mut pulled) {
                pulls.remove(server, generation);
                return Err(MailError::Fenced);
            }
            // What waits for the server comes at once, if there is anything.
            let full = pulled.messages.len() >= max;
            let soon = tokio::time::Instant::now() + Duration::from_millis(MOMENT_MS);
            let patience = match pulled.messages.is_empty() && pulled.ask.is_empty() {
                true if registration.is_owed() => until.max(began + Duration::from_millis(OWED_MS)),
                true => until.max(soon),
                false => soon,
            };
            if full || tokio::time::timeout_at(patience, notify.notified()).await.is_err() {
                break;
            }
        }
        // Whatever comes now waits for the next pull.
        registration.grant(0);
        Ok(pulled)
    }
}

/// How long a pull waits for what is on its way …
const MOMENT_MS: u64 = 50;
/// … and for the first message, when there are some that nobody has.
const OWED_MS: u64 = 1_000;

/// Takes what there is; true when another registration has taken over.
fn take_all(registration: &Registration, max: usize, pulled: &mut Pulled) -> bool {
    while registration.has_news() && pulled.messages.len() < max {
        match registration.take() {
            Some(Told::Message(delivery)) => pulled.messages.push(*delivery),
            Some(Told::Ask(seqs)) => pulled.ask.extend(seqs),
            Some(Told::Gone(seqs)) => {
                pulled.messages.retain(|message| !seqs.contains(&message.seq));
            }
            Some(Told::Replaced) => return true,
            None => break,
        }
    }
    false
}
