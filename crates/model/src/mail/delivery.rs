//! Delivery: which server is given which message. One machine for all servers of a dataset.
//!
//! | a message at a server | becomes | by |
//! | --- | --- | --- |
//! | not given | given | room in the server's window, and its turn |
//! | given | gone | it ended, rests, or is another server's |
//! | given | asked | its lease ran out; at once after another registration |
//! | asked | given, lease new | the server has it, or works on it |
//! | asked | not given | the server has it not, or left the last question unanswered |
//! | started | in doubt | the connection died: a failure is counted (I35), and it rests |
//! | in doubt | asked | it has rested, and its turn has come |
//! | given, and not taken by the pull | not given | the pull has ended |
//!
//! Messages of an endpoint are given in order. While the server is asked about one that an earlier
//! registration was given, no later one of the same endpoint is given. Nothing here is durable:
//! after a start everything that is pending is not given, and may come to a server twice under the
//! same id.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Mail, MailChange, Message, RegistrationId, Seq, ServerNo, Status};
use crate::backoff::Backoff;
use crate::limits;
use crate::registration::Generation;

mod events;
mod given;
mod pulls;
mod server_window;
mod writing;

pub use events::{Counts, Effect, Event, Now, Times};
pub use given::{Closed, Given, Meant};
use server_window::{InFlight, Moment, ServerWindow, Taken};

/// The machine.
pub struct Delivery {
    times: Times,
    desks: BTreeMap<ServerNo, ServerWindow>,
    /// Deadlines after which servers are asked about messages.
    deadlines: BTreeSet<(u64, ServerNo, Seq)>,
    /// Servers that may be given something.
    hungry: BTreeSet<ServerNo>,
    /// Messages that a server had begun with when its connection died, and the server: it may have
    /// done them.
    doubt: BTreeMap<Seq, ServerNo>,
    effects: VecDeque<Effect>,
    counts: Counts,
    /// The clock when something happened last.
    wall_ms: u64,
}

impl Delivery {
    /// A machine for the mail as it is.
    #[must_use]
    pub fn new(times: Times) -> Self {
        Self {
            times,
            desks: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            hungry: BTreeSet::new(),
            doubt: BTreeMap::new(),
            effects: VecDeque::new(),
            counts: Counts::default(),
            wall_ms: 0,
        }
    }

    /// Takes an event; `mail` is as it is behind it.
    pub fn handle(&mut self, event: Event, mail: &Mail, now: impl Into<Now>) {
        let now = now.into();
        if now.wall_ms < std::mem::replace(&mut self.wall_ms, now.wall_ms) {
            self.look_again();
        }
        self.take_event(event, mail, now.steady_ms);
        self.give_all(mail, now);
        self.ask_due(now.steady_ms);
        self.give_all(mail, now);
    }

    fn take_event(&mut self, event: Event, mail: &Mail, now_ms: u64) {
        match event {
            Event::Registered { registration, credit, have } => {
                self.register(registration, credit, have, mail, now_ms);
            }
            Event::Left { registration } => self.left(registration),
            Event::Credit { registration, credit } => {
                if let Some(desk) = self.desk(registration) {
                    desk.window.set_credit(credit);
                    self.hungry.insert(registration.server);
                }
            }
            Event::Started { registration, seqs } => {
                if let Some(desk) = self.desk(registration) {
                    for seq in seqs {
                        if let Some(flight) = desk.window.get_mut(seq) {
                            flight.started = true;
                        }
                    }
                }
            }
            Event::HasNot { registration, seqs } => {
                if self.desk(registration).is_some() {
                    for seq in seqs {
                        self.doubt.remove(&seq);
                        self.give_again(registration.server, seq);
                    }
                }
            }
            Event::Resumed { registration } => self.resume(registration, now_ms),
            Event::PullBegan { registration, most } => {
                self.pull_began(registration, most, now_ms);
            }
            Event::PullEnded { registration, unused, back } => {
                self.pull_ended(registration, unused, &back);
            }
            Event::Changed(changes) => self.changed(changes),
            Event::Tick => {}
        }
    }

