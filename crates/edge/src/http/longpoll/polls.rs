//! Polls of one session: requests that wait for frames, and frames that are on their way to them.
//!
//! | frames | poll answered | its client takes the answer | its client is gone |
//! | --- | --- | --- | --- |
//! | in the outbox | on their way | – | still in the outbox |
//! | on their way | – | given | back in the outbox, in front |
//!
//! What leaves the outbox is not given before the answer is being written. Of two polls at once
//! the newer one takes back what is on its way to the older one, which is told that there is
//! nothing: no frame is given to both.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::Stream;
use instep_protocol::encode::Frame;

use super::revoked::Revocations;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Frames for a poll.
pub(super) struct HandOver {
    pub(super) frames: Vec<Bytes>,
    given: oneshot::Sender<()>,
    taken_back: Arc<AtomicBool>,
}

/// Channel to a waiting poll, for its frames.
pub(super) type Reply = oneshot::Sender<HandOver>;

/// The polls of one session.
#[derive(Default)]
pub(super) struct Polls {
    waiting: Option<(Reply, Instant)>,
    away: Option<Away>,
}

struct Away {
    frames: Vec<Frame>,
    given: oneshot::Receiver<()>,
    taken_back: Arc<AtomicBool>,
}

impl Away {
    /// The frames, unless they are being written.
    fn take_back(mut self) -> Option<Vec<Frame>> {
        // A poll that finds the channel closed knows why.
        self.taken_back.store(true, Ordering::Release);
        self.given.close();
        self.given.try_recv().is_err().then_some(self.frames)
    }
}

impl HandOver {
    fn of(frames: &[Frame]) -> (Self, oneshot::Receiver<()>) {
        let texts = frames.iter().filter_map(|frame| match frame {
            Frame::Text(text) => Some(text.clone()),
            // There is no form for bytes inside a JSON string.
            Frame::Binary(_) => None,
        });
        let (given, is_given) = oneshot::channel();
        (Self { frames: texts.collect(), given, taken_back: Arc::default() }, is_given)
    }

    /// A body that tells when it is written. One that is dropped before that gave nothing. When
    /// its frames were taken back meanwhile it is `nothing`, with blanks up to the same length.
    pub(super) fn body(self, bytes: Vec<u8>, mut nothing: Vec<u8>) -> Body {
        nothing.resize(bytes.len(), b' ');
        Body::from_stream(Parcel(Some(Written { bytes, nothing, hand_over: self })))
    }
}

struct Parcel(Option<Written>);

struct Written {
    bytes: Vec<u8>,
    nothing: Vec<u8>,
    hand_over: HandOver,
}

impl Stream for Parcel {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(|Written { bytes, nothing, hand_over }| {
            let HandOver { given, taken_back, .. } = hand_over;
            // Of a session that has ended meanwhile it does not matter.
            let is_late = given.send(()).is_err() && taken_back.load(Ordering::Acquire);
            Ok(if is_late { nothing } else { bytes }.into())
        }))
    }
}

impl Polls {
    /// Takes a poll. It replaces the one before it, whose client has given up on that.
    pub(super) fn take(&mut self, reply: Reply, window: Duration, outbox: &mut VecDeque<Frame>) {
        if let Some(frames) = self.away.take().and_then(Away::take_back) {
            put_back(frames, outbox);
        }
        self.time_out();
        self.waiting = Some((reply, Instant::now() + window));
    }

    /// Gives the outbox to the poll that waits for it; at the end, even if there is nothing in it.
    pub(super) fn serve(&mut self, outbox: &mut VecDeque<Frame>, is_end: bool) {
        if self.waiting.as_ref().is_some_and(|(reply, _)| reply.is_closed()) {
            self.waiting = None;
        }
        if self.away.is_some() || (outbox.is_empty() && !is_end) {
            return;
        }
        let Some((reply, _)) = self.waiting.take() else { return };
        let frames: Vec<Frame> = outbox.drain(..).collect();
        let (hand_over, given) = HandOver::of(&frames);
        let taken_back = Arc::clone(&hand_over.taken_back);
        match reply.send(hand_over) {
            Ok(()) => self.away = Some(Away { frames, given, taken_back }),
            Err(_) => put_back(frames, outbox),
        }
    }

