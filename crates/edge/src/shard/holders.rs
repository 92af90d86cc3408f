//! Clients who hold unfinished messages while there is no room: they are sent away, and never who
//! goes on.

use std::collections::HashMap;
use std::net::IpAddr;

use instep_model::limits;

use super::{Shard, slot_number};

impl Shard {
    /// Sends away clients that hold unfinished messages for the longest, first of the address that
    /// holds the most, until the others have room again.
    pub(super) fn send_holders_away(&mut self) {
        if !std::mem::take(&mut self.core.is_overfull) {
            return;
        }
        while let Some(slot) = self.holder() {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.end_holding(slot_number(slot), &mut self.core);
            }
            self.forget_left();
        }
    }

    /// Returns the connection to send away next.
    fn holder(&self) -> Option<usize> {
        let is_full = self.core.unfinished > limits::UNFINISHED_BYTES;
        let holding = || {
            self.connections.iter().filter_map(|(slot, connection)| {
                let (bytes, since, address) = connection.holding()?;
                (is_full || connection.is_tight()).then_some((slot, bytes, since, address))
            })
        };
        let mut of: HashMap<Option<IpAddr>, usize> = HashMap::new();
        holding().for_each(|(_, bytes, _, address)| *of.entry(address).or_default() += bytes);
        let (most, _) = of.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        let theirs = holding().filter(|(.., address)| *address == most);
        theirs.min_by_key(|(_, _, since, _)| *since).map(|(slot, ..)| slot)
    }
}
