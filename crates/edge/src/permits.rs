//! Permits and weights: how many connections and sockets there are, and how much the server keeps
//! for them, of all clients together and of each address.
//!
//! | what | of one address | in all |
//! | --- | --- | --- |
//! | connections of every door | `sockets_per_address` | `sockets` and a few |
//! | sockets, sessions without one, readers | `sockets_per_address` | `sockets` |
//! | extra connections, for refusals and operators | half | half of the reserve, 128 at most |
//! | registrations for mail | `sockets_per_address` | `sockets` |
//! | pulls that wait for mail | half of `sockets_per_address` | half of `sockets` |
//! | presences on topics | eight for each of `sockets_per_address` | eight for each of `sockets` |
//! | bytes that wait, or are not complete | `waiting_bytes_per_address` | `waiting_bytes` |

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use instep_model::limits;
use instep_node::mail::MailError;
use tokio::sync::Notify;

use crate::descriptors::reserve;
use crate::options::DoorOptions;

/// Kind of a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PermitKind {
    /// A connection, whatever is spoken on it.
    Connection,
    /// A socket, a session without one, or a reader of events.
    Socket,
    /// A session that waits for another connection.
    Detached,
    /// A connection for which there is no other place: an operator's, or one that is told so.
    Extra,
    /// Registration for the mail of a server, over any door.
    Registration,
    /// A pull over HTTP that waits for mail.
    Pull,
    /// Presence on a topic.
    Presence,
    /// Bytes only.
    Weight,
}

const KINDS: usize = 8;

/// Limit that is reached: there is no permit for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPermit {
    /// Limit of the server.
    Server,
    /// Limit of the client's address.
    Address,
}

/// Account of one address, or of all: permits and bytes in use.
#[derive(Debug, Default)]
struct Account {
    counts: [AtomicUsize; KINDS],
    bytes: AtomicUsize,
}

/// Accounts of all addresses, and their limits.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    bounds: Bounds,
    all: Account,
    of: Mutex<HashMap<IpAddr, Arc<Account>>>,
    /// Notified when the last socket has gone.
    pub(crate) empty: Notify,
}

/// Limits set by an operator; for an address 0 is no limit.
#[derive(Debug, Default)]
struct Bounds {
    sockets: usize,
    sockets_per_address: usize,
    waiting_bytes: usize,
    waiting_bytes_per_address: usize,
}

/// Permit for one connection or socket, until it is dropped, with the weight of what the server
/// keeps for it.
pub(crate) struct Permit {
    permits: Arc<Permits>,
    kind: PermitKind,
    /// Account of its address, where it counts besides in all.
    of: Option<(IpAddr, Arc<Account>)>,
    bytes: usize,
}

impl From<NoPermit> for MailError {
    fn from(full: NoPermit) -> Self {
        match full {
            NoPermit::Server => Self::Full,
            NoPermit::Address => Self::Crowded,
        }
    }
}

impl Bounds {
    /// Limits in all, and of one address.
    fn most(&self, kind: PermitKind) -> (usize, usize) {
        let of_address = |most: usize| match self.sockets_per_address {
            0 => usize::MAX,
            _ => most.max(1),
        };
        let (all, address) = (self.sockets, self.sockets_per_address);
        match kind {
            PermitKind::Connection => (all + limits::REQUESTS_BESIDE, of_address(address)),
            PermitKind::Socket | PermitKind::Detached | PermitKind::Registration => {
                (all, of_address(address))
            }
            PermitKind::Pull => {
                let part = limits::PULLS_PART;
                ((all / part).max(1), of_address(address / part))
            }
            PermitKind::Presence => {
                let each = limits::PRESENCES_PER_SOCKET;
                (all.saturating_mul(each), of_address(address.saturating_mul(each)))
            }
            PermitKind::Extra => {
                // The rest of the reserve is for files.
                let most = limits::EXTRA_CONNECTIONS.min(reserve() / 2).max(1);
                (most, (most / limits::EXTRA_OF_ADDRESS_PART).max(1))
            }
            PermitKind::Weight => (usize::MAX, usize::MAX),
        }
    }
}

impl Permits {
    pub(crate) fn new(options: &DoorOptions) -> Self {
        let bounds = Bounds {
            sockets: options.sockets,
            sockets_per_address: options.sockets_per_address,
            waiting_bytes: options.waiting_bytes,
            waiting_bytes_per_address: options.waiting_bytes_per_address,
        };
        Self { bounds, ..Self::default() }
    }

    /// A permit for a client of an address, if that is counted, and if there is one.
    pub(crate) fn take(
        self: &Arc<Self>,
        kind: PermitKind,
        counted: Option<IpAddr>,
    ) -> Result<Permit, NoPermit> {
        let (most, most_of_address) = self.bounds.most(kind);
        if !self.all.enter(kind, most) {
            return Err(NoPermit::Server);
        }
        let of = counted.map(|address| (address, self.account(address)));
        if let Some((address, account)) = &of
            && !account.enter(kind, most_of_address)
        {
            self.all.leave(kind);
            self.forget_unused(*address, account);
            return Err(NoPermit::Address);
        }
        Ok(Permit { permits: Arc::clone(self), kind, of, bytes: 0 })
    }

    pub(crate) fn count(&self, kind: PermitKind) -> usize {
        self.all.counts[kind as usize].load(Ordering::SeqCst)
    }

    /// Bytes that wait, or are not complete.
    pub(crate) fn bytes(&self) -> usize {
        self.all.bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Account>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, address: IpAddr) -> Arc<Account> {
        Arc::clone(self.lock().entry(address).or_default())
    }

    /// Forgets an address of which nothing is left but what the caller holds.
    fn forget_unused(&self, address: IpAddr, account: &Arc<Account>) {
        let mut of = self.lock();
        // The map has one, and the caller the other.
        if Arc::strong_count(account) <= 2 {
            of.remove(&address);
        }
    }
}

impl Account {
    fn enter(&self, kind: PermitKind, most: usize) -> bool {
        let take = |now| (now < most).then_some(now + 1);
        let count = &self.counts[kind as usize];
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    fn leave(&self, kind: PermitKind) -> usize {
        self.counts[kind as usize].fetch_sub(1, Ordering::SeqCst) - 1
    }
}

impl Permit {
    /// Sets the bytes that the server keeps for it now.
    pub(crate) fn weigh(&mut self, bytes: usize) {
        let own = self.of.as_ref().map(|(_, account)| &**account);
        for account in [Some(&self.permits.all), own].into_iter().flatten() {
            match bytes.checked_sub(self.bytes) {
                Some(more) => account.bytes.fetch_add(more, Ordering::Relaxed),
                None => account.bytes.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
            };
        }
        self.bytes = bytes;
    }

    /// Bytes that the server keeps for it, as was said.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True while more is kept than may be, for its address or for all clients.
    pub(crate) fn is_tight(&self) -> bool {
        let bounds = &self.permits.bounds;
        let of_address = self.of.as_ref().is_some_and(|(_, account)| {
            let most = bounds.waiting_bytes_per_address;
            most > 0 && account.bytes.load(Ordering::Relaxed) > most
        });
        of_address || self.permits.bytes() > bounds.waiting_bytes
    }

    /// Address that it counts for.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.of.as_ref().map(|(address, _)| *address)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.weigh(0);
        if let Some((address, account)) = self.of.take() {
            account.leave(self.kind);
            self.permits.forget_unused(address, &account);
        }
        let left = self.permits.all.leave(self.kind);
        if self.kind == PermitKind::Socket && left == 0 {
            self.permits.empty.notify_waiters();
        }
    }
}
