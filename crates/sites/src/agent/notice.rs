//! Notices: the progress of an agent, for its operator.

use instep_model::position::Position;
use serde::Serialize;

/// Progress of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// The site is registered and follows the log.
    Registered {
        /// Generation of the registration.
        generation: u64,
        /// Everything up to here is applied.
        position: Position,
    },
    /// A dump arrives.
    Restoring {
        /// Its id.
        dump: String,
        /// Bytes so far.
        bytes: u64,
    },
    /// A dump is restored.
    Restored {
        /// The content is the state at this position.
        position: Position,
        /// Bytes of the dump.
        bytes: u64,
    },
    /// Commits were applied, and acknowledged.
    Applied {
        /// Everything up to here is applied.
        position: Position,
        /// Commits since the registration.
        commits: u64,
        /// Records since the registration.
        records: u64,
        /// Rows that were not as the log says, since the registration.
        drift: u64,
        /// Records that were left out by the word of an operator, since the registration.
        skipped: u64,
    },
    /// The store was set to a position that an operator has named.
    Sought {
        /// The position.
        position: Position,
    },
    /// Something failed in passing, and is tried again.
    Waiting {
        /// The failure.
        reason: String,
    },
    /// The store refuses a record, and is asked again every 10 seconds.
    Refused {
        /// Position of its commit; none: in a dump.
        position: Option<Position>,
        /// Index of the record in the commit, from 0; none: the commit is refused as a whole.
        record: Option<u32>,
        /// The store's text.
        reason: String,
    },
    /// The store takes commits again.
    Healed,
    /// Only a dump heals the site, and one is taken.
    DumpRequired {
        /// Reason, as the server says.
        reason: String,
    },
    /// A dump for another site begins.
    Giving {
        /// Its id.
        dump: String,
    },
    /// A dump for another site is given.
    Given {
        /// Its id.
        dump: String,
        /// Bytes of the dump.
        bytes: u64,
    },
    /// A dump for another site failed.
    NotGiven {
        /// Its id.
        dump: String,
        /// The failure.
        reason: String,
    },
    /// The agent has ended in order.
    Stopped {
        /// Everything up to here is applied.
        position: Position,
    },
}
