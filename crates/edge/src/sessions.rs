//! Registry of the sessions of the Janus wire, by their tokens.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use instep_protocol::janus::Token;

/// The sessions of all shards.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Token, Home>>);

/// Location of a session, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) shard: usize,
    pub(crate) slot: u32,
    /// The number of the connection in that slot.
    pub(crate) number: u64,
}

impl Sessions {
    pub(crate) fn enter(&self, token: Token, home: Home) {
        self.lock().insert(token, home);
    }

    pub(crate) fn leave(&self, token: Token) {
        self.lock().remove(&token);
    }

    pub(crate) fn find(&self, token: Token) -> Option<Home> {
        self.lock().get(&token).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Token, Home>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
