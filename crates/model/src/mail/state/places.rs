//! Members of the indexes, as small as they can be.

use super::{EndpointNo, Seq, ServerNo, Slot};

/// Numbers of messages below this have an order; a million a second reach it in two thousand years.
const SEQS: u64 = (1 << 56) - 1;

/// A [`Slot`] in 16 bytes instead of 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotKey {
    server: ServerNo,
    endpoint: EndpointNo,
    /// The rank, then the number.
    order: u64,
}

impl SlotKey {
    pub(super) fn new(slot: Slot) -> Self {
        let Slot { server, endpoint, rank, seq } = slot;
        Self { server, endpoint, order: u64::from(rank) << 56 | seq.0.min(SEQS) }
    }

    pub(super) fn slot(self) -> Slot {
        let Self { server, endpoint, order } = self;
        Slot { server, endpoint, rank: (order >> 56) as u8, seq: Seq(order & SEQS) }
    }
}

/// A message of an endpoint or a server, by number, in 12 bytes instead of 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Numbered([u32; 3]);

impl Numbered {
    pub(super) fn new(of: u32, seq: Seq) -> Self {
        Self([of, (seq.0 >> 32) as u32, seq.0 as u32])
    }

    pub(super) fn seq(self) -> Seq {
        let [_, high, low] = self.0;
        Seq(u64::from(high) << 32 | u64::from(low))
    }
}
