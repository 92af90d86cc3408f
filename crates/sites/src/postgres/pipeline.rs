//! Pipeline: requests that are sent one behind the other before the first is answered.

use std::future::{Future, poll_fn};
use std::task::Poll;

use futures_util::future::maybe_done;

/// Sends requests in their order, and waits for all answers. A request is sent when it is polled
/// first, so each is polled once before any is waited for: joins poll many in an order of theirs.
pub(super) async fn pipelined<R: Future>(requests: impl Iterator<Item = R>) -> Vec<R::Output> {
    let mut sent: Vec<_> = requests.map(|request| Box::pin(maybe_done(request))).collect();
    poll_fn(|context| {
        for request in &mut sent {
            // It is waited for below.
            let _ = request.as_mut().poll(context);
        }
        Poll::Ready(())
    })
    .await;
    let mut answers = Vec::with_capacity(sent.len());
    for mut request in sent {
        request.as_mut().await;
        answers.extend(request.as_mut().take_output());
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn requests_are_sent_in_their_order_however_many_they_are() {
        let sent = RefCell::new(Vec::new());
        let request = |number: usize| {
            let sent = &sent;
            async move {
                sent.borrow_mut().push(number);
                tokio::task::yield_now().await;
                number
            }
        };

        let answers = pipelined((0..1_000).map(request)).await;

        assert_eq!(*sent.borrow(), (0..1_000).collect::<Vec<_>>());
        assert_eq!(answers, (0..1_000).collect::<Vec<_>>());
    }
}
