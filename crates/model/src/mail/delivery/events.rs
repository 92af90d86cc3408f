//! Events and effects of the delivery.

use crate::limits;
use crate::mail::{MailChange, RegistrationId, Seq};

/// Event of the delivery: its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Registration for a server.
    Registered {
        /// The registration.
        registration: RegistrationId,
        /// Messages that it may have unconfirmed.
        credit: usize,
        /// The messages that it has, if it says so: it need not be asked.
        have: Option<Vec<Seq>>,
    },
    /// A registration is gone.
    Left {
        /// The registration.
        registration: RegistrationId,
    },
    /// A registration may have so many messages unconfirmed.
    Credit {
        /// The registration.
        registration: RegistrationId,
        /// Messages.
        credit: usize,
    },
    /// A registration begins with messages.
    Started {
        /// The registration.
        registration: RegistrationId,
        /// The messages.
        seqs: Vec<Seq>,
    },
    /// A registration has not got these messages.
    HasNot {
        /// The registration.
        registration: RegistrationId,
        /// The messages.
        seqs: Vec<Seq>,
    },
    /// A registration that pulls is back, and was not replaced meanwhile.
    Resumed {
        /// The registration.
        registration: RegistrationId,
    },
    /// A pull has begun.
    PullBegan {
        /// The registration.
        registration: RegistrationId,
        /// Messages that it takes.
        most: usize,
    },
    /// A pull has ended, and with it what it was still allowed to be given.
    PullEnded {
        /// The registration.
        registration: RegistrationId,
        /// Messages that it did not take.
        unused: usize,
        /// Messages that it took, and that did not reach the server.
        back: Vec<Seq>,
    },
    /// Messages have changed.
    Changed(Vec<MailChange>),
    /// Time has passed.
    Tick,
}

/// Effect of the delivery: an action for its shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Give messages to a server, until their leases end.
    Give {
        /// The registration.
        registration: RegistrationId,
        /// The messages.
        seqs: Vec<Seq>,
        /// End of their leases.
        lease_until: u64,
    },
    /// Ask a server which of these it has.
    Ask {
        /// The registration.
        registration: RegistrationId,
        /// The messages.
        seqs: Vec<Seq>,
    },
    /// Tell a registration that another one has taken over, or that its server is forgotten:
    /// nothing follows.
    Replaced {
        /// The registration.
        registration: RegistrationId,
    },
    /// Tell a server that messages are not its own any more.
    Gone {
        /// The registration.
        registration: RegistrationId,
        /// The messages.
        seqs: Vec<Seq>,
    },
    /// Count a failure of messages that their server had begun with.
    WorkerDied {
        /// The registration.
        registration: RegistrationId,
        /// The messages.
        seqs: Vec<Seq>,
    },
}

/// Timeouts of the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Lease: time for which a server may work on a message before it is asked.
    pub lease_ms: u64,
    /// Timeout of the first question to it; each further one is longer.
    pub ask_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { lease_ms: limits::MAIL_LEASE_MS, ask_ms: limits::MAIL_ASK_MS }
    }
}

/// Time of an event, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock, for leases and questions.
    pub steady_ms: u64,
    /// Wall clock, for the times that messages carry.
    pub wall_ms: u64,
}

/// Time of both clocks, while they are not set.
impl From<u64> for Now {
    fn from(ms: u64) -> Self {
        Self { steady_ms: ms, wall_ms: ms }
    }
}

/// Counters of the delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages given.
    pub given: u64,
    /// Messages looked at to find those: what giving costs.
    pub looked_at: u64,
    /// Messages asked about.
    pub asked: u64,
    /// Servers that are registered now.
    pub registered: u64,
    /// Messages that are given and not confirmed now.
    pub unconfirmed: u64,
}
