//! Servers join, are written to, work, speak, and vanish.

use std::sync::Arc;

use super::*;

impl World {
    /// Does what the machines want done by now.
    pub(super) fn settle_up(&mut self) {
        loop {
            for (ticket, answer) in std::mem::take(&mut self.hub.answers) {
                let Some(want) = self.wants.remove(&ticket) else { continue };
                if let Ok(receipt) = answer {
                    let result = receipt.results.first().copied().flatten().unwrap_or(-1);
                    self.answered(want, result, receipt.position.place);
                }
            }
            let Some(effect) = self.hub.delivery.next_effect() else { break };
            self.carry_out(effect);
        }
        if !self.resting {
            // Numbers of links are kept: unused ones are only emptied.
            for link in self.links.iter_mut().filter(|link| !link.alive && !link.open) {
                link.up.clear();
                link.down.clear();
                link.outbox.clear();
                link.held.clear();
            }
        }
    }

    /// The delivery hears of one entry, and what it wants is done before it hears of the next;
    /// false when there is nothing new.
    pub(super) fn show(&mut self, drop_news: bool) -> bool {
        let is_new = self.hub.show(drop_news, &mut self.facts, self.now_ms);
        while let Some(effect) = self.hub.delivery.next_effect() {
            self.carry_out(effect);
        }
        is_new
    }

    fn answered(&mut self, want: Want, result: i64, place: instep_model::position::Place) {
        match want {
            Want::NewMessage(at) => {
                let sent = &mut self.letters[at];
                sent.accepted = true;
                self.facts.push(Fact::Accepted { id: sent.id, seq: Seq(result as u64) });
            }
            Want::Register(at) => self.registered(at, Generation(result as u64)),
            Want::Judge { link, generation, seq, failed } => {
                let server = SERVERS[self.links[link].server];
                let outcome = result;
                let judged = Fact::Judged { server, generation, seq, failed, outcome, place };
                self.facts.push(judged);
            }
            Want::Nothing => {}
        }
    }

