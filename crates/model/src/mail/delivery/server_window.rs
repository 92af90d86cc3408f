//! Desk of one server: the messages that it was given, and the endpoint whose turn is next.

use std::collections::BTreeMap;

use crate::limits;
use crate::mail::{EndpointNo, Mail, Message, Seq, ServerNo, Slot, Status};
use crate::registration::Registration;
use crate::window::{Most, Window};

/// Bounds of the window of every server.
const MOST: Most = Most { items: limits::MAIL_CREDIT_MOST, bytes: limits::MAIL_WINDOW_BYTES };

/// Desk of one server: the messages that it was given.
#[derive(Debug)]
pub(super) struct ServerWindow {
    pub(super) registration: Registration,
    pub(super) window: Window<Seq, InFlight>,
    /// The endpoint whose turn was last.
    pub(super) cursor: EndpointNo,
    /// Last place that was given of each endpoint; behind it there may be more.
    pub(super) given: BTreeMap<EndpointNo, Slot>,
    /// Messages of an earlier registration that are asked about, counted by endpoint.
    pub(super) held: BTreeMap<EndpointNo, u32>,
}

impl Default for ServerWindow {
    fn default() -> Self {
        Self {
            registration: Registration::default(),
            window: Window::new(MOST),
            cursor: EndpointNo(0),
            given: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }
}

/// Times for messages that are given now: the end of their leases, and the wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) lease_until: u64,
    pub(super) wall_ms: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) endpoint: EndpointNo,
    pub(super) bytes: u64,
    pub(super) deadline: u64,
    /// Questions so far.
    pub(super) asks: u32,
    pub(super) started: bool,
    /// An earlier registration was given it.
    pub(super) earlier: bool,
}

/// Messages chosen for a server in one go.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Its pending messages, given and not: behind so many nothing has to be looked for.
    pub(super) pending: u64,
    /// Messages to give.
    pub(super) given: Vec<Seq>,
    /// Messages to ask about: they may be done.
    pub(super) doubted: Vec<Seq>,
    /// Messages that were looked at for it.
    pub(super) looked_at: u64,
    /// Endpoints that had their turn.
    pub(super) turns: u64,
}

impl Taken {
    /// True when so much was looked at that other servers have their turn first.
    pub(super) fn is_enough(&self) -> bool {
        self.looked_at + self.turns >= limits::MAIL_LOOKED_AT_ONCE
    }
}

impl InFlight {
    pub(super) fn new(message: &Message, deadline: u64) -> Self {
        let bytes = u64::from(message.body_bytes);
        let endpoint = message.endpoint;
        Self { endpoint, bytes, deadline, asks: 0, started: false, earlier: false }
    }
}

impl ServerWindow {
    /// True when it may be given more, and there may be more.
    pub(super) fn wants(&self, taken: &Taken) -> bool {
        self.window.has_room() && (self.window.len() as u64) < taken.pending && !taken.is_enough()
    }

    /// Places among messages that have ended are forgotten; the search begins at the front then.
    pub(super) fn remember_little(&mut self) {
        if self.given.len() > self.window.len() + 2 * limits::MAIL_CREDIT_MOST {
            self.given.clear();
        }
    }

    /// True when the messages that it is given are read.
    pub(super) fn is_there(&self) -> bool {
        self.registration.holder().is_some() && self.window.is_open()
    }

    /// Gives every endpoint a turn, from the one behind the last on; false if none took it.
    pub(super) fn take_round(
        &mut self,
        server: ServerNo,
        mail: &Mail,
        at: Moment,
        doubt: &BTreeMap<Seq, ServerNo>,
        taken: &mut Taken,
    ) -> bool {
        let start = self.cursor;
        let (mut endpoint, mut wrapped, mut any) = (start, false, false);
        while self.wants(taken) {
            match mail.next_ready(Slot { server, endpoint, rank: 0, seq: Seq::ZERO }) {
                Some(first) if !wrapped || first.endpoint < start => {
                    taken.turns += 1;
                    any |= self.take_turn(first, mail, at, doubt, taken);
                    endpoint = first.endpoint.next();
                    self.cursor = endpoint;
                }
                // Behind the last endpoint comes the first one.
                _ if !wrapped && start > EndpointNo(0) => {
                    (wrapped, endpoint) = (true, EndpointNo(0))
                }
                _ => break,
            }
        }
        any
    }

    /// Takes the next messages of the endpoint of `first`; false if there is none.
    fn take_turn(
        &mut self,
        first: Slot,
        mail: &Mail,
        at: Moment,
        doubt: &BTreeMap<Seq, ServerNo>,
        taken: &mut Taken,
    ) -> bool {
        let Slot { server, endpoint, .. } = first;
        let behind = |slot: &Slot| Slot { seq: slot.seq.next(), ..*slot };
        let mut next = self.given.get(&endpoint).map_or(first, behind);
        let mut count = 0;
        // While it is asked about one, no later one of the endpoint is given.
        while count < limits::MAIL_TURN && self.wants(taken) && !self.held.contains_key(&endpoint) {
            let Some(slot) = mail.next_ready(next).filter(|slot| slot.endpoint == endpoint) else {
                break;
            };
            next = behind(&slot);
            taken.looked_at += 1;
            debug_assert_eq!(slot.server, server, "a range of one server");
            let message = mail.message(slot.seq).filter(|m| m.status == Status::Pending);
            let (Some(message), false) = (message, self.window.contains(slot.seq)) else {
                continue;
            };
            // It has expired, though the sweep has not found it yet.
            if mail.has_expired(slot.seq, &message, at.wall_ms) {
                self.given.insert(endpoint, slot);
                continue;
            }
            let mut flight = InFlight::new(&message, at.lease_until);
            if doubt.get(&slot.seq) == Some(&server) {
                flight.earlier = true;
                *self.held.entry(endpoint).or_default() += 1;
                taken.doubted.push(slot.seq);
                self.window.hold(slot.seq, flight.bytes, flight);
            } else {
                taken.given.push(slot.seq);
                self.window.give(slot.seq, flight.bytes, flight);
            }
            self.given.insert(endpoint, slot);
            count += 1;
        }
        count > 0
    }
}
