//! Bodies of requests: how fast they have to come, and how much of them there may be.

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use instep_model::limits;
use tokio::time::{Instant, Sleep, sleep_until};

use super::requests::Asked;
use crate::http::line::Burden;
use crate::http::refusal::RequestRefusal;

/// Arrival of a body, and its weight until the request is answered.
#[derive(Default)]
pub(super) struct Arriving {
    failed: AtomicU8,
    burden: Mutex<Option<Burden>>,
}

/// Reason to stop reading a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("it comes too slowly")]
    Slow = 1,
    #[error("too much of others has come and is not answered")]
    Overloaded,
    #[error("it comes in too many pieces")]
    Crumbs,
    #[error("it ends too early, or its chunks do not read")]
    Malformed,
}

impl Arriving {
    /// Refusal to answer with, if the body was not read to its end.
    pub(super) fn refusal(&self) -> Option<RequestRefusal> {
        let (slow, overloaded, crumbs) =
            (Failure::Slow as u8, Failure::Overloaded as u8, Failure::Crumbs as u8);
        let malformed = Failure::Malformed as u8;
        match self.failed.load(Ordering::Relaxed) {
            code if code == slow => Some(RequestRefusal::SlowBody),
            code if code == overloaded => Some(RequestRefusal::BodyOverload),
            code if code == crumbs => Some(RequestRefusal::CrumbledBody),
            code if code == malformed => Some(RequestRefusal::MalformedBody),
            _ => None,
        }
    }
}

/// A body that is watched while it comes.
pub(super) struct Metered {
    body: Incoming,
    asked: Arc<Asked>,
    from: IpAddr,
    arriving: Arc<Arriving>,
    began: Instant,
    received: usize,
    pieces: u32,
    /// Ends when nothing has come for too long; none while something is there.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    pub(super) fn new(
        body: Incoming,
        asked: Arc<Asked>,
        from: IpAddr,
        arriving: &Arc<Arriving>,
    ) -> Self {
        let arriving = Arc::clone(arriving);
        let (began, received, pieces) = (Instant::now(), 0, 0);
        Self { body, asked, from, arriving, began, received, pieces, silence: None }
    }

    /// Takes a piece in.
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        self.received += bytes;
        self.pieces += 1;
        // The whole of a small body is one such piece.
        if bytes < limits::TRICKLE_BYTES && self.pieces > 1 && !self.asked.count_crumb() {
            return Err(Failure::Crumbs);
        }
        if self.received <= limits::BODY_SPARED_BYTES {
            return Ok(());
        }
        let mut burden = self.arriving.burden.lock().unwrap_or_else(PoisonError::into_inner);
        if burden.is_none() {
            *burden = self.asked.http().burden(self.from);
        }
        if burden.as_mut().is_none_or(|burden| burden.weigh(self.received)) {
            Ok(())
        } else {
            Err(Failure::Overloaded)
        }
    }

    /// Deadline of the next bytes: soon, and in the long run at a minimum rate.
    fn deadline(&self) -> Instant {
        let patience = self.asked.http().edge().handshake();
        let takes = self.received as u64 * 1_000 / limits::BODY_BYTES_PER_S;
        let whole = self.began + patience + Duration::from_millis(takes);
        whole.min(Instant::now() + patience)
    }

    fn fail(&self, failure: Failure) -> Option<Result<Frame<Bytes>, Box<dyn Error + Send + Sync>>> {
        self.arriving.failed.store(failure as u8, Ordering::Relaxed);
        Some(Err(failure.into()))
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let metered = self.get_mut();
        match Pin::new(&mut metered.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                metered.silence = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(match metered.take(bytes) {
                    Ok(()) => Some(Ok(frame)),
                    Err(failure) => metered.fail(failure),
                })
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(metered.fail(Failure::Malformed)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let deadline = metered.deadline();
                let silence =
                    metered.silence.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                ready!(silence.as_mut().poll(cx));
                Poll::Ready(metered.fail(Failure::Slow))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
