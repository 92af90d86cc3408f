//! Chores of the mail of a dataset: what is due, what needs care, what nobody needs any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use instep_model::limits;
use instep_model::mail::MailOperation;
use instep_model::mail::delivery::Event;
use instep_model::owner::{Receipt, Refusal};
use instep_model::state::State;
use tokio::sync::oneshot;

use super::{AGAIN, LOOK, Post, propose};
use crate::dataset::{Dataset, now_ms};
use crate::topics::lock;

/// Interval of looking for messages that are due.
const TEND: Duration = Duration::from_millis(limits::MAIL_TEND_MS);

/// State of the chores between two rounds.
pub(super) struct Chores {
    /// Servers without mail and without a registration: the generation of each, and since when.
    idle: HashMap<Arc<str>, (u64, Instant)>,
    pub(super) tend_at: Instant,
    tending: Option<oneshot::Receiver<Result<Receipt, Refusal>>>,
    look_at: Instant,
    alarmed: bool,
}

impl Chores {
    pub(super) fn new(now: Instant) -> Self {
        let (idle, tending, alarmed) = (HashMap::new(), None, false);
        Self { idle, tend_at: now, tending, look_at: now, alarmed }
    }
}

impl Post {
    pub(super) fn do_chores(&self, chores: &mut Chores, dataset: &Dataset) {
        let now = Instant::now();
        let mut desk = lock(&self.desk);
        self.handle(&mut desk, Event::Tick, dataset);
        let state = Arc::clone(&desk.state);
        drop(desk);
        if let Some(answer) = &mut chores.tending {
            match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                Ok(Ok(receipt)) => {
                    chores.tending = None;
                    // Of much that is due only the first was done.
                    let done = receipt.results.first().copied().flatten().unwrap_or_default();
                    if usize::try_from(done).is_ok_and(|done| done >= limits::MAIL_TENDED) {
                        chores.tend_at = now;
                    }
                }
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {
                    chores.tending = None;
                    chores.tend_at = now + AGAIN;
                    return;
                }
            }
        }
        if now >= chores.tend_at {
            chores.tend_at = now + TEND;
            if self.is_due(&state) {
                chores.tending = propose(dataset, [MailOperation::Tend]);
            }
        }
        if now >= chores.look_at {
            chores.look_at = now + LOOK;
            self.pulls.forget_silent();
            self.look_for_alarms(chores, &state, dataset);
            self.forget_idle(chores, &state, dataset);
        }
    }

    /// Forgets the servers that have had neither mail nor anybody to take it for as long as what
    /// has ended is remembered: names that were used once must not stay for ever.
    fn forget_idle(&self, chores: &mut Chores, state: &State, dataset: &Dataset) {
        let (now, keep) = (Instant::now(), Duration::from_millis(self.options.rules.keep_ms));
        let desk = lock(&self.desk);
        let idle = state.mail.idle_servers();
        let idle = idle.filter(|(number, _)| !desk.machine.is_registered(*number));
        let idle = idle.map(|(_, server)| {
            let (name, generation) = (Arc::clone(&server.server), server.generation);
            let known = chores.idle.get(&name).filter(|(known, _)| *known == generation);
            (name, (generation, known.map_or(now, |(_, since)| *since)))
        });
        let idle: HashMap<_, _> = idle.collect();
        drop(desk);
        chores.idle = idle;
        let over = |since: &Instant| now.saturating_duration_since(*since) >= keep;
        let over = chores.idle.iter().filter(|(_, (_, since))| over(since));
        let over: Vec<_> = over
            .map(|(name, (generation, _))| (Arc::clone(name), *generation))
            .take(limits::MAIL_TENDED)
            .collect();
        if !over.is_empty() {
            drop(propose(dataset, [MailOperation::ForgetServers(over)]));
        }
    }

    fn is_due(&self, state: &State) -> bool {
        let now = now_ms();
        let rules = &self.options.rules;
        let (kept, oldest) = state.mail.kept();
        // What is reckoned by a clock that was set back is reckoned anew by the next commit.
        let set_back = now.saturating_add(limits::CLOCK_BACK_MS) < state.time_ms;
        state.mail.next_due().is_some_and(|at| at <= now || set_back)
            || kept > rules.keep_finished.saturating_add(rules.keep_finished / 16)
            || state.mail.dead() > rules.keep_dead.saturating_add(rules.keep_dead / 16)
            || oldest.is_some_and(|ended| ended.saturating_add(rules.keep_ms) < now)
    }

    /// Warns once when something is wrong, and says once that it is right again.
    fn look_for_alarms(&self, chores: &mut Chores, state: &State, dataset: &Dataset) {
        let unrouted: u64 = state.mail.queues().map(|queue| queue.unrouted).sum();
        let oldest = state.mail.oldest_ms(None).map_or(0, |at| now_ms().saturating_sub(at));
        let is_old = u128::from(oldest) > self.options.alarm_age.as_millis();
        let alarmed = unrouted > 0 || is_old;
        if alarmed != std::mem::replace(&mut chores.alarmed, alarmed) {
            let dataset = dataset.name();
            match alarmed {
                true => tracing::warn!(%dataset, unrouted, oldest_ms = oldest, "mail needs care"),
                false => tracing::info!(%dataset, "mail needs no care any more"),
            }
        }
    }
}
