//! Connections of the Janus wire that take over a session, wherever it lives.

use instep_protocol::janus;
use mio::Token;

use super::connection::Connection;
use super::{Command, LISTENERS, Shard};

impl Shard {
    /// Brings connections that want another session to where that lives.
    pub(super) fn attach_some(&mut self) {
        while let Some((slot, token)) = self.core.attaching.pop() {
            let home = self.core.edge.janus_sessions().find(token);
            let connection = self.connections.get_mut(slot as usize);
            let Some(connection) = connection.filter(|connection| !connection.is_over()) else {
                continue;
            };
            let Some(home) = home else {
                connection.refuse_attach(slot, &mut self.core);
                continue;
            };
            if let Err(error) = connection.stream.deregister(self.poll.registry()) {
                tracing::warn!(%error, "a connection cannot be moved");
                connection.refuse_attach(slot, &mut self.core);
                continue;
            }
            let mut connection = self.connections.remove(slot as usize);
            connection.unweigh(&mut self.core);
            connection.forget_lists();
            if let Some(own) = connection.token() {
                self.core.edge.janus_sessions().leave(own);
            }
            self.core.counters.close(connection.kind());
            if home.shard == self.core.shard {
                self.attach(connection, token)
            } else {
                self.others[home.shard].send(Command::Attach(connection.into(), token))
            }
        }
    }

    /// Gives a session here the socket of a connection that has shown its token.
    pub(super) fn attach(&mut self, mut connection: Connection, token: janus::Token) {
        self.core.counters.open(connection.kind());
        let home = self.core.edge.janus_sessions().find(token);
        let slot = home.filter(|home| home.shard == self.core.shard).map(|home| home.slot);
        if let Some(slot) = slot {
            // Its connection only seems to live.
            if self.connections.get(slot as usize).is_some_and(Connection::has_socket) {
                self.remove(slot);
                self.forget_left();
            }
            if let Some(session) = self.connections.get_mut(slot as usize)
                && session.token() == Some(token)
                && session.is_detached()
            {
                let registry = self.poll.registry();
                match connection.stream.register(registry, Token(slot as usize + LISTENERS)) {
                    Ok(()) => session.attach(slot, connection, &mut self.core),
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be watched");
                        self.core.counters.close(connection.kind());
                    }
                }
                return;
            }
        }
        if let Some(slot) = self.settle(connection)
            && let Some(connection) = self.connections.get_mut(slot as usize)
        {
            connection.refuse_attach(slot, &mut self.core);
            connection.begin(slot, &mut self.core);
            if self.core.drained_by.is_some() {
                connection.drain(slot, &mut self.core);
            }
        }
    }
}
