//! World of sites: the events of a run, drawn from one seed.

use std::collections::BTreeMap;

use instep_model::commit::Operation;
use instep_model::name::Key;
use instep_model::registration::Generation;
use instep_model::retention::Keep;
use instep_model::site::SiteOperation;
use serde_json::json;

use super::agent::{Agent, Phase, Store};
use super::fact::Fact;
use super::server::Server;
use super::server::api::{Ask, Request};
use super::{Fault, SITES, name};
use crate::dice::Dice;

mod working;

#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    Begin,
    Flush,
    Arrive,
    Pump,
    Work,
    Give,
    FailDump,
    Kill,
    Twin,
    Backup,
    Restore,
    Sicken,
    Operate,
    Wait,
    Snapshot,
    Trim,
    Crash,
}

/// Steps, each as often as its weight says; what is rare is no rarer in any seed.
const STEPS: &[(Step, usize)] = &[
    (Step::Write, 60),
    (Step::Begin, 60),
    (Step::Flush, 80),
    (Step::Arrive, 60),
    (Step::Pump, 90),
    (Step::Work, 110),
    (Step::Give, 40),
    (Step::FailDump, 1),
    (Step::Kill, 4),
    (Step::Twin, 3),
    (Step::Backup, 3),
    (Step::Restore, 2),
    (Step::Sicken, 4),
    (Step::Operate, 5),
    (Step::Wait, 20),
    (Step::Snapshot, 30),
    (Step::Trim, 40),
    (Step::Crash, 3),
];

/// Rounds in which every site has to catch up, and rounds of rest behind them.
const ROUNDS: (usize, usize) = (80, 20);

/// One seed's world.
pub(super) struct World {
    dice: Dice,
    fault: Option<Fault>,
    now_ms: u64,
    server: Server,
    stores: Vec<Store>,
    backups: Vec<Option<Store>>,
    /// Stores that refuse records for a while.
    sick: Vec<bool>,
    agents: Vec<Agent>,
    numbers: u64,
    /// Requests on their way; the newest may arrive first.
    requests: Vec<Request>,
    /// Requests that the owner has.
    wants: BTreeMap<u64, Request>,
    weights: Vec<(Step, usize)>,
    resting: bool,
    facts: Vec<Fact>,
}

