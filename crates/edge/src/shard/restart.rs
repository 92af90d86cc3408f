//! A bug has made a shard panic: what of it can still be told, and a shard that begins anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use instep_model::limits;
use instep_protocol::session::CLOSE_RESTART;

use super::Shard;
use super::core::Core;
use super::drain::Drain;
use super::inspect::Inspections;

impl Shard {
    /// Closes every connection, because it is unknown which of them the panic has left half done,
    /// and begins with none. Listeners stay, and so do commands that were not executed: a client
    /// that is on the way in comes in.
    pub(super) fn restart(&mut self) {
        let counters = Arc::clone(&self.core.counters);
        tracing::error!(
            shard = self.core.shard,
            connections = self.connections.len(),
            "a shard has panicked: its connections are closed, and it begins again"
        );
        let old = &self.core;
        let mut core = Core::new(old.shard, Arc::clone(&old.edge), old.handle.clone());
        core.drained_by = old.drained_by;
        let old = std::mem::replace(&mut self.core, core);
        for connection in std::mem::take(&mut self.connections) {
            let (_, connection) = connection;
            if connection.has_socket() {
                counters.close(connection.kind());
            }
            if let Some(token) = connection.token() {
                self.core.edge.janus_sessions().leave(token);
            }
            // What is broken may break again on its way out.
            let left = catch_unwind(AssertUnwindSafe(|| connection.abandon(CLOSE_RESTART)));
            if left.is_err() {
                tracing::error!("a connection has panicked while it was closed");
            }
        }
        if catch_unwind(AssertUnwindSafe(|| drop(old))).is_err() {
            tracing::error!("what a shard knew has panicked while it was dropped");
        }
        counters.unfinished.set(0);
        self.buffer.resize(limits::READ_BYTES, 0);
        self.round = 0;
        self.review = None;
        self.drain = Drain::default();
        self.inspections = Inspections::default();
        // A reader that sees it counted sees the rest, too.
        counters.panics.add(1);
    }
}