    fn registered(&mut self, at: usize, generation: Generation) {
        // A registration is told to the delivery with a state that knows it.
        while self.show(false) {}
        let link = &mut self.links[at];
        let server = SERVERS[link.server];
        let Some(number) = self.hub.shown.server_number(server).filter(|_| link.open) else {
            return;
        };
        link.generation = Some(generation);
        let (credit, have) = (link.credit, link.have.clone());
        self.facts.push(Fact::Joined { server, generation, credit, have: have.clone() });
        let have = match self.fault {
            Some(Fault::ResendWithoutAsking) => have.or(Some(vec![])),
            _ => have,
        };
        let credit = if self.fault == Some(Fault::IgnoreCredit) { credit * 10 } else { credit };
        self.hub.tell(
            Event::Registered { registration: number.at(generation), credit, have },
            self.now_ms,
        );
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Give { registration, seqs, .. } => {
                let Some(at) = self.link_of(registration) else { return };
                let link = &mut self.links[at];
                let mail = &self.hub.shown;
                let route = |seq: &Seq| mail.message(*seq).map_or(0, |message| message.generation);
                let give = |seq: &Seq| Down::Give { seq: *seq, route: route(seq) };
                link.outbox.extend(seqs.iter().map(give));
                let unconfirmed =
                    self.hub.delivery.unconfirmed(registration, Seq::ZERO, Seq::MAX).len();
                let server = SERVERS[link.server];
                let now_ms = self.now_ms;
                self.facts.push(Fact::Chosen {
                    server,
                    generation: registration.generation,
                    seqs,
                    unconfirmed,
                    now_ms,
                });
            }
            Effect::Ask { registration, seqs } => {
                let Some(at) = self.link_of(registration) else { return };
                let link = &mut self.links[at];
                let server = SERVERS[link.server];
                link.outbox.push_back(Down::Ask(seqs.clone()));
                self.facts.push(Fact::Asked { server, generation: registration.generation, seqs });
            }
            Effect::Gone { registration, seqs } => {
                if let Some(at) = self.link_of(registration) {
                    self.links[at].outbox.push_back(Down::Gone(seqs));
                }
            }
            // A link that is replaced finds out by the answers that it gets.
            Effect::Replaced { .. } => {}
            Effect::WorkerDied { registration, seqs } => {
                let RegistrationId { server, generation } = registration;
                let Some(server) = self.hub.shown.server(server) else { return };
                let server = Arc::clone(&server.server);
                let broke = seqs.into_iter().map(|seq| {
                    let lease = Lease { server: Arc::clone(&server), generation, seq };
                    Operation::Mail(MailOperation::WorkerDied(lease))
                });
                let broke = broke.collect();
                self.propose(Want::Nothing, broke);
            }
        }
    }

    /// The link by which a server has registered, while the hub takes it for there.
    fn link_of(&self, of: RegistrationId) -> Option<usize> {
        let RegistrationId { server, generation } = of;
        let server = self.hub.shown.server(server)?;
        let at = SERVERS.iter().position(|known| **known == *server.server)?;
        self.links
            .iter()
            .position(|link| link.server == at && link.open && link.generation == Some(generation))
    }

    pub(super) fn join(&mut self) {
        let server = self.dice.below(SERVERS.len());
        let before = self.links.iter().rposition(|link| link.server == server && link.alive);
        let mut held = None;
        if let Some(before) = before {
            match self.dice.below(3) {
                // The same process over another connection; the old one lingers in the hub.
                0 => {
                    self.links[before].alive = false;
                    held = Some(std::mem::take(&mut self.links[before].held));
                }
                1 => self.links[before].alive = false,
                // Two processes that both take themselves for this server.
                _ => {}
            }
        }
        self.join_as(server, held);
    }

    pub(super) fn join_as(&mut self, server: usize, held: Option<std::collections::VecDeque<Seq>>) {
        let credit = 1 + self.dice.below(6);
        let mut link = Link { server, credit, alive: true, open: true, ..Link::default() };
        if let Some(held) = held {
            link.held = held;
            link.have = self.dice.chance(60).then(|| {
                link.in_hand().into_iter().chain(self.done[server].iter().copied()).collect()
            });
        }
        self.links.push(link);
        let register = MailOperation::Register { server: SERVERS[server].to_owned() };
        self.propose(Want::Register(self.links.len() - 1), vec![Operation::Mail(register)]);
    }

    /// The hub writes one thing that waits for a socket; false when there is none.
    pub(super) fn write(&mut self, at: usize) -> bool {
        let Some(link) = self.links.get_mut(at).filter(|link| link.open) else { return false };
        let next = match self.fault {
            Some(Fault::WriteBackwards) => link.outbox.pop_back(),
            _ => link.outbox.pop_front(),
        };
        let (Some(next), Some(generation)) = (next, link.generation) else { return false };
        let server = SERVERS[link.server];
        if let Down::Give { seq, route } = next {
            let mail = &self.hub.owner.state().mail;
            let route = match self.fault {
                Some(Fault::WriteByAnyRoute) => mail.message(seq).map_or(0, |m| m.generation),
                _ => route,
            };
            let number = mail.server_number(server);
            let now_ms = if self.fault == Some(Fault::GiveExpired) { 0 } else { self.now_ms };
            let is_its_own = |number| mail.is_its_own(seq, number, route, now_ms);
            let is_its_own = number.is_some_and(is_its_own);
            let is_newest = mail.generation(server) == generation;
            if !(is_its_own && is_newest) && self.fault != Some(Fault::WriteWithoutLooking) {
                return true;
            }
            link.given.give(seq);
            let now_ms = self.now_ms;
            self.facts.push(Fact::Given { server, generation, seq, now_ms });
            if self.fault == Some(Fault::ConfirmOnWrite) {
                self.judge(at, generation, seq, MailOperation::Ack);
            }
        }
        let link = &mut self.links[at];
        if let Down::Gone(seqs) = &next {
            link.given.gone(seqs);
        }
        if link.alive {
            link.down.push_back(next);
        }
        true
    }

    pub(super) fn receive(&mut self, at: usize) {
        let Some(link) = self.links.get_mut(at).filter(|link| link.alive) else { return };
        link.receive(&self.done[link.server]);
    }

    pub(super) fn work(&mut self, at: usize) {
        let Some(link) = self.links.get_mut(at).filter(|link| link.alive) else { return };
        if link.held.is_empty() {
            return;
        }
        let nth = if self.dice.chance(80) { 0 } else { self.dice.below(link.held.len()) };
        let seq = link.held[nth];
        if !self.resting && self.dice.chance(40) && link.begun.insert(seq) {
            link.up.push_back(Up::Started(seq));
            return;
        }
        link.held.remove(nth);
        let chance = if self.resting { 0 } else { self.dice.below(100) };
        link.up.push_back(match chance {
            0..60 => {
                let server = SERVERS[link.server];
                self.done[link.server].insert(seq);
                self.facts.push(Fact::Done { server, seq });
                // Some say at once what they have done, some a range now and then.
                if link.came.contains(&seq) && (self.resting || self.dice.chance(85)) {
                    link.unsaid.insert(seq);
                    if self.resting || self.dice.chance(50) {
                        link.say_done();
                    }
                    return;
                }
                Up::Ack(seq)
            }
            60..72 => Up::Nack { seq, failed: false },
            72..84 => Up::Nack { seq, failed: true },
            _ => Up::Reject(seq),
        });
    }

    /// The hub hears one thing that a server says; false when it says nothing.
    pub(super) fn hear(&mut self, at: usize) -> bool {
        let Some(link) = self.links.get_mut(at).filter(|link| link.open) else { return false };
        let Some(generation) = link.generation else { return false };
        let Some(said) = link.up.pop_front() else { return false };
        let server = SERVERS[link.server];
        let Some(number) = self.hub.shown.server_number(server) else { return false };
        match &said {
            Up::Ack(seq) | Up::Nack { seq, .. } | Up::Reject(seq) => {
                drop(link.given.answer(&[*seq]));
            }
            Up::HasNot(seqs) => link.given.gone(seqs),
            Up::AckRange(..) | Up::Started(_) => {}
        }
        match said {
            Up::AckRange(first, last) => {
                let meant = match self.fault {
                    Some(Fault::RangesByTheBooks) => {
                        self.hub.delivery.unconfirmed(number.at(generation), first, last)
                    }
                    _ => link.given.range(first, last).seqs,
                };
                drop(link.given.answer(&meant));
                for seq in meant {
                    self.judge(at, generation, seq, MailOperation::Ack);
                }
            }
            Up::Ack(seq) => self.judge(at, generation, seq, MailOperation::Ack),
            Up::Nack { seq, failed } => {
                let delay_ms = self.dice.below(300) as u64;
                self.judge(at, generation, seq, |lease| MailOperation::Nack {
                    lease,
                    delay_ms,
                    failed,
                });
            }
            Up::Reject(seq) => self.judge(at, generation, seq, |lease| MailOperation::Reject {
                lease,
                reason: "it cannot be done".into(),
            }),
            Up::Started(seq) => {
                self.facts.push(Fact::Began { server, seq });
                let event = Event::Started { registration: number.at(generation), seqs: vec![seq] };
                self.hub.tell(event, self.now_ms);
            }
            Up::HasNot(seqs) => {
                self.facts.push(Fact::HasNot { server, generation, seqs: seqs.clone() });
                self.hub
                    .tell(Event::HasNot { registration: number.at(generation), seqs }, self.now_ms);
            }
        }
        self.settle_up();
        true
    }

    fn judge(
        &mut self,
        link: usize,
        generation: Generation,
        seq: Seq,
        what: impl FnOnce(Lease) -> MailOperation,
    ) {
        let server = SERVERS[self.links[link].server];
        let shown = match self.fault {
            Some(Fault::ForgetGenerations) => self.hub.owner.state().mail.generation(server),
            _ => generation,
        };
        let lease = Lease { server: server.into(), generation: shown, seq };
        let wanted = what(lease);
        let failed = match &wanted {
            MailOperation::Nack { failed, .. } => *failed,
            MailOperation::Reject { .. } => true,
            _ => false,
        };
        if failed {
            self.facts.push(Fact::Failed { server, seq });
        }
        self.propose(Want::Judge { link, generation, seq, failed }, vec![Operation::Mail(wanted)]);
    }

    /// The process is gone; the hub has not seen it.
    pub(super) fn die(&mut self, at: usize) {
        if let Some(link) = self.links.get_mut(at) {
            link.alive = false;
            link.down.clear();
            link.held.clear();
        }
    }

    /// The hub sees that a process is gone, or takes a silent one for gone.
    pub(super) fn notice(&mut self, at: usize) {
        let gone = self.links.get(at).is_some_and(|link| link.open && !link.alive);
        if !gone && !self.dice.chance(20) {
            return;
        }
        let Some(link) = self.links.get_mut(at).filter(|link| link.open) else { return };
        link.open = false;
        let server = SERVERS[link.server];
        let Some(generation) = link.generation else { return };
        let Some(number) = self.hub.shown.server_number(server) else { return };
        if self.fault == Some(Fault::CountPrefetched) {
            let seqs = self.hub.delivery.unconfirmed(number.at(generation), Seq::ZERO, Seq::MAX);
            self.hub
                .tell(Event::Started { registration: number.at(generation), seqs }, self.now_ms);
        }
        self.facts.push(Fact::Left { server, generation });
        self.hub.tell(Event::Left { registration: number.at(generation) }, self.now_ms);
        self.settle_up();
    }
}