    /// Takes out what was queued on topics whose right has ended, should it come back.
    pub(super) fn revoke(&mut self, revoked: &Revocations) {
        if let Some(away) = self.away.as_mut().filter(|_| !revoked.topics.is_empty()) {
            let frames = std::mem::take(&mut away.frames);
            away.frames = revoked.of(frames).collect();
        }
    }

    /// Waits for what becomes of the frames that are on their way; for ever when there are none.
    /// Cancel-safe. Frames that were not given are handed back.
    pub(super) async fn returned(&mut self) -> Vec<Frame> {
        let given = match &mut self.away {
            Some(away) => (&mut away.given).await.is_ok(),
            None => std::future::pending().await,
        };
        let away = self.away.take().filter(|_| !given);
        away.map(|away| away.frames).unwrap_or_default()
    }

    /// True when a poll waits for frames.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.is_some()
    }

    /// Deadline of the poll that waits.
    pub(super) fn window(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(_, until)| *until)
    }

    /// Tells the poll that waits that there is nothing.
    pub(super) fn time_out(&mut self) {
        if let Some((reply, _)) = self.waiting.take() {
            // A poll that was given up misses nothing.
            let _ = reply.send(HandOver::of(&[]).0);
        }
    }
}

/// Puts frames in front of those that have come since.
pub(super) fn put_back(frames: Vec<Frame>, outbox: &mut VecDeque<Frame>) {
    for frame in frames.into_iter().rev() {
        outbox.push_front(frame);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    fn outbox(texts: &[&'static str]) -> VecDeque<Frame> {
        texts.iter().map(|text| Frame::Text(Bytes::from_static(text.as_bytes()))).collect()
    }

    const WINDOW: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_poll_whose_client_is_gone_takes_nothing() {
        let (mut polls, mut waiting) = (Polls::default(), outbox(&["1"]));
        let (reply, gone) = oneshot::channel();
        polls.take(reply, WINDOW, &mut waiting);
        drop(gone);

        polls.serve(&mut waiting, false);

        assert_eq!(waiting, outbox(&["1"]));
        assert!(!polls.is_waited_for());
    }

    #[tokio::test]
    async fn what_was_on_its_way_to_a_client_that_is_gone_comes_back_in_front() {
        let (mut polls, mut waiting) = (Polls::default(), outbox(&["1", "2"]));
        let (reply, told) = oneshot::channel();
        polls.take(reply, WINDOW, &mut waiting);
        polls.serve(&mut waiting, false);
        let told: HandOver = told.await.unwrap();
        assert_eq!((told.frames.len(), waiting.len()), (2, 0));
        waiting.extend(outbox(&["3"]));

        drop(told.body(vec![1], vec![]));
        let returned = polls.returned().await;
        put_back(returned, &mut waiting);

        assert_eq!(waiting, outbox(&["1", "2", "3"]));
    }

    #[tokio::test]
    async fn what_is_written_is_given_once_and_what_is_not_by_the_next_poll_is_given_again() {
        let (mut polls, mut waiting) = (Polls::default(), outbox(&["1"]));
        let (reply, told) = oneshot::channel();
        polls.take(reply, WINDOW, &mut waiting);
        polls.serve(&mut waiting, false);
        let body = told.await.unwrap().body(vec![1], vec![]);
        body.into_data_stream().next().await;
        assert_eq!(polls.returned().await, []);

        waiting.extend(outbox(&["2"]));
        let (reply, told) = oneshot::channel();
        polls.take(reply, WINDOW, &mut waiting);
        polls.serve(&mut waiting, false);
        let _unwritten = told.await.unwrap();
        let (reply, _told) = oneshot::channel();
        polls.take(reply, WINDOW, &mut waiting);

        assert_eq!(waiting, outbox(&["2"]));
    }

    #[tokio::test]
    async fn of_two_polls_at_once_only_one_is_given_the_same_frames() {
        let (mut polls, mut waiting) = (Polls::default(), outbox(&["1"]));
        let (reply, older) = oneshot::channel();
        polls.take(reply, WINDOW, &mut waiting);
        polls.serve(&mut waiting, false);
        let older = older.await.unwrap().body(vec![1, 2, 3], vec![4]);

        let (reply, newer) = oneshot::channel();
        polls.take(reply, WINDOW, &mut waiting);
        polls.serve(&mut waiting, false);

        assert_eq!(newer.await.unwrap().frames, ["1"]);
        let mut written = older.into_data_stream();
        assert_eq!(written.next().await.unwrap().unwrap(), b"\x04  ".as_slice());
    }
}