    /// The next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Returns the time at which [`Event::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _, _)| *at)
    }

    /// Messages between two numbers that a registration was given and did not confirm.
    #[must_use]
    pub fn unconfirmed(&self, of: RegistrationId, first: Seq, last: Seq) -> Vec<Seq> {
        let desk = self.newest(of).filter(|_| first <= last);
        desk.map_or_else(Vec::new, |desk| desk.window.range(first..=last).collect())
    }

    /// The desk of a server, if this is its newest registration, there or not.
    fn newest(&self, of: RegistrationId) -> Option<&ServerWindow> {
        let desk = self.desks.get(&of.server)?;
        (desk.registration.newest() == of.generation).then_some(desk)
    }

    /// Returns true if a registration takes the mail of a server now.
    #[must_use]
    pub fn is_registered(&self, server: ServerNo) -> bool {
        self.registration(server).is_some()
    }

    /// Generation of the registration that takes the mail of a server now.
    fn registration(&self, server: ServerNo) -> Option<Generation> {
        self.desks.get(&server)?.registration.holder()
    }

    /// Returns the counters of its work.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let holders = self.desks.values().filter_map(|desk| desk.registration.holder());
        let registered = holders.count() as u64;
        let unconfirmed = self.desks.values().map(|desk| desk.window.len() as u64).sum();
        Counts { registered, unconfirmed, ..self.counts }
    }

    fn desk(&mut self, of: RegistrationId) -> Option<&mut ServerWindow> {
        let desk = self.desks.get_mut(&of.server)?;
        desk.registration.is_held_by(of.generation).then_some(desk)
    }

    fn register(
        &mut self,
        RegistrationId { server, generation }: RegistrationId,
        credit: usize,
        have: Option<Vec<Seq>>,
        mail: &Mail,
        now_ms: u64,
    ) {
        let mut registration = self.desks.entry(server).or_default().registration;
        let Ok(replaced) = registration.register(generation) else {
            // Another one was quicker.
            return self.tell_replaced(server, Some(generation));
        };
        if let Some(replaced) = replaced {
            self.left(server.at(replaced));
        }
        self.tell_replaced(server, replaced);
        let desk = self.desks.entry(server).or_default();
        desk.registration = registration;
        desk.window.begin(credit);
        self.hungry.insert(server);
        let all: Vec<Seq> = desk.window.iter().map(|(seq, _)| seq).collect();
        let have = have
            .map(|have| have.into_iter().take(limits::MAIL_CREDIT_MOST).collect::<BTreeSet<Seq>>());
        for seq in have.iter().flatten() {
            // It was given by a machine that is not there any more.
            self.take_over(server, *seq, mail, now_ms);
        }
        for seq in all {
            match &have {
                Some(have) if have.contains(&seq) => self.renew(server, seq, now_ms),
                Some(_) => self.give_again(server, seq),
                None => self.hold(server, seq, now_ms),
            }
        }
    }

    fn left(&mut self, registration: RegistrationId) {
        let RegistrationId { server, generation } = registration;
        let Some(desk) = self.desk(registration) else { return };
        desk.registration.leave(generation);
        desk.window.end_pulls();
        let (mut broke, mut deadlines) = (vec![], vec![]);
        for (seq, flight) in desk.window.iter_mut() {
            deadlines.push((flight.deadline, server, seq));
            if std::mem::take(&mut flight.started) {
                broke.push(seq);
            }
        }
        self.doubt.extend(broke.iter().map(|seq| (*seq, server)));
        deadlines.iter().for_each(|deadline| {
            self.deadlines.remove(deadline);
        });
        if !broke.is_empty() {
            self.effects.push_back(Effect::WorkerDied { registration, seqs: broke });
        }
    }

    /// A message that its server has, and that this machine has not given.
    fn take_over(&mut self, server: ServerNo, seq: Seq, mail: &Mail, now_ms: u64) {
        let known = self.desks.get(&server).is_some_and(|desk| desk.window.contains(seq));
        let ours = |message: &Message| {
            message.server == server && message.status == Status::Pending && message.not_before == 0
        };
        let Some(message) = mail.message(seq).filter(ours).filter(|_| !known) else { return };
        let deadline = now_ms.saturating_add(self.times.lease_ms);
        self.doubt.remove(&seq);
        self.put(server, seq, InFlight::new(&message, deadline));
    }

    /// A message of an earlier registration: it is asked about at once.
    fn hold(&mut self, server: ServerNo, seq: Seq, now_ms: u64) {
        let Some(desk) = self.desks.get_mut(&server) else { return };
        let Some(flight) = desk.window.get_mut(seq) else { return };
        if !std::mem::replace(&mut flight.earlier, true) {
            *desk.held.entry(flight.endpoint).or_default() += 1;
        }
        flight.asks = 0;
        flight.deadline = now_ms;
        self.deadlines.insert((now_ms, server, seq));
    }

    /// The server has the message: its lease begins anew.
    fn renew(&mut self, server: ServerNo, seq: Seq, now_ms: u64) {
        let Some(mut flight) = self.take(server, seq) else { return };
        flight.asks = 0;
        flight.earlier = false;
        flight.deadline = now_ms.saturating_add(self.times.lease_ms);
        self.put(server, seq, flight);
    }

    /// The message is given again, in its place.
    fn give_again(&mut self, server: ServerNo, seq: Seq) {
        if let Some(flight) = self.take(server, seq)
            && let Some(desk) = self.desks.get_mut(&server)
        {
            desk.given.remove(&flight.endpoint);
            self.hungry.insert(server);
        }
    }

    fn take(&mut self, server: ServerNo, seq: Seq) -> Option<InFlight> {
        let desk = self.desks.get_mut(&server)?;
        let flight = desk.window.end(seq)?;
        if desk.given.get(&flight.endpoint).is_some_and(|given| given.seq == seq) {
            desk.given.remove(&flight.endpoint);
        }
        if flight.earlier
            && let Some(held) = desk.held.get_mut(&flight.endpoint)
        {
            *held -= 1;
            if *held == 0 {
                desk.held.remove(&flight.endpoint);
            }
        }
        self.deadlines.remove(&(flight.deadline, server, seq));
        self.hungry.insert(server);
        Some(flight)
    }

    fn put(&mut self, server: ServerNo, seq: Seq, flight: InFlight) {
        let desk = self.desks.entry(server).or_default();
        desk.window.hold(seq, flight.bytes, flight);
        self.deadlines.insert((flight.deadline, server, seq));
    }

    fn changed(&mut self, changes: Vec<MailChange>) {
        for change in changes {
            match change {
                MailChange::Withdrawn { server, seq, quiet } => {
                    let registration = self.registration(server);
                    if let (Some(_), Some(generation)) = (self.take(server, seq), registration)
                        && !quiet
                    {
                        self.tell_gone(server.at(generation), seq);
                    }
                }
                MailChange::Ready(slot) => {
                    if let Some(desk) = self.desks.get_mut(&slot.server) {
                        if desk.given.get(&slot.endpoint).is_some_and(|given| slot <= *given) {
                            desk.given.remove(&slot.endpoint);
                        }
                        if desk.registration.holder().is_some() {
                            self.hungry.insert(slot.server);
                        }
                    }
                }
                MailChange::BodyEnded { seq } => {
                    self.doubt.remove(&seq);
                }
                MailChange::Forgotten { server, generation } => {
                    // The number may be another's by now, who has registered.
                    let known = self.desks.get(&server).map(|desk| desk.registration);
                    if let Some(known) = known.filter(|known| known.newest() <= generation) {
                        self.left(server.at(known.newest()));
                        self.tell_replaced(server, known.holder());
                        self.desks.remove(&server);
                        self.hungry.remove(&server);
                    }
                }
                MailChange::Stored { .. } => {}
            }
        }
    }

    fn tell_replaced(&mut self, server: ServerNo, replaced: Option<Generation>) {
        let effect = |generation| Effect::Replaced { registration: server.at(generation) };
        self.effects.extend(replaced.map(effect));
    }

    fn tell_gone(&mut self, registration: RegistrationId, seq: Seq) {
        if let Some(Effect::Gone { registration: last, seqs }) = self.effects.back_mut()
            && *last == registration
            && seqs.len() < limits::MAIL_PUSH
        {
            seqs.push(seq);
        } else {
            self.effects.push_back(Effect::Gone { registration, seqs: vec![seq] });
        }
    }

    fn ask_due(&mut self, now_ms: u64) {
        let mut asked: BTreeMap<RegistrationId, Vec<Seq>> = BTreeMap::new();
        while let Some(&(at, server, seq)) = self.deadlines.first() {
            if at > now_ms {
                break;
            }
            self.deadlines.pop_first();
            // A registration that pulls is asked when it does so again.
            let desk = self.desks.get_mut(&server).filter(|desk| desk.is_there());
            let Some(desk) = desk else { continue };
            let generation = desk.registration.newest();
            let Some(flight) = desk.window.get_mut(seq) else { continue };
            if flight.asks >= limits::MAIL_ASKS {
                self.give_again(server, seq);
                continue;
            }
            let ask = Backoff { first_ms: self.times.ask_ms, most_ms: u64::MAX };
            // Different for each server, so that they are not all asked at once.
            let jitter = crate::commit::digest(
                &[server.0.to_le_bytes(), flight.asks.to_le_bytes()].concat(),
            );
            let wait = ask.timeout_ms(flight.asks, jitter);
            flight.asks += 1;
            flight.deadline = now_ms.saturating_add(wait);
            self.deadlines.insert((flight.deadline, server, seq));
            asked.entry(server.at(generation)).or_default().push(seq);
        }
        for (registration, seqs) in asked {
            self.counts.asked += seqs.len() as u64;
            self.effects.push_back(Effect::Ask { registration, seqs });
        }
    }

    /// The clock was set back: expired messages may not have expired.
    fn look_again(&mut self) {
        for (server, desk) in &mut self.desks {
            desk.given.clear();
            self.hungry.insert(*server);
        }
    }

    fn give_all(&mut self, mail: &Mail, now: Now) {
        for server in std::mem::take(&mut self.hungry) {
            self.give(server, mail, now);
        }
    }

    /// Gives a server as many messages as its window has room for: some of an endpoint, then some
    /// of the next.
    fn give(&mut self, server: ServerNo, mail: &Mail, now: Now) {
        let lease_until = now.steady_ms.saturating_add(self.times.lease_ms);
        let at = Moment { lease_until, wall_ms: now.wall_ms };
        let Some(desk) = self.desks.get_mut(&server) else { return };
        let Some(generation) = desk.registration.holder() else { return };
        let registration = server.at(generation);
        let pending = mail.server(server).map_or(0, |server| server.pending);
        desk.remember_little();
        let mut taken = Taken { pending, ..Taken::default() };
        while desk.wants(&taken) && desk.take_round(server, mail, at, &self.doubt, &mut taken) {}
        if taken.is_enough() {
            // The rest has its turn with whatever happens next.
            self.hungry.insert(server);
        }
        for seq in &taken.given {
            self.deadlines.insert((lease_until, server, *seq));
        }
        for seq in taken.doubted {
            self.doubt.remove(&seq);
            self.hold(server, seq, now.steady_ms);
        }
        self.counts.given += taken.given.len() as u64;
        self.counts.looked_at += taken.looked_at;
        for seqs in taken.given.chunks(limits::MAIL_PUSH) {
            let seqs = seqs.to_vec();
            self.effects.push_back(Effect::Give { registration, seqs, lease_until });
        }
    }
}
