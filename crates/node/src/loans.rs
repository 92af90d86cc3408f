//! Loans of serving threads: a thread may do an owner's work, and wait for the disk in it, only
//! while it serves no other connection, and while another thread serves newcomers.
//!
//! | a thread is | newcomers | becomes |
//! | --- | --- | --- |
//! | serving | are announced to it | lent, if none waits for it and another one serves |
//! | lent | go to the next one | serving, when the loan is dropped |
//!
//! A thread and the acceptors that announce newcomers each write first and look at the other's word
//! then, so that one of them gives way.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::{Handle, RuntimeFlavor};

/// The task that asks, if it is one.
const ITSELF: usize = 1;

thread_local! {
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// The serving threads of a process, by number.
#[derive(Debug)]
pub struct Loans {
    threads: Box<[Thread]>,
    lent: AtomicUsize,
}

#[derive(Debug, Default)]
struct Thread {
    lent: AtomicBool,
    /// Newcomers that it was promised and has not taken.
    awaited: AtomicUsize,
}

#[derive(Clone)]
struct Seat {
    loans: Arc<Loans>,
    number: usize,
}

/// A thread that is lent until this is dropped.
pub(crate) struct Loan(Option<Seat>);

impl Loans {
    /// Loans among so many threads that serve.
    #[must_use]
    pub fn new(threads: usize) -> Arc<Self> {
        let threads = std::iter::repeat_with(Thread::default).take(threads).collect();
        Arc::new(Self { threads, lent: AtomicUsize::new(0) })
    }

    /// Makes the calling thread the one with this number.
    pub fn sit_down(self: &Arc<Self>, number: usize) {
        let seat = Seat { loans: Arc::clone(self), number };
        SEAT.with_borrow_mut(|own| *own = Some(seat));
    }

    /// Promises a newcomer to a thread; false when it is lent, and the next one has to be asked.
    /// One of several always takes it.
    #[must_use]
    pub fn announce(&self, number: usize) -> bool {
        let thread = &self.threads[number];
        thread.awaited.fetch_add(1, Ordering::SeqCst);
        if thread.lent.load(Ordering::SeqCst) {
            thread.awaited.fetch_sub(1, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Notes that a promised newcomer is a task of its thread now.
    pub fn arrived(&self, number: usize) {
        self.threads[number].awaited.fetch_sub(1, Ordering::SeqCst);
    }

    fn lend(&self, number: usize) -> bool {
        let another = self.threads.len().saturating_sub(1);
        let add = |lent: usize| (lent < another).then_some(lent + 1);
        if self.lent.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_err() {
            return false;
        }
        let thread = &self.threads[number];
        thread.lent.store(true, Ordering::SeqCst);
        if thread.awaited.load(Ordering::SeqCst) > 0 {
            self.give_back(number);
            return false;
        }
        true
    }

    fn give_back(&self, number: usize) {
        self.threads[number].lent.store(false, Ordering::SeqCst);
        self.lent.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Loan {
    /// Lends the calling thread if no other connection needs it: the runtime of the thread is its
    /// own and has no task but the one that asks.
    pub(crate) fn of_this_thread() -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        let is_own = runtime.runtime_flavor() == RuntimeFlavor::CurrentThread;
        if !is_own || runtime.metrics().num_alive_tasks() > ITSELF {
            return None;
        }
        SEAT.with_borrow(|seat| match seat {
            // A thread of an embedding program, which is promised to no connection.
            None => Some(Self(None)),
            Some(Seat { loans, number }) => loans
                .lend(*number)
                .then(|| Self(Some(Seat { loans: Arc::clone(loans), number: *number }))),
        })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(Seat { loans, number }) = &self.0 {
            loans.give_back(*number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_of_all_is_never_lent() {
        let loans = Loans::new(3);

        assert!(loans.lend(0) && loans.lend(1));
        assert!(!loans.lend(2), "one thread has to serve");

        loans.give_back(0);
        assert!(loans.lend(2));
    }

    #[test]
    fn newcomers_go_to_a_thread_that_serves_and_it_is_not_lent_before_they_are_its_tasks() {
        let loans = Loans::new(2);
        assert!(loans.lend(0));

        assert!(!loans.announce(0));
        assert!(loans.announce(1));
        loans.give_back(0);
        assert!(!loans.lend(1), "a newcomer is on its way to it");

        loans.arrived(1);
        assert!(loans.lend(1));
    }

    #[test]
    fn a_thread_is_lent_only_by_its_only_task() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let loans = Loans::new(2);
        loans.sit_down(0);
        let lends = || Loan::of_this_thread().is_some();

        assert!(!lends(), "there is no runtime here");
        runtime.block_on(async {
            assert!(lends(), "the runtime's own future is alone");
            tokio::spawn(async move { assert!(lends()) }).await.unwrap();
            let idle = tokio::spawn(std::future::pending::<()>());
            tokio::spawn(async move { assert!(!lends(), "another task would wait") })
                .await
                .unwrap();
            idle.abort();
        });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_worker_of_a_shared_runtime_is_not_lent() {
        tokio::spawn(async { assert!(Loan::of_this_thread().is_none()) }).await.unwrap();
    }

    #[test]
    fn a_newcomer_is_never_promised_to_a_thread_that_is_lent_meanwhile() {
        const ROUNDS: usize = 20_000;
        let loans = Loans::new(2);
        let promised = AtomicUsize::new(0);

        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    if loans.announce(0) {
                        promised.store(1, Ordering::SeqCst);
                        std::hint::spin_loop();
                        promised.store(0, Ordering::SeqCst);
                        loans.arrived(0);
                    }
                }
            });
            for _ in 0..ROUNDS {
                if loans.lend(0) {
                    assert_eq!(promised.load(Ordering::SeqCst), 0, "lent with a newcomer");
                    loans.give_back(0);
                }
            }
        });
    }
}
