//! Review of the rights of all clients, because keys or rights have changed (I24).

use instep_model::limits;

use super::{Shard, slot_number};

impl Shard {
    /// Looks at some connections, so that no client waits for all of them.
    pub(super) fn review_some(&mut self) {
        let Some(first) = self.review else {
            return;
        };
        let behind = self.connections.capacity().min(first + limits::REVIEWS_PER_TURN);
        for slot in first..behind {
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.review(slot_number(slot), &mut self.core);
                self.forget_left();
            }
        }
        self.review = (behind < self.connections.capacity()).then_some(behind);
    }
}
