//! World of mail: the events of a run, drawn from one seed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use instep_model::commit::Operation;
use instep_model::mail::delivery::{Effect, Event};
use instep_model::mail::{Lease, MailOperation, NewMessage, RegistrationId, Seq, ServerNo, Status};
use instep_model::name::{Key, Name};
use instep_model::registration::Generation;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Fault;
use super::fact::Fact;
use super::hub::Hub;
use super::process::{Down, Link, Up};
use crate::dice::Dice;

mod serving;

const SERVERS: [&str; 3] = ["7", "8", "9"];
const ENDPOINTS: [&str; 6] = ["org/1", "org/2", "user/1/a", "user/2/b", "org/3", "server/9"];
/// Rounds of rest: more than the longest rest, ask and lease together take.
const ROUNDS: usize = 600;

#[derive(Debug, Clone, Copy)]
enum Step {
    Send,
    Resend,
    Import,
    Backfill,
    Move,
    MoveBack,
    Revive,
    Begin,
    Flush,
    Show,
    Write,
    Receive,
    Work,
    Hear,
    Join,
    Die,
    Notice,
    Wait,
    Jump,
    Snapshot,
    Crash,
}

const STEPS: &[(Step, usize)] = &[
    (Step::Send, 30),
    (Step::Resend, 8),
    (Step::Import, 3),
    (Step::Backfill, 4),
    (Step::Move, 5),
    (Step::MoveBack, 10),
    (Step::Revive, 2),
    (Step::Begin, 60),
    (Step::Flush, 80),
    (Step::Show, 80),
    (Step::Write, 120),
    (Step::Receive, 120),
    (Step::Work, 80),
    (Step::Hear, 120),
    (Step::Join, 12),
    (Step::Die, 5),
    (Step::Notice, 10),
    (Step::Wait, 30),
    (Step::Jump, 1),
    (Step::Snapshot, 4),
    (Step::Crash, 3),
];

/// Request with a pending answer.
pub(super) enum Want {
    NewMessage(usize),
    Register(usize),
    Judge { link: usize, generation: Generation, seq: Seq, failed: bool },
    Nothing,
}

/// A letter as its sender keeps it.
struct Sent {
    letter: NewMessage,
    id: Uuid,
    accepted: bool,
}

/// One seed's world.
pub(super) struct World {
    dice: Dice,
    fault: Option<Fault>,
    now_ms: u64,
    /// So far it is ahead.
    ahead_ms: u64,
    log: Vec<Bytes>,
    snapshot: Option<Vec<u8>>,
    hub: Hub,
    links: Vec<Link>,
    /// Messages that each server has done: they survive its processes.
    done: [BTreeSet<Seq>; SERVERS.len()],
    letters: Vec<Sent>,
    /// Servers that endpoints were moved to last, and the move that may be undone.
    places: BTreeMap<&'static str, &'static str>,
    regret: Option<(&'static str, &'static str)>,
    wants: BTreeMap<u64, Want>,
    tickets: u64,
    weights: Vec<(Step, usize)>,
    resting: bool,
    facts: Vec<Fact>,
}

