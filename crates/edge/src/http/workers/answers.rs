//! Weight of answers: what a client does not take counts for its address until it is written.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use instep_model::limits;

use super::HttpWorker;
use crate::http::line::Burden;
use crate::http::refusal::RequestRefusal;
use crate::http::request_id::RequestId;

/// Weighs an answer that is made as a whole; a refusal when too much waits for its address already,
/// or for all clients. Streams are made piece by piece, and weigh little.
pub(super) fn weighed(
    answer: Response,
    worker: &HttpWorker,
    (from, id): (IpAddr, &RequestId),
) -> Response {
    let bytes = answer.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes > limits::BODY_SPARED_BYTES) else {
        return answer;
    };
    let Some(mut burden) = worker.http.burden(from) else { return answer };
    if !burden.weigh(bytes) {
        return (worker.serving.refuse)(RequestRefusal::AnswerOverload, false, id);
    }
    answer.map(|body| Body::new(Weighed { body, burden: Some(burden) }))
}

/// A body that weighs until its bytes are written.
struct Weighed {
    body: Body,
    /// Given to the only piece that there is.
    burden: Option<Burden>,
}

/// Bytes of an answer, and what they weigh for as long as they are held.
struct Held {
    bytes: Bytes,
    _burden: Option<Burden>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Weighed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|frame| {
            let mut held = |bytes| Held { bytes, _burden: self.burden.take() };
            frame.map(|frame| frame.map(|frame| frame.map_data(|b| Bytes::from_owner(held(b)))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
