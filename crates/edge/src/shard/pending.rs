//! Answers that a shard waits for itself, without a task of the runtime for each: another thread is
//! at work on them, and tells when they are there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use instep_node::Notifier;

use crate::driver::{Completion, Wait};

/// Answers that a shard waits for.
pub(super) struct PendingReplies {
    waits: FuturesUnordered<Entry>,
    signal: Arc<Signal>,
    waker: Waker,
}

/// An answer, and the connection that wants it.
pub(crate) struct Answered {
    pub(super) slot: u32,
    pub(super) number: u64,
    pub(super) completion: Completion,
}

struct Entry {
    slot: u32,
    number: u64,
    wait: Wait,
}

/// Waker for answers: says that one may be there.
struct Signal {
    raised: AtomicBool,
    notifier: Arc<Notifier>,
}

impl PendingReplies {
    pub(super) fn new(notifier: Arc<Notifier>) -> Self {
        let signal = Arc::new(Signal { raised: AtomicBool::new(false), notifier });
        let waker = Waker::from(Arc::clone(&signal));
        Self { waits: FuturesUnordered::new(), signal, waker }
    }

    /// Waits for one more; it begins with the next look.
    pub(super) fn push(&mut self, slot: u32, number: u64, wait: Wait) {
        self.waits.push(Entry { slot, number, wait });
        self.signal.raised.store(true, Ordering::SeqCst);
    }

    /// True when a look may find something. The notifier is rung once it becomes true.
    pub(super) fn may_have_news(&self) -> bool {
        self.signal.raised.load(Ordering::SeqCst)
    }

    /// Looks for the next answer.
    pub(super) fn next(&mut self) -> Option<Answered> {
        if !self.signal.raised.swap(false, Ordering::SeqCst) {
            return None;
        }
        match self.waits.poll_next_unpin(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Some(answered)) => {
                // There may be more.
                self.signal.raised.store(true, Ordering::SeqCst);
                Some(answered)
            }
            Poll::Ready(None) | Poll::Pending => None,
        }
    }
}

impl Future for Entry {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let (slot, number) = (self.slot, self.number);
        self.wait.as_mut().poll(context).map(|completion| Answered { slot, number, completion })
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            self.notifier.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    fn awaited() -> (PendingReplies, Arc<Notifier>, Arc<AtomicUsize>) {
        let rung = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&rung);
        let notifier = Arc::new(Notifier::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        (PendingReplies::new(Arc::clone(&notifier)), notifier, rung)
    }

    fn wait(answer: oneshot::Receiver<()>) -> Wait {
        Box::pin(async move {
            let _ = answer.await;
            Completion::Answered(None, Ok(b"{}"[..].into()))
        })
    }

    /// Answers that a shard finds before it sleeps.
    fn look(awaited: &mut PendingReplies) -> Vec<(u32, u64)> {
        let mut found = vec![];
        while awaited.may_have_news() {
            found.extend(awaited.next().map(|one| (one.slot, one.number)));
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_shard_that_sleeps_is_woken_once_for_answers_that_come_together() {
        let (mut awaited, notifier, rung) = awaited();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        for (slot, receiver) in receivers.into_iter().enumerate() {
            awaited.push(slot as u32, 7, wait(receiver));
        }
        assert!(awaited.may_have_news(), "they have to begin");
        assert_eq!(look(&mut awaited), []);

        assert!(notifier.falls_asleep());
        for sender in senders {
            sender.send(()).unwrap();
        }

        assert_eq!(rung.load(Ordering::SeqCst), 1);
        assert!(awaited.may_have_news());
        assert_eq!(look(&mut awaited), [(0, 7), (1, 7), (2, 7)]);
    }

    #[test]
    fn an_answer_between_two_looks_is_not_lost() {
        let (mut awaited, notifier, rung) = awaited();
        let (sender, receiver) = oneshot::channel();
        awaited.push(1, 1, wait(receiver));
        assert_eq!(look(&mut awaited), []);

        // The shard is awake, so no wake-up is sent; it looks again before it sleeps.
        sender.send(()).unwrap();
        assert!(notifier.falls_asleep());

        assert!(awaited.may_have_news());
        assert_eq!(rung.load(Ordering::SeqCst), 0);
        assert_eq!(look(&mut awaited), [(1, 1)]);
    }
}