impl World {
    pub(super) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut dice = Dice::new(seed ^ 0x6d61_696c);
        let weights =
            STEPS.iter().map(|(step, most)| (*step, 1 + most / 4 + dice.below(*most + 1)));
        let weights = weights.collect();
        let hub = Hub::open(&[], None, dice.uuid(), fault).expect("nothing is nothing");
        Self {
            dice,
            fault,
            now_ms: 1_700_000_000_000,
            ahead_ms: 0,
            log: Vec::new(),
            snapshot: None,
            hub,
            links: Vec::new(),
            done: Default::default(),
            letters: Vec::new(),
            places: BTreeMap::from([("org/1", "7"), ("org/2", "7")]),
            regret: None,
            wants: BTreeMap::new(),
            tickets: 0,
            weights,
            resting: false,
            facts: Vec::new(),
        }
    }

    pub(super) fn into_facts(self) -> Vec<Fact> {
        self.facts
    }

    pub(super) fn run(&mut self, steps: usize) {
        let opening = ["org/1", "org/2"].map(|endpoint| moving(endpoint, "7"));
        let queue = Operation::CreateQueue { queue: name("mail") };
        self.propose(Want::Nothing, [vec![queue], opening.to_vec()].concat());
        self.turn_over();
        for _ in 0..steps {
            let step = self.dice.draw(&self.weights);
            self.step(step);
            self.settle_up();
        }
        self.come_to_rest();
    }

    fn step(&mut self, step: Step) {
        let link = self.dice.below(self.links.len().max(1));
        match step {
            Step::Send => self.send(),
            Step::Resend => self.resend(),
            Step::Import => {
                let letter = self.letter();
                self.propose(Want::Nothing, vec![Operation::Import(letter)]);
            }
            Step::Backfill => self.backfill(),
            Step::Move => self.move_one(),
            Step::MoveBack => {
                if let Some((endpoint, from)) = self.regret.take() {
                    self.move_to(endpoint, from);
                }
            }
            Step::Revive => {
                let dead = self.hub.shown.dead_after(Seq::ZERO).next();
                if let Some(seq) = dead {
                    self.propose(Want::Nothing, vec![Operation::Retry { seq }]);
                }
            }
            Step::Begin => self.hub.begin(&mut self.facts),
            Step::Flush => self.hub.flush(&mut self.log, &mut self.facts, self.now_ms),
            Step::Show => {
                let drop_news = self.fault == Some(Fault::DropNews) && self.dice.chance(40);
                self.show(drop_news);
            }
            Step::Write => drop(self.write(link)),
            Step::Receive => self.receive(link),
            Step::Work => self.work(link),
            Step::Hear => drop(self.hear(link)),
            Step::Join => self.join(),
            Step::Die => self.die(link),
            Step::Notice => self.notice(link),
            Step::Wait => self.wait(400),
            Step::Jump => match self.dice.below(4) {
                0 => self.wait(100_000),
                // Clocks go back, too.
                1 => self.now_ms -= 5_000,
                // They are wrong by more than a day, and an operator puts them right.
                _ if self.ahead_ms == 0 => {
                    self.ahead_ms = 90_000_000;
                    self.now_ms += self.ahead_ms;
                }
                _ => self.now_ms -= std::mem::take(&mut self.ahead_ms),
            },
            Step::Snapshot => self.snapshot = Some(self.hub.snapshot()),
            Step::Crash => self.crash(),
        }
    }

    fn propose(&mut self, want: Want, operations: Vec<Operation>) {
        self.tickets += 1;
        self.wants.insert(self.tickets, want);
        self.hub.propose(self.tickets, operations, self.now_ms);
    }

    fn letter(&mut self) -> NewMessage {
        let to = (*self.dice.pick(&ENDPOINTS)).to_owned();
        let ttl_ms = self.dice.chance(10).then(|| 1 + self.dice.below(2_000) as u64);
        let rests = self.dice.chance(10);
        let not_before = rests.then(|| self.now_ms + self.dice.below(1_500) as u64);
        let priority = self.dice.chance(20).then_some(7);
        let body = Value::from(self.dice.below(1_000));
        let id = Some(self.dice.uuid());
        NewMessage { queue: name("mail"), to, body, id, priority, ttl_ms, not_before, sender: 0 }
    }

    fn send(&mut self) {
        let letter = self.letter();
        let id = letter.id.unwrap_or_default();
        self.letters.push(Sent { letter, id, accepted: false });
        self.post(self.letters.len() - 1);
    }

    /// The answer was lost, or so the sender thinks.
    fn resend(&mut self) {
        if self.letters.is_empty() {
            return;
        }
        let at = self.dice.below(self.letters.len());
        if self.letters[at].accepted && self.dice.chance(60) {
            return;
        }
        if self.fault == Some(Fault::NewIdOnRetry) {
            let id = self.dice.uuid();
            (self.letters[at].id, self.letters[at].letter.id) = (id, Some(id));
        }
        self.post(at);
    }

    fn post(&mut self, at: usize) {
        let Sent { letter, id, .. } = &self.letters[at];
        self.facts.push(Fact::Sent { letter: at as u64, id: *id });
        let operations = vec![Operation::Send(letter.clone())];
        self.propose(Want::NewMessage(at), operations);
    }

    fn backfill(&mut self) {
        let unrouted = self.hub.shown.pending_of(ServerNo::NOWHERE, Seq::ZERO).take(4);
        let operations: Vec<_> =
            unrouted.map(|seq| Operation::Mail(MailOperation::Route { seq })).collect();
        if !operations.is_empty() {
            self.propose(Want::Nothing, operations);
        }
    }

    fn move_one(&mut self) {
        let endpoint = *self.dice.pick(&["org/1", "org/2", "org/3"]);
        let to = *self.dice.pick(&SERVERS);
        self.regret = self.places.get(endpoint).map(|from| (endpoint, *from));
        self.move_to(endpoint, to);
    }

    fn move_to(&mut self, endpoint: &'static str, to: &'static str) {
        self.places.insert(endpoint, to);
        let operation = match self.fault {
            Some(Fault::EditTheDirectory) => edit(endpoint, to),
            _ => moving(endpoint, to),
        };
        self.propose(Want::Nothing, vec![operation]);
    }

    fn wait(&mut self, most: usize) {
        self.now_ms += self.dice.below(most) as u64;
        self.propose(Want::Nothing, vec![Operation::Mail(MailOperation::Sweep)]);
        self.hub.tell(Event::Tick, self.now_ms);
    }

    /// The hub dies, and what it wrote last may or may not be in its log.
    fn crash(&mut self) {
        if self.dice.chance(50) {
            self.hub.keep(&mut self.log, &mut self.facts);
        }
        self.facts.push(Fact::Restarted);
        let opened = Hub::open(&self.log, self.snapshot.as_deref(), self.dice.uuid(), self.fault);
        self.hub = opened.expect("what was flushed is there");
        self.facts.push(Fact::Shown { revision: self.log.len() as u64 });
        self.wants.clear();
        for link in &mut self.links {
            link.open = false;
        }
    }

    /// Everything that waits goes through.
    fn turn_over(&mut self) {
        for _ in 0..3 {
            self.hub.begin(&mut self.facts);
            self.hub.flush(&mut self.log, &mut self.facts, self.now_ms);
            let drop_news = self.fault == Some(Fault::DropNews);
            while self.show(drop_news) {}
            self.settle_up();
        }
    }

    /// Ends the input, and lets every part finish its work.
    fn come_to_rest(&mut self) {
        self.resting = true;
        for at in 0..self.links.len() {
            self.die(at);
            self.links[at].alive = false;
            self.notice(at);
        }
        for endpoint in ["org/1", "org/2", "org/3"] {
            if self.fault != Some(Fault::EditTheDirectory) {
                self.propose(Want::Nothing, vec![moving(endpoint, "8")]);
            }
        }
        self.turn_over();
        for server in 0..SERVERS.len() {
            self.join_as(server, None);
        }
        for round in 0..ROUNDS {
            self.backfill();
            self.turn_over();
            for at in 0..self.links.len() {
                while self.write(at) {}
                while !self.links[at].down.is_empty() {
                    self.receive(at);
                }
                while self.links[at].alive && !self.links[at].held.is_empty() {
                    self.work(at);
                }
                while self.hear(at) {}
            }
            self.turn_over();
            if !self.is_anything_left() {
                break;
            }
            // The clock may have gone back far, and a message may be delayed to a time ahead.
            self.wait(100 + round * 10);
            if round == ROUNDS / 2 {
                self.now_ms += 90_000_000;
            }
        }
        self.facts.push(Fact::Rested);
    }

    fn is_anything_left(&self) -> bool {
        let mail = &self.hub.owner.state().mail;
        mail.messages_after(Seq::ZERO).any(|(_, message)| message.status == Status::Pending)
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("the names are constants")
}

fn moving(endpoint: &str, to: &str) -> Operation {
    Operation::Move { endpoint: endpoint.to_owned(), to: to.to_owned(), generation: None }
}

/// An ordinary write to the directory.
fn edit(endpoint: &str, to: &str) -> Operation {
    let row = json!({"server": to, "generation": 1});
    Operation::Put {
        table: name("directory"),
        key: Key::new(endpoint).expect("the endpoints are constants"),
        row: row.as_object().cloned().unwrap_or_default(),
    }
}
