//! Streamed answers and what they have in common: headers that keep proxies from holding them
//! back, and refusals that a browser's `EventSource` survives.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
pub(crate) use instep_edge::event_stream::is_for_events;
use instep_edge::event_stream::{Form, write_event, write_retry};
use instep_edge::{RequestId, RequestRefusal};
use instep_model::limits;
use instep_protocol::payload::ended::StreamEnded;

use crate::problem::Problem;

const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Headers of a stream of this content type. nginx gathers what it passes on unless it is told not
/// to; others compress it, and gather for that.
pub(super) fn headers(content_type: &'static str) -> [(HeaderName, &'static str); 4] {
    [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store, no-cache, no-transform"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (BUFFERING, "no"),
    ]
}

/// The same answer, unless it tells an `EventSource` to come again later: that gives up for good on
/// any status but 200. It is told why nothing comes as an event, and when to come back.
pub(crate) fn survivable(answer: Response, is_for_events: bool) -> Response {
    let problem = answer.extensions().get::<Problem>();
    let Some(problem) = problem.filter(|problem| is_for_events && is_passing(problem)) else {
        return answer;
    };
    // Not all readers at once.
    let spread = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_micros());
    let least = problem.retry_after_s.unwrap_or(1).saturating_mul(1000);
    let retry_ms = least.max(limits::EVENTS_RETRY_MS) * (100 + spread % 100) / 100;
    let (reason, detail) = (problem.code.as_str(), Some(problem.detail.as_str()));
    let ended = StreamEnded { detail, reason, retry_ms: Some(retry_ms) };
    let mut body = vec![];
    write_retry(&mut body, retry_ms);
    write_event(&mut body, None, "ended", &ended.encode());
    let (mut parts, _) = answer.into_parts();
    parts.status = StatusCode::OK;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::WWW_AUTHENTICATE);
    for (name, value) in headers(Form::Events.content_type()) {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    Response::from_parts(parts, Body::from(body))
}

/// Answer to a request that was refused before it came to a route.
pub(crate) fn refuse(refusal: RequestRefusal, for_events: bool, id: &RequestId) -> Response {
    let problem = Problem { request_id: Some(id.as_str().into()), ..refusal.into() };
    survivable(problem.into_response(), for_events)
}

/// Returns true if the same request may succeed later. A page that hears that its token has expired
/// makes a new reader with a new one.
fn is_passing(problem: &Problem) -> bool {
    let status = StatusCode::from_u16(problem.status).unwrap_or_default();
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status)
        || problem.code == "token_expired"
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    const EVENTS: &str = "text/event-stream";

    async fn told(problem: Problem, accept: &'static str) -> (u16, String, String) {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        let answer = survivable(problem.into_response(), is_for_events(&headers));
        let status = answer.status().as_u16();
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(answer.into_body(), 9_999).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn an_event_source_survives_every_refusal_that_passes() {
        let unavailable = |code| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, "why");
        for problem in [
            unavailable("loading"),
            unavailable("overloaded"),
            Problem::too_often("rate_limited", "why", 3),
            Problem::new(StatusCode::UNAUTHORIZED, "token_expired", "why"),
        ] {
            let code = problem.code.clone();
            let (status, kind, body) = told(problem, EVENTS).await;
            assert_eq!((status, &*kind), (200, EVENTS), "{code}");
            assert!(body.starts_with("retry: ") && body.ends_with("\n\n"), "{body}");
            assert!(body.contains(&format!("\"reason\":\"{code}\"")), "{body}");
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_statuses_is_given_the_status_and_what_is_final_stays_a_refusal() {
        let loading = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "loading", "why");
        let unmatched = Problem::new(StatusCode::NOT_FOUND, "unmatched_topic", "why");

        assert_eq!(told(loading.clone(), "*/*").await.0, 503);
        assert_eq!(told(loading, "application/x-ndjson").await.0, 503);
        assert_eq!(told(unmatched, EVENTS).await.0, 404);
    }
}