impl World {
    pub(super) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut dice = Dice::new(seed ^ 0x0073_6974_6573);
        let weights = STEPS.iter().map(|(step, most)| (*step, 1 + most / 2 + dice.below(*most)));
        let weights = weights.collect();
        let keep = Keep { bytes: dice.below(2_000) as u64, ms: u64::MAX / 2 };
        let hold = Keep { bytes: 2_000 + dice.below(12_000) as u64, ms: 60_000 };
        Self {
            fault,
            now_ms: 1_700_000_000_000,
            server: Server::new(keep, hold, fault),
            stores: SITES.iter().map(|_| Store::default()).collect(),
            backups: SITES.iter().map(|_| None).collect(),
            sick: vec![false; SITES.len()],
            agents: (0..SITES.len()).map(|site| Agent::new(site as u64, site)).collect(),
            numbers: 1_000,
            requests: vec![],
            wants: BTreeMap::new(),
            weights,
            resting: false,
            facts: vec![],
            dice,
        }
    }

    pub(super) fn run(mut self, steps: usize) -> Vec<Fact> {
        for _ in 0..steps {
            let step = self.dice.draw(&self.weights);
            self.step(step);
            self.reply();
        }
        self.come_to_rest();
        self.facts
    }

    fn step(&mut self, step: Step) {
        let site = self.dice.below(SITES.len());
        let at = self.dice.below(self.agents.len());
        match step {
            Step::Write => self.write(),
            Step::Begin => self.server.begin(),
            Step::Flush => self.server.flush(self.now_ms, &mut self.facts),
            Step::Arrive => self.arrive(),
            Step::Pump => drop(self.server.pump(self.agents[at].number, &mut self.facts)),
            Step::Work => self.work(at),
            Step::Give => self.give(),
            Step::FailDump => {
                self.server.dumps.values_mut().take(1).for_each(|dump| dump.failed = true);
            }
            Step::Kill => self.kill(at),
            Step::Twin => self.twin(site),
            Step::Backup if !self.stores[site].restoring => {
                self.backups[site] = Some(self.stores[site].clone());
            }
            Step::Backup => {}
            Step::Restore => self.restore(site),
            Step::Sicken => self.sick[site] = !self.sick[site],
            Step::Operate => self.operate(site),
            Step::Wait => self.now_ms += self.dice.below(800) as u64,
            Step::Snapshot => self.server.snapshot(),
            Step::Trim => self.server.trim(self.now_ms, &mut self.facts),
            Step::Crash => self.crash(),
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A writer proposes a commit, and does not wait for its answer.
    fn write(&mut self) {
        let table = name(self.dice.draw(&[("a", 4), ("b", 4), ("c", 1)]));
        let key = Key::new(self.dice.draw(&[("1", 1), ("2", 1), ("3", 1), ("4", 1)]))
            .expect("the keys are constants");
        let row = json!({"n": self.dice.number()}).as_object().cloned().unwrap_or_default();
        let operation = match self.dice.below(20) {
            0..10 => Operation::Put { table, key, row },
            10..13 => Operation::Delete { table, key },
            13 => Operation::DropTable { table },
            14 => Operation::CreateTable { table, public: false },
            _ => Operation::Append { journal: name("j"), text: Some("x".into()), base64: None },
        };
        self.server.propose(0, vec![operation], self.now_ms);
    }

    /// A request arrives, or is lost.
    fn arrive(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let at = self.dice.below(self.requests.len());
        let request = self.requests.swap_remove(at);
        if self.is_lost() {
            return;
        }
        let ticket = self.number();
        match self.server.ask(ticket, &request, self.now_ms) {
            Some(reply) => self.hear(&request, reply),
            None => drop(self.wants.insert(ticket, request)),
        }
    }

    /// The owner's answers go back, or are lost.
    fn reply(&mut self) {
        for (ticket, answer) in std::mem::take(&mut self.server.answers) {
            let Some(request) = self.wants.remove(&ticket) else { continue };
            let at = (self.now_ms, &mut self.facts);
            let reply = self.server.reply((ticket, answer), &request, at);
            if !self.is_lost() {
                self.hear(&request, reply);
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        !self.resting && self.dice.chance(10)
    }

    /// A process dies: what it had in memory is gone, and its connection.
    fn kill(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        (agent.phase, agent.needs_dump) = (Phase::Idle, false);
        self.server.feeds.remove(&agent.number);
    }

    /// Another process begins to keep the same site.
    fn twin(&mut self, site: usize) {
        if self.agents.iter().filter(|agent| agent.site == site).count() < 2 {
            let number = self.number();
            self.agents.push(Agent::new(number, site));
        }
    }

    /// An operator replaces a database by its backup.
    fn restore(&mut self, site: usize) {
        if let Some(backup) = &self.backups[site] {
            self.stores[site] = backup.clone();
            self.note_store(site);
        }
    }

    fn operate(&mut self, site: usize) {
        let of = name(SITES[site].name);
        let operation = match self.dice.below(12) {
            0 => SiteOperation::Remove { site: of },
            number => SiteOperation::Pause { site: of, paused: number % 2 == 0 },
        };
        self.server.propose(0, vec![Operation::Site(operation)], self.now_ms);
    }

    /// The server dies, and connections end with it.
    fn crash(&mut self) {
        let (is_written, writer) = (self.dice.chance(50), self.dice.uuid());
        self.server.crash(is_written, writer, &mut self.facts);
        self.wants.clear();
    }

    fn give(&mut self) {
        let own = self.server.dumps.iter().filter(|(_, dump)| dump.source.is_none());
        let ids: Vec<_> = own.map(|(id, _)| *id).collect();
        if !ids.is_empty() {
            self.server.give(*self.dice.pick(&ids));
        }
    }

    /// The database of a site has changed.
    fn note_store(&mut self, site: usize) {
        let Store { content, restoring, .. } = &self.stores[site];
        if !restoring {
            let (place, content) = (self.stores[site].place(), content.clone());
            self.facts.push(Fact::Store { site, place, content });
        }
    }

    /// Ends the input, and lets every site catch up.
    fn come_to_rest(&mut self) {
        self.resting = true;
        self.sick.fill(false);
        for site in SITES {
            let operation = SiteOperation::Pause { site: name(site.name), paused: false };
            self.server.propose(0, vec![Operation::Site(operation)], self.now_ms);
        }
        for _ in 0..ROUNDS.0 {
            self.round();
        }
        self.facts.push(Fact::Quiet);
        for _ in 0..ROUNDS.1 {
            self.round();
        }
        self.facts.push(Fact::Rested);
    }

    /// A dump has failed when its source has stopped to send.
    fn hear_silence(&mut self, id: u64) {
        let gives = |agent: &Agent| match &agent.phase {
            Phase::Following(session) => session.giving.iter().any(|(given, _)| *given == id),
            Phase::Idle | Phase::Asking | Phase::Restoring { .. } => false,
        };
        let dump = self.server.dumps.get_mut(&id).filter(|dump| dump.is_growing());
        if let Some(dump) = dump.filter(|_| !self.agents.iter().any(gives)) {
            dump.failed = true;
        }
    }

    /// Every part does all that it can.
    fn round(&mut self) {
        while !self.requests.is_empty() {
            self.arrive();
        }
        self.server.begin();
        self.server.flush(self.now_ms, &mut self.facts);
        self.reply();
        for id in self.server.dumps.keys().copied().collect::<Vec<_>>() {
            self.server.give(id);
            self.hear_silence(id);
        }
        for at in 0..self.agents.len() {
            while self.server.pump(self.agents[at].number, &mut self.facts) {}
        }
        for at in (0..self.agents.len()).rev() {
            for _ in 0..4 {
                if at < self.agents.len() {
                    self.work(at);
                }
            }
        }
    }
}

impl Agent {
    fn new(number: u64, site: usize) -> Self {
        let (asked, phase) = (0, Phase::Idle);
        Self { number, site, phase, asked, needs_dump: false, asks_server: false }
    }

    /// A request of this agent.
    fn request(&self, generation: Generation, ask: Ask) -> Request {
        Request { site: self.site, from: (self.number, self.asked), generation, ask }
    }
}
