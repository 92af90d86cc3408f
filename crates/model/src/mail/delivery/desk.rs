//! What one server has been given, and whose turn is next.

use std::collections::BTreeMap;

use crate::limits;
use crate::mail::{Mail, Slot, Status};

/// What one server has been given.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) generation: u64,
    pub(super) registered: bool,
    pub(super) credit: usize,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) bytes: u64,
    /// The endpoint whose turn was last.
    pub(super) cursor: u32,
    /// By endpoint: the last place that was given, behind which there may be more.
    pub(super) given: BTreeMap<u32, Slot>,
    /// By endpoint: messages of an earlier registration that are asked about.
    pub(super) held: BTreeMap<u32, u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) endpoint: u32,
    pub(super) bytes: u64,
    pub(super) deadline: u64,
    /// Questions so far.
    pub(super) asks: u32,
    pub(super) started: bool,
    /// An earlier registration was given it.
    pub(super) earlier: bool,
}

impl Desk {
    pub(super) fn has_room(&self) -> bool {
        self.flights.len() < self.credit
            && (self.bytes < limits::MAIL_WINDOW_BYTES || self.flights.is_empty())
    }

    /// Gives every endpoint a turn, from the one behind the last on; how many messages that are.
    pub(super) fn take_round(
        &mut self,
        server: u32,
        mail: &Mail,
        lease_ms: u64,
        seqs: &mut Vec<u64>,
    ) -> usize {
        let start = self.cursor;
        let (mut endpoint, mut wrapped, mut taken) = (start, false, 0);
        while self.has_room() {
            match mail.next_ready(Slot { server, endpoint, rank: 0, seq: 0 }) {
                Some(first) if !wrapped || first.endpoint < start => {
                    taken += self.take_turn(first, mail, lease_ms, seqs);
                    endpoint = first.endpoint.saturating_add(1);
                    self.cursor = endpoint;
                }
                // Behind the last endpoint comes the first one.
                _ if !wrapped && start > 0 => (wrapped, endpoint) = (true, 0),
                _ => break,
            }
        }
        taken
    }

    /// Takes the next messages of the endpoint of `first`; how many.
    fn take_turn(&mut self, first: Slot, mail: &Mail, lease_ms: u64, seqs: &mut Vec<u64>) -> usize {
        let Slot { server, endpoint, .. } = first;
        if self.held.contains_key(&endpoint) {
            return 0;
        }
        let behind = |slot: &Slot| Slot { seq: slot.seq.saturating_add(1), ..*slot };
        let mut at = self.given.get(&endpoint).map_or(first, behind);
        let mut taken = 0;
        while taken < limits::MAIL_TURN && self.has_room() {
            let Some(slot) = mail.next_ready(at).filter(|slot| slot.endpoint == endpoint) else {
                break;
            };
            at = behind(&slot);
            debug_assert_eq!(slot.server, server, "a range of one server");
            let message = mail.message(slot.seq).filter(|m| m.status == Status::Pending);
            let (Some(message), false) = (message, self.flights.contains_key(&slot.seq)) else {
                continue;
            };
            let bytes = u64::from(message.body_bytes);
            let flight = Flight {
                endpoint,
                bytes,
                deadline: lease_ms,
                asks: 0,
                started: false,
                earlier: false,
            };
            self.bytes += bytes;
            self.flights.insert(slot.seq, flight);
            self.given.insert(endpoint, slot);
            seqs.push(slot.seq);
            taken += 1;
        }
        taken
    }
}
