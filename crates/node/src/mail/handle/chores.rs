//! Chores of the mail of a dataset: what is due, what needs care, what is not needed any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use instep_model::commit::Operation;
use instep_model::limits;
use instep_model::mail::MailOperation;
use instep_model::owner::Receipt;
use instep_model::registration::Generation;
use instep_model::state::State;

use super::LOOK;
use super::settling::Sweeping;
use super::task::MailTask;
use crate::clock::now_ms;
use crate::sync::lock;

/// State of the chores between two rounds.
pub(super) struct Chores {
    /// Servers without mail and without a registration: the generation of each, and since when.
    idle: HashMap<Arc<str>, (Generation, Instant)>,
    /// Expiry, the end of rests, forgetting.
    tending: Sweeping,
    look_at: Instant,
    alarmed: bool,
}

impl Chores {
    pub(super) fn new(now: Instant) -> Self {
        let tending = Sweeping::new(limits::MAIL_TEND_MS);
        Self { idle: HashMap::new(), tending, look_at: now, alarmed: false }
    }
}

/// True when of much that is due only the first was done.
fn is_partial(receipt: &Receipt) -> bool {
    let done = receipt.results.first().copied().flatten().unwrap_or_default();
    usize::try_from(done).is_ok_and(|done| done >= limits::MAIL_TENDED)
}

impl MailTask {
    pub(super) fn do_chores(&mut self) {
        let port = self.port.clone();
        let at = (&port, self.mail().now());
        self.chores.tending.end(at, is_partial);
        let is_due = self.is_due();
        let due = || if is_due { vec![MailOperation::Sweep] } else { vec![] };
        self.chores.tending.begin(at, due);
        let now = Instant::now();
        if now >= self.chores.look_at {
            self.chores.look_at = now + LOOK;
            self.port.pulls().forget_silent();
            self.look_for_alarms();
            self.forget_idle(now);
        }
    }

    /// Forgets the servers that have had neither mail nor a registration for as long as what
    /// has ended is remembered: names that were used once must not stay for ever.
    fn forget_idle(&mut self, now: Instant) {
        let keep = Duration::from_millis(self.mail().options.rules.keep_ms);
        let machine = lock(&self.mail().machine);
        let idle = self.state.mail.idle_servers();
        let idle = idle.filter(|(number, _)| !machine.is_registered(*number));
        let idle = idle.map(|(_, server)| {
            let (name, generation) = (Arc::clone(&server.server), server.generation);
            let known = self.chores.idle.get(&name).filter(|(known, _)| *known == generation);
            (name, (generation, known.map_or(now, |(_, since)| *since)))
        });
        let idle: HashMap<_, _> = idle.collect();
        drop(machine);
        self.chores.idle = idle;
        let over = |since: &Instant| now.saturating_duration_since(*since) >= keep;
        let over = self.chores.idle.iter().filter(|(_, (_, since))| over(since));
        let over: Vec<_> = over
            .map(|(name, (generation, _))| (Arc::clone(name), *generation))
            .take(limits::MAIL_TENDED)
            .collect();
        if !over.is_empty() {
            // What is refused is found again by the next look.
            let forget = Operation::Mail(MailOperation::ForgetServers(over));
            drop(self.port.propose(vec![forget].into()));
        }
    }

    fn is_due(&self) -> bool {
        let (state, now) = (self.port.state(), now_ms());
        // What is reckoned by a clock that was set back is reckoned anew by the next commit.
        let set_back = now.saturating_add(limits::CLOCK_BACK_MS) < state.time_ms;
        let is_due = |at| at <= now;
        self.due_at(&state).is_some_and(is_due) || (set_back && state.mail.next_due().is_some())
    }

    /// Time at which something is due, in milliseconds since 1970; none while nothing is.
    fn due_at(&self, state: &State) -> Option<u64> {
        let rules = &self.mail().options.rules;
        let (kept, oldest) = state.mail.kept();
        let is_surplus = kept > rules.keep_finished.saturating_add(rules.keep_finished / 16)
            || state.mail.dead() > rules.keep_dead.saturating_add(rules.keep_dead / 16);
        let forgotten = oldest.map(|ended| ended.saturating_add(rules.keep_ms).saturating_add(1));
        let times = [state.mail.next_due(), forgotten, is_surplus.then_some(0)];
        times.into_iter().flatten().min()
    }

    /// Time of the next chore, by the clock of the machine: no earlier than the next look, and no
    /// earlier than something is due.
    pub(super) fn next_chore(&self, now_ms: u64) -> Option<u64> {
        let look = self.chores.tending.next_deadline(now_ms);
        if self.chores.tending.is_under_way() {
            return Some(look);
        }
        let wait = |at: u64| at.saturating_sub(crate::clock::now_ms());
        let due = self.due_at(&self.port.state()).map(wait);
        due.map(|wait| look.max(now_ms.saturating_add(wait)))
    }

    /// Warns once when something is wrong, and says once that it is right again.
    fn look_for_alarms(&mut self) {
        let state = &self.state;
        let unrouted: u64 = state.mail.queues().map(|queue| queue.unrouted).sum();
        let oldest = state.mail.oldest_ms(None).map_or(0, |at| now_ms().saturating_sub(at));
        let is_old = u128::from(oldest) > self.mail().options.alarm_age.as_millis();
        let alarmed = unrouted > 0 || is_old;
        if alarmed != std::mem::replace(&mut self.chores.alarmed, alarmed) {
            let dataset = self.port.name();
            if alarmed {
                tracing::warn!(%dataset, unrouted, oldest_ms = oldest, "mail needs care")
            } else {
                tracing::info!(%dataset, "mail needs no care any more")
            }
        }
    }
}
