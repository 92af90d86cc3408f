//! The world of one seed: a disk, a process that dies, writers, subscribers, and time.
//!
//! Everything that happens is drawn from one seed; nothing runs beside anything else. How often
//! each thing happens is drawn too, so that seeds differ in kind and not only in order.

use instep_embedded::datasets::Datasets;
use instep_model::disk::simulated::{Fault as DiskFault, SimulatedDisk};
use instep_model::limits::ID_MEMORY_MS;
use instep_model::position::{Incarnation, Revision};

use crate::dice::Dice;
use crate::fault::Fault;
use crate::history::Event;
use crate::node::{Node, Start, Unopened, is_dark};
use crate::shop::{NO_VIEWS, TABLE_TOPICS, TOPICS};
use crate::subscriber::{Habits, Subscriber};
use crate::writers::Writers;

mod damage;
mod datasets;

/// Attempts to come up with a disk that is in order.
const STARTS: usize = 12;
/// A disk that is nearly full has this much room: a few segments.
const SMALL_DISK: u64 = 8 * 1024;

/// Step that a run may take next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Propose,
    Burst,
    Flush,
    Show,
    Pump,
    Read,
    Vanish,
    Return,
    Rejoin,
    Settle,
    Bookmark,
    Snapshot,
    Trim,
    Prepare,
    Look,
    ReadLog,
    Replay,
    Wait,
    Jump,
    FillDisk,
    DiskFault,
    PowerFails,
    Crash,
    Kill,
    Recreate,
    Damage,
    MakeDataset,
    RemoveDataset,
}

/// Every step with how often it happens at most, relative to the others.
const STEPS: &[(Step, usize)] = &[
    (Step::Propose, 150),
    (Step::Burst, 6),
    (Step::Flush, 150),
    (Step::Show, 150),
    (Step::Pump, 80),
    (Step::Read, 250),
    (Step::Vanish, 10),
    (Step::Return, 120),
    (Step::Rejoin, 10),
    (Step::Settle, 50),
    (Step::Bookmark, 20),
    (Step::Snapshot, 12),
    (Step::Trim, 12),
    (Step::Prepare, 10),
    (Step::Look, 20),
    (Step::ReadLog, 8),
    (Step::Replay, 3),
    (Step::Wait, 30),
    (Step::Jump, 2),
    (Step::FillDisk, 4),
    (Step::DiskFault, 3),
    (Step::PowerFails, 3),
    (Step::Crash, 3),
    (Step::Kill, 3),
    (Step::Recreate, 1),
    (Step::Damage, 1),
    (Step::MakeDataset, 4),
    (Step::RemoveDataset, 4),
];

