//! What is asked of everybody who comes over HTTP, before a door opens: where its page comes from,
//! and who it is.
//!
//! | what it shows stands in | who does that |
//! | --- | --- |
//! | `Authorization: Bearer …` | programs |
//! | `Sec-WebSocket-Protocol: phoenix, base64url.bearer.phx.…` | phoenix.js, `authToken` |
//! | `X-Phoenix-AuthToken: …` | phoenix.js, long-poll |
//! | `?token=…` | phoenix.js, `params: {token}` |
//!
//! The first that is there counts.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, header};
use instep_access::{Credential, Refusal};

use crate::door::Door;
use crate::house::wall_ms;

/// The header in which phoenix.js shows a token over long-poll.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-phoenix-authtoken");

/// Why somebody does not come in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("origin_refused: pages of {0:?} do not come in here")]
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

/// Who it is; `shown` is what stands outside of the headers.
pub(crate) fn admit(
    door: &Door,
    headers: &HeaderMap,
    shown: Option<&str>,
    from: Option<IpAddr>,
) -> Result<Credential, Refused> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        if !door.house().options().origins.allow(&origin, text(header::HOST)) {
            return Err(Refused::Origin(origin));
        }
    }
    let bearer = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let shown = bearer.map(|(_, text)| text).or_else(|| text(TOKEN_HEADER)).or(shown);
    // Pages that have no token show the word for it.
    let Some(shown) = shown.filter(|text| !["", "undefined", "null"].contains(text)) else {
        return Ok(Credential::anonymous());
    };
    let access = door.house().gate().access();
    if !access.is_configured() {
        return Ok(access.credential(shown, wall_ms()).unwrap_or_default());
    }
    door.credential(shown, from).map_err(|refusal| Refused::Shown { refusal })
}
