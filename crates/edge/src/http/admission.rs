//! Admission of HTTP requests, before a door opens: the origin of the page, and the credential.
//!
//! | what it shows stands in | who does that |
//! | --- | --- |
//! | `Authorization: Bearer …` | programs |
//! | `Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.…` | phoenix.js, `authToken` |
//! | `X-Phoenix-AuthToken: …` | phoenix.js, long-poll |
//! | `?token=…` | phoenix.js, `params: {token}` |
//!
//! The first that is there counts.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};
use instep_access::origin::Page;
use instep_access::{Action, Credential, Refusal, Resource};

use crate::state::EdgeState;

/// The header in which phoenix.js shows a token over long-poll.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-phoenix-authtoken");

/// Headers that show a key or token.
pub const SHOWING: [HeaderName; 2] = [header::AUTHORIZATION, TOKEN_HEADER];

/// Reason why a request is not admitted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("origin_refused: pages of {0} do not come in here")]
    Origin(String),
    #[error("{code}: {refusal}", code = refusal.code())]
    Shown { refusal: Refusal },
}

impl Refused {
    /// Seconds to wait, if it is a matter of time.
    pub(crate) fn retry_s(&self) -> Option<u64> {
        match self {
            Self::Shown { refusal: Refusal::RateLimited { retry_s } } => Some(*retry_s),
            Self::Shown { .. } | Self::Origin(_) => None,
        }
    }
}

/// Reads the headers that tell which page a request comes from.
#[must_use]
pub fn page_of(headers: &HeaderMap) -> Page<'_> {
    // What is no text fits nothing.
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    Page {
        origin: text(header::ORIGIN),
        site: text(HeaderName::from_static("sec-fetch-site")),
        referer: text(header::REFERER),
        accept: text(header::ACCEPT),
        host: text(header::HOST),
    }
}

/// The key or token that a request shows; `other` is what stands outside of the headers. The first
/// place that has something counts.
#[must_use]
pub fn shown_in<'a>(headers: &'a HeaderMap, other: Option<&'a str>) -> Option<Cow<'a, str>> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let bearer = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, shown) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Owned(shown.trim().to_owned()))
    });
    let shown = bearer.or_else(|| text(TOKEN_HEADER)).or(other.map(Cow::Borrowed));
    // Pages that have no token show the word for it.
    shown.filter(|text| !["", "undefined", "null"].contains(&&**text))
}

/// Checks the origin of the page and returns the credential; `shown` is the key or token outside of
/// the headers.
pub(crate) fn admit(
    edge: &EdgeState,
    headers: &HeaderMap,
    shown: Option<&str>,
    from: Option<IpAddr>,
) -> Result<Credential, Refused> {
    let page = page_of(headers);
    if edge.options().origins.is_strange(&page) {
        return Err(Refused::Origin(page.origin.unwrap_or("another site").to_owned()));
    }
    let Some(shown) = shown_in(headers, shown) else {
        return Ok(Credential::anonymous());
    };
    let shown = edge.shown(&shown, from);
    shown.map(Option::unwrap_or_default).map_err(|refusal| Refused::Shown { refusal })
}

/// True when a request shows that it may administer the server.
pub(crate) fn administers(edge: &EdgeState, headers: &HeaderMap, from: IpAddr) -> bool {
    bearer(headers).and_then(|shown| edge.credential(shown, Some(from)).ok()).is_some_and(
        |credential| edge.may_do(&credential, Action::Administer, Resource::Server).is_ok(),
    )
}

/// Returns the key or token in `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, shown) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(shown)
}