/// One seed's world.
pub(crate) struct World {
    dice: Dice,
    fault: Option<Fault>,
    now_ms: u64,
    /// Milliseconds by a monotonic clock.
    steady_ms: u64,
    /// So far it is ahead.
    ahead_ms: u64,
    disk: SimulatedDisk,
    /// The history that must be found again.
    incarnation: Option<Incarnation>,
    node: Option<Node>,
    writers: Writers,
    subscribers: Vec<Subscriber>,
    /// All datasets, since the process came up.
    datasets: Option<Datasets>,
    has_views: bool,
    /// Index of the set of views that is declared.
    views: usize,
    weights: Vec<(Step, usize)>,
    pub(crate) trace: Vec<Event>,
    /// Answers up to this event have been read.
    read: usize,
    /// The process cannot be started any more.
    pub(crate) over: bool,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut dice = Dice::new(seed);
        let weights = STEPS.iter().map(|(step, most)| {
            // Rare steps keep their chance in every seed; common ones vary from some to many.
            let least = usize::from(*most > 1);
            (*step, least + most / 4 + dice.below(*most + 1))
        });
        let weights = weights.collect();
        let disk = SimulatedDisk::new(dice.number());
        // Without views a node takes another way when it recovers.
        let has_views = dice.chance(75);
        let topics = if has_views { &TOPICS[..] } else { &TABLE_TOPICS[..] };
        let subscribers = (0..5 + dice.below(4)).map(|reader| {
            let topic = topics[(reader + dice.below(2)) % topics.len()];
            let habits = Habits { plain: dice.chance(35), clears: dice.chance(50) };
            Subscriber::new(reader as u32, topic, habits)
        });
        let subscribers = subscribers.collect();
        Self {
            dice,
            fault,
            now_ms: 1_700_000_000_000,
            steady_ms: 0,
            ahead_ms: 0,
            disk,
            incarnation: None,
            node: None,
            writers: Writers::new(),
            subscribers,
            datasets: None,
            has_views,
            views: if has_views { 0 } else { NO_VIEWS },
            weights,
            trace: Vec::new(),
            read: 0,
            over: false,
        }
    }

    /// Lives through a number of steps, and ends with every change told to every reader.
    pub(crate) fn run(&mut self, steps: usize) {
        self.start();
        for _ in 0..steps {
            if self.over {
                return;
            }
            let step = self.dice.draw(&self.weights);
            self.step(step);
            self.after_step();
        }
        self.come_to_rest();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Propose => self.propose(1),
            Step::Burst => {
                let count = 5 + self.dice.below(15);
                self.propose(count);
            }
            Step::Vanish => self.vanish(),
            Step::Return => self.return_one(false),
            Step::Rejoin => self.return_one(true),
            Step::Wait => self.wait(),
            Step::Jump => self.jump(),
            Step::FillDisk => self.fill_disk(),
            Step::DiskFault => self.injure_disk(),
            Step::PowerFails => {
                let operations = self.dice.below(12) as u64;
                self.disk.power_off_after(operations);
            }
            Step::Crash => self.die(true),
            Step::Kill => self.die(false),
            Step::Recreate => self.recreate(),
            Step::Damage => self.damage_and_repair(),
            Step::MakeDataset => self.make_dataset(),
            Step::RemoveDataset => self.remove_dataset(),
            step => self.step_of_node(step),
        }
    }

    fn step_of_node(&mut self, step: Step) {
        let Self { node: Some(node), trace, dice, subscribers, .. } = self else {
            return;
        };
        let at = dice.below(subscribers.len());
        let subscriber = &mut subscribers[at];
        let reader = subscriber.reader;
        match step {
            Step::Flush => node.flush(trace),
            Step::Show => node.show(trace),
            Step::Pump => node.pump(reader, trace),
            // The first subscriber is slow: its socket is full most of the time.
            Step::Read if reader == 0 && dice.chance(85) => node.pump(reader, trace),
            Step::Read => {
                let frames = 1 + dice.below(4);
                if dice.chance(60) {
                    node.pump(reader, trace);
                }
                read_frames(node, subscriber, frames, trace);
            }
            Step::Settle => settle(node, subscriber, trace),
            Step::Bookmark => node.bookmark(trace),
            Step::Snapshot => node.snapshot(),
            Step::Trim => node.trim(trace),
            Step::Prepare => node.prepare(),
            Step::Look => {
                node.look(trace);
                node.refold(trace);
            }
            Step::ReadLog => {
                let (floor, head) = node.bounds();
                let edge = *dice.pick(&[floor.saturating_sub(1), floor, floor + 1, head, head + 1]);
                let from = if dice.chance(10) { head + 2 } else { edge };
                node.read_log(Revision(from), trace);
            }
            Step::Replay => node.replay(trace),
            _ => {}
        }
    }

    /// Sees what the step led to: the power may be gone, connections may have ended.
    fn after_step(&mut self) {
        while self.read < self.trace.len() {
            self.writers.learn(&self.trace[self.read]);
            self.read += 1;
        }
        if is_dark(&self.disk) {
            self.die(true);
        }
        let failed = self.node.as_ref().is_some_and(|node| node.failed);
        // An operator restarts a dataset that has stopped, sooner or later.
        if failed && self.dice.chance(10) {
            let power = self.dice.chance(50);
            self.die(power);
        }
        let Some(node) = &mut self.node else { return };
        node.sockets.retain(|_, socket| socket.open);
        for subscriber in &mut self.subscribers {
            if !node.sockets.contains_key(&subscriber.reader) {
                subscriber.lose(&mut self.trace);
            }
        }
    }

    fn propose(&mut self, count: usize) {
        let Some(node) = &mut self.node else { return };
        for _ in 0..count {
            let attempted = self.writers.next(&mut self.dice, self.now_ms);
            self.trace.push(attempted.event());
            let proposal = attempted.proposal(self.fault);
            node.propose(attempted.ticket, proposal, &mut self.trace);
        }
        // The owner takes what is there when it is idle; what comes later is the next batch.
        if self.dice.chance(50) {
            node.begin(&mut self.trace);
        }
    }

    fn vanish(&mut self) {
        let Some(node) = &mut self.node else { return };
        let at = self.dice.below(self.subscribers.len());
        let subscriber = &mut self.subscribers[at];
        node.sockets.remove(&subscriber.reader);
        subscriber.lose(&mut self.trace);
        if self.dice.chance(20) {
            subscriber.reload();
        }
    }

    /// Join of a subscriber: over a new connection, or again over the one that is there.
    fn return_one(&mut self, again: bool) {
        let Some(node) = &mut self.node else { return };
        let at = self.dice.below(self.subscribers.len());
        let subscriber = &mut self.subscribers[at];
        if again == subscriber.is_away() {
            return;
        }
        if !again {
            node.connect(subscriber.reader);
        }
        let join = subscriber.join();
        node.receive(subscriber.reader, &join);
    }

    fn wait(&mut self) {
        let passed = self.dice.below(4_000) as u64;
        self.pass(passed);
        if self.fault == Some(Fault::DependOnTheProcess) {
            self.now_ms += order_of_a_hash() % 3;
        }
        self.tell_time();
    }

    fn jump(&mut self) {
        let edge = self.dice.below(5) as u64;
        match self.dice.below(5) {
            0 => self.pass(ID_MEMORY_MS + edge - 2),
            1 => self.pass(ID_MEMORY_MS / 2),
            // Clocks go back, too.
            2 => self.now_ms -= 60_000,
            // They are wrong by more than a day, and an operator puts them right.
            _ if self.ahead_ms == 0 => {
                self.ahead_ms = ID_MEMORY_MS + 3_600_000;
                self.now_ms += self.ahead_ms;
            }
            _ => self.now_ms -= std::mem::take(&mut self.ahead_ms),
        }
        self.tell_time();
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.steady_ms += ms;
    }

    fn tell_time(&mut self) {
        self.trace.push(Event::Clock { now_ms: self.now_ms });
        if let Some(node) = &mut self.node {
            node.set_time(self.now_ms, self.steady_ms);
        }
    }

    fn fill_disk(&mut self) {
        let room = SMALL_DISK + self.dice.below(4) as u64 * 4096;
        let capacity = self.dice.chance(60).then_some(room);
        self.disk.set_capacity(capacity);
    }

    fn injure_disk(&mut self) {
        let fault = *self.dice.pick(&[
            DiskFault::ShortWrite,
            DiskFault::WriteError,
            DiskFault::SyncError,
            DiskFault::DirectorySyncError,
            DiskFault::Full,
        ]);
        self.disk.inject(fault, self.dice.below(4) as u64);
    }

    /// The process dies, with the machine or alone, and comes up again.
    fn die(&mut self, power: bool) {
        self.node = None;
        self.trace.push(Event::DeadLettered { power });
        if power {
            self.disk.crash()
        } else {
            self.disk.kill()
        }
        for subscriber in &mut self.subscribers {
            subscriber.lose(&mut self.trace);
        }
        self.start();
    }

    /// Brings the process up, through crashes in the middle of that.
    fn start(&mut self) {
        let mut reason = String::new();
        for attempt in 0..STARTS {
            if attempt < STARTS / 2 && self.dice.chance(15) {
                let operations = self.dice.below(10) as u64;
                self.disk.power_off_after(operations);
            }
            // The configuration changes while the process is down.
            if self.has_views && self.dice.chance(25) {
                self.views = self.dice.below(NO_VIEWS + 1);
            }
            let start = Start {
                now_ms: self.now_ms,
                steady_ms: self.steady_ms,
                fault: self.fault,
                writer: self.dice.uuid(),
                new_incarnation: Incarnation(self.dice.uuid()),
                first: self.incarnation.is_none(),
                views: self.views,
            };
            let before = self.trace.len();
            let opened =
                self.open_datasets().and_then(|()| Node::open(&self.disk, &start, &mut self.trace));
            match opened {
                Ok(node) if self.incarnation.is_none_or(|known| known == node.incarnation) => {
                    return self.started(node);
                }
                Ok(_) => {
                    reason = "another history began".to_owned();
                    break;
                }
                Err(Unopened::Full) => self.disk.set_capacity(None),
                Err(Unopened::Failed(why)) => reason = why,
            }
            self.trace.truncate(before);
            if is_dark(&self.disk) || self.dice.chance(30) {
                self.disk.crash()
            } else {
                self.disk.kill()
            }
        }
        self.trace.push(Event::NotRecovered { reason });
        self.over = true;
    }

    fn started(&mut self, node: Node) {
        self.incarnation = Some(node.incarnation);
        let node = self.node.insert(node);
        if node.is_empty() {
            let attempted = self.writers.opening(&mut self.dice, self.now_ms);
            self.trace.push(attempted.event());
            let proposal = attempted.proposal(self.fault);
            node.propose(attempted.ticket, proposal, &mut self.trace);
        }
    }

    /// Ends the input, and lets every reader catch up.
    fn come_to_rest(&mut self) {
        self.disk.set_capacity(None);
        self.die(true);
        let Some(node) = &mut self.node else { return };
        for _ in 0..20 {
            node.flush(&mut self.trace);
            node.show(&mut self.trace);
        }
        for subscriber in &mut self.subscribers {
            node.connect(subscriber.reader);
            let join = subscriber.join();
            node.receive(subscriber.reader, &join);
            settle(node, subscriber, &mut self.trace);
        }
        node.look(&mut self.trace);
        node.replay(&mut self.trace);
    }
}

/// A client reads some frames.
fn read_frames(
    node: &mut Node,
    subscriber: &mut Subscriber,
    most: usize,
    trace: &mut Vec<Event>,
) -> usize {
    let Some(socket) = node.sockets.get_mut(&subscriber.reader) else {
        return 0;
    };
    let count = most.min(socket.sent.len());
    let frames: Vec<_> = socket.sent.drain(..count).collect();
    for frame in &frames {
        subscriber.read(frame, trace);
    }
    frames.len()
}

/// A client reads until there is nothing more.
fn settle(node: &mut Node, subscriber: &mut Subscriber, trace: &mut Vec<Event>) {
    loop {
        node.pump(subscriber.reader, trace);
        if read_frames(node, subscriber, usize::MAX, trace) == 0 {
            break;
        }
    }
    if subscriber.is_joined() && node.sockets.contains_key(&subscriber.reader) {
        let (reader, position) = (subscriber.reader, node.feed_position());
        trace.push(Event::Settled { reader, position });
    }
}

/// Order that a hash map would give its keys: another one in every run.
fn order_of_a_hash() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(1)
}
