//! Places and weights: how many connections and sockets there are, and how much the server keeps
//! for them, of everybody together and of each address.
//!
//! | what | of one address | in all |
//! | --- | --- | --- |
//! | connections of every door | `sockets_per_address` | `sockets` and a few |
//! | sockets, sessions without one, readers | `sockets_per_address` | `sockets` |
//! | extra connections, to say why or to let operators in | half | half of the reserve |
//! | bytes that wait, or are not complete | `waiting_bytes_per_address` | `waiting_bytes` |

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use instep_model::limits;

use crate::house::House;
use crate::listen::reserve;
use crate::rates;

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A connection, whatever is spoken on it.
    Connection,
    /// A socket, a session without one, or a reader of events.
    Socket,
    /// A session that waits for another connection.
    Detached,
    /// A connection for which there is no other place: an operator's, or one that is told so.
    Extra,
    /// Bytes only.
    Weight,
}

const SORTS: usize = 5;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// For nobody.
    House,
    /// For nobody else from that address.
    Address,
}

/// What one address has.
#[derive(Debug, Default)]
struct Account {
    counts: [AtomicUsize; SORTS],
    bytes: AtomicUsize,
}

/// What everybody has.
#[derive(Debug, Default)]
pub(crate) struct Places {
    all: Account,
    of: Mutex<HashMap<IpAddr, Arc<Account>>>,
}

/// The right to one connection or socket, until it is dropped, with the weight of what the server
/// keeps for it.
pub(crate) struct Place {
    house: Arc<House>,
    sort: Sort,
    /// Where it counts, besides in all.
    of: Option<(IpAddr, Arc<Account>)>,
    bytes: usize,
}

impl Places {
    pub(crate) fn count(&self, sort: Sort) -> usize {
        self.all.counts[sort as usize].load(Ordering::SeqCst)
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
    fn enter(&self, sort: Sort, most: usize) -> bool {
        let take = |now| (now < most).then_some(now + 1);
        let count = &self.counts[sort as usize];
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    fn leave(&self, sort: Sort) -> usize {
        self.counts[sort as usize].fetch_sub(1, Ordering::SeqCst) - 1
    }
}

impl House {
    /// A place, if there is one.
    pub(crate) fn take_place(
        self: &Arc<Self>,
        sort: Sort,
        from: Option<IpAddr>,
    ) -> Result<Place, Full> {
        let options = self.options();
        let (most, most_of_address) = match sort {
            Sort::Connection => {
                (options.sockets + limits::REQUESTS_BESIDE, options.sockets_per_address)
            }
            Sort::Socket | Sort::Detached => (options.sockets, options.sockets_per_address),
            Sort::Extra => {
                // The rest of the reserve is for files.
                let most = limits::EXTRA_CONNECTIONS.min(reserve() / 2).max(1);
                (most, (most / limits::EXTRA_OF_ADDRESS_PART).max(1))
            }
            Sort::Weight => (usize::MAX, 0),
        };
        if !self.places.all.enter(sort, most) {
            return Err(Full::House);
        }
        let counted = from.filter(|from| self.counts(*from)).map(rates::one_of);
        let of = counted.map(|address| (address, self.places.account(address)));
        if let Some((address, account)) = &of
            && !account.enter(sort, if most_of_address == 0 { usize::MAX } else { most_of_address })
        {
            self.places.all.leave(sort);
            self.places.forget_unused(*address, account);
            return Err(Full::Address);
        }
        Ok(Place { house: Arc::clone(self), sort, of, bytes: 0 })
    }
}

impl Place {
    /// Says how many bytes the server keeps for it now.
    pub(crate) fn weigh(&mut self, bytes: usize) {
        let own = self.of.as_ref().map(|(_, account)| &**account);
        for account in [Some(&self.house.places.all), own].into_iter().flatten() {
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

    /// True while more is kept than may be, for its address or for everybody.
    pub(crate) fn is_tight(&self) -> bool {
        let options = self.house.options();
        let of_address = self.of.as_ref().is_some_and(|(_, account)| {
            let most = options.waiting_bytes_per_address;
            most > 0 && account.bytes.load(Ordering::Relaxed) > most
        });
        of_address || self.house.places.bytes() > options.waiting_bytes
    }

    /// The address that it counts for, and whether that has more than it may.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.of.as_ref().map(|(address, _)| *address)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.weigh(0);
        if let Some((address, account)) = self.of.take() {
            account.leave(self.sort);
            self.house.places.forget_unused(address, &account);
        }
        let left = self.house.places.all.leave(self.sort);
        if self.sort == Sort::Socket && left == 0 {
            self.house.empty.notify_waiters();
        }
    }
}
