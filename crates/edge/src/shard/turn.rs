//! Turns of a shard, one after the other, and the time that each part of a turn may take.
//!
//! No crowd may make others wait by coming in numbers. So everything that can come in numbers is a
//! part of a turn with a time of its own, and two kinds of connections are read apart: those that
//! have been here for a while, and those that come or go.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use instep_model::limits;
use mio::{Events, Token};

use super::connection::Fate;
use super::core::Lane;
use super::fan_out::fan_out;
use super::{LISTENERS, Shard, slot_number};

/// A wait below this is taken for none at all.
const NO_WAIT: Duration = Duration::from_millis(1);

/// A part of a turn: over after some time, whatever is left. Time runs from the first thing that
/// was done, which mostly is the only one.
struct Part {
    takes: Duration,
    until: Option<Instant>,
}

impl Part {
    /// A share of a turn as long as the one before, and no less than so many microseconds: a crowd
    /// has to come and go in the end, however much there is to write.
    fn of(us: u64, share: Duration) -> Self {
        Self { takes: share.max(Duration::from_micros(us)), until: None }
    }

    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        now >= *self.until.get_or_insert(now + self.takes)
    }
}

impl Shard {
    /// Serves until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(limits::EVENTS_PER_POLL);
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.serve(&mut events))) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    return tracing::error!(%error, "a shard cannot wait for events");
                }
                Err(_) => self.restart(),
            }
        }
    }

    fn serve(&mut self, events: &mut Events) -> io::Result<()> {
        let mut ended = Instant::now();
        while !self.stopped {
            self.wait(events, ended)?;
            self.take_commands();
            self.accept_some();
            self.send_some_away();
            self.read_some();
            self.send_holders_away();
            self.take_answers();
            self.attach_some();
            self.give_some();
            self.look_at_deadlines();
            self.review_some();
            self.inspections.look(self.core.shard, &self.connections, self.core.now);
            ended = Instant::now();
            self.core.turn = ended - self.woken;
            self.core.counters.turns.note(self.core.turn);
        }
        Ok(())
    }

    /// Waits from the end of one turn until there is something for the next.
    fn wait(&mut self, events: &mut Events, ended: Instant) -> io::Result<()> {
        let timeout = self.time_to_wait();
        self.ask(events, timeout)?;
        // Who comes while the shard works is told of at the end of its turn.
        let earliest = if self.woken - ended < NO_WAIT { self.last_woken } else { self.woken };
        self.core.now = self.core.edge.at(self.woken);
        let mut told = self.take_events(events, earliest);
        // All events are read before any connection is served: an established one must
        // not wait behind a crowd.
        for _ in 1..limits::POLLS_PER_TURN {
            if told < limits::EVENTS_PER_POLL {
                break;
            }
            self.poll.poll(events, Some(Duration::ZERO)).or_else(if_interrupted)?;
            told = self.take_events(events, earliest);
        }
        Ok(())
    }

    fn ask(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let asked = self.poll.poll(events, timeout);
        self.core.handle.notifier().is_awake();
        self.last_woken = std::mem::replace(&mut self.woken, Instant::now());
        asked.or_else(if_interrupted)
    }

    /// Timeout of the next wait; none: until something happens.
    fn time_to_wait(&mut self) -> Option<Duration> {
        let now = self.core.now;
        let notifier = Arc::clone(self.core.handle.notifier());
        let ready = self.accepts.iter().any(|accept| accept.is_ready(now));
        let looks = self.review.is_some() || !self.inspections.is_empty();
        let has_work = self.core.has_work() || ready || looks;
        if has_work || !notifier.falls_asleep() {
            return Some(Duration::ZERO);
        }
        // A sender of a command from here on finds the notifier asleep, and wakes this thread.
        if let Ok(command) = self.commands.try_recv() {
            self.execute(command);
            return Some(Duration::ZERO);
        }
        if self.core.pending.may_have_news() {
            return Some(Duration::ZERO);
        }
        let again = self.accepts.iter().filter_map(|accept| accept.due_in(now));
        let soon = self.core.wheel.due_in(now).into_iter();
        soon.chain(again).chain(self.drain.due_in(now)).min().map(Duration::from_millis)
    }

    /// Takes events, and returns how many there were.
    fn take_events(&mut self, events: &Events, earliest: Instant) -> usize {
        let mut told = 0;
        for event in events {
            told += 1;
            let Token(token) = event.token();
            if let Some(slot) = token.checked_sub(LISTENERS) {
                if let Some(connection) = self.connections.get_mut(slot) {
                    connection.woken(slot_number(slot), event, &mut self.core);
                }
            } else if let Some(accept) =
                token.checked_sub(1).and_then(|at| self.accepts.get_mut(at))
            {
                accept.woken(earliest);
            }
        }
        told
    }

    fn take_commands(&mut self) {
        let mut part = Part::of(limits::MAIL_US_PER_TURN, self.core.turn / 16);
        while let Ok(command) = self.commands.try_recv() {
            self.execute(command);
            if part.is_over() {
                return;
            }
        }
    }

    /// Lets what was just asked begin, and takes what was answered.
    fn take_answers(&mut self) {
        let mut part = Part::of(limits::READ_US_PER_TURN, self.core.turn / 4);
        while let Some(answered) = self.core.pending.next() {
            self.answered(answered);
            if part.is_over() {
                return;
            }
        }
    }

    fn read_some(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let turn = self.core.turn;
        let mut steady = Part::of(limits::READ_US_PER_TURN, turn / 4);
        self.read_lane(Lane::Steady, &mut steady, &mut buffer);
        let mut crowd = Part::of(limits::CROWD_US_PER_TURN, turn / 8);
        self.read_lane(Lane::Crowd, &mut crowd, &mut buffer);
        self.buffer = buffer;
    }

    fn read_lane(&mut self, lane: Lane, part: &mut Part, buffer: &mut [u8]) {
        let before = self.core.counters.bytes_in.get();
        for _ in 0..self.core.lane(lane).len() {
            let Some(slot) = self.core.lane(lane).pop_front() else {
                break;
            };
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                continue;
            };
            if !std::mem::take(&mut connection.flags.reading) {
                continue;
            }
            if connection.read(slot, buffer, &mut self.core) == Fate::Gone {
                self.remove(slot);
            }
            self.forget_left();
            let read = self.core.counters.bytes_in.get() - before;
            if read > limits::READ_BYTES_PER_TURN || part.is_over() {
                break;
            }
        }
    }

    /// Gives what is new to some, and writes to them before others are given it: what a connection
    /// takes in memory is still at hand then.
    fn give_some(&mut self) {
        for _ in 0..limits::GIVEN_PER_TURN / limits::GIVEN_AT_ONCE {
            if self.round == 0 {
                fan_out(&mut self.core, &mut self.connections);
                self.round = self.core.due.len();
            }
            self.catch_up_some();
            self.write_some();
            if self.round > 0 || !self.core.has_news() {
                return;
            }
        }
    }

    fn catch_up_some(&mut self) {
        let mut part = Part::of(limits::CATCH_UP_US_PER_TURN, self.core.turn / 8);
        for _ in 0..self.core.catching.len() {
            let Some(slot) = self.core.catching.pop_front() else {
                break;
            };
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                continue;
            };
            if std::mem::take(&mut connection.flags.catching) {
                connection.catch_up(slot, &mut self.core);
                self.forget_left();
            }
            if part.is_over() {
                return;
            }
        }
    }

    fn write_some(&mut self) {
        for _ in 0..self.core.due.len().min(limits::WRITES_PER_TURN) {
            let Some(slot) = self.core.due.pop_front() else {
                break;
            };
            self.round = self.round.saturating_sub(1);
            let Some(connection) = self.connections.get_mut(slot as usize) else {
                continue;
            };
            if !std::mem::take(&mut connection.flags.due) {
                continue;
            }
            if connection.write(slot, &mut self.core) == Fate::Gone {
                self.remove(slot);
                self.forget_left();
            }
        }
    }

    fn look_at_deadlines(&mut self) {
        self.core.wheel.advance(self.core.now, &mut self.core.over);
        let mut part = Part::of(limits::DEADLINES_US_PER_TURN, self.core.turn / 16);
        while let Some(entry) = self.core.over.pop_front() {
            let Some(connection) = self.connections.get_mut(entry.slot as usize) else {
                continue;
            };
            if connection.tick(entry, &mut self.core) == Fate::Gone {
                self.remove(entry.slot);
            }
            self.forget_left();
            if part.is_over() {
                return;
            }
        }
    }
}

fn if_interrupted(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
