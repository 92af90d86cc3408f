//! The `Sec-WebSocket-Protocol` header: how a browser says "phoenix" and hands over its token.
//!
//! phoenix.js offers `phoenix` and `base64url.bearer.phx.<token>`; whatever the name says, the
//! token is in the standard alphabet of base64, without padding. A browser fails the connection
//! unless the answer names one of its offers, and equally if it made none and gets one.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The subprotocol that this server speaks.
pub const PHOENIX: &str = "phoenix";

/// Prefix of the token.
pub const TOKEN_PREFIX: &str = "base64url.bearer.phx.";

const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Answer to an acceptable offer, with the token that came in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subprotocol {
    /// The value of the header to answer with; without one no header may be sent.
    pub answer: Option<&'static str>,
    /// The token that came along.
    pub token: Option<String>,
}

/// Error in an offer. The door answers with status [`SubprotocolError::STATUS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubprotocolError {
    /// `phoenix` is not among the offers, so the server cannot name one of them.
    #[error("none of the offered subprotocols is \"phoenix\"")]
    Unknown,
    /// The token is not base64 of UTF-8. Taking such a client for one without a token would
    /// only move its error to a place where it is harder to understand.
    #[error("the token in the subprotocol is not base64 of a text")]
    BadToken,
    /// Two tokens came along.
    #[error("more than one token among the subprotocols")]
    ManyTokens,
}

impl SubprotocolError {
    /// The HTTP status of the refusal.
    pub const STATUS: u16 = 403;
}

/// Reads the values of all `Sec-WebSocket-Protocol` headers of a request.
///
/// # Errors
/// [`SubprotocolError`] when something is offered that this server cannot accept.
pub fn parse<'a>(
    headers: impl IntoIterator<Item = &'a str>,
) -> Result<Subprotocol, SubprotocolError> {
    let offers = headers.into_iter().flat_map(|value| value.split(',')).map(str::trim);
    let mut found = Subprotocol::default();
    let mut is_offered = false;
    for offer in offers.filter(|offer| !offer.is_empty()) {
        is_offered = true;
        if offer == PHOENIX {
            found.answer = Some(PHOENIX);
        } else if let Some(encoded) = offer.strip_prefix(TOKEN_PREFIX) {
            let token = decode_token(encoded).ok_or(SubprotocolError::BadToken)?;
            if found.token.replace(token).is_some() {
                return Err(SubprotocolError::ManyTokens);
            }
        }
    }
    if is_offered && found.answer.is_none() {
        return Err(SubprotocolError::Unknown);
    }
    Ok(found)
}

fn decode_token(encoded: &str) -> Option<String> {
    let bytes = STANDARD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded)).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_offer_no_subprotocol_is_invented() {
        assert_eq!(parse([]), Ok(Subprotocol { answer: None, token: None }));
        assert_eq!(parse([""]), Ok(Subprotocol { answer: None, token: None }));
    }

    #[test]
    fn phoenix_is_answered_with_phoenix() {
        for offer in ["phoenix", "graphql-ws, phoenix", " phoenix ,other"] {
            assert_eq!(parse([offer]).map(|found| found.answer), Ok(Some("phoenix")), "{offer}");
        }
        assert_eq!(parse(["other", "phoenix"]).map(|found| found.answer), Ok(Some("phoenix")));
    }

    #[test]
    fn the_token_is_unpadded_base64_of_either_alphabet_behind_its_prefix() {
        for encoded in ["cz8+cz8/", "cz8-cz8_"] {
            let offer = format!("phoenix, base64url.bearer.phx.{encoded}");
            assert_eq!(parse([&*offer]).unwrap().token.as_deref(), Some("s?>s??"), "{offer}");
        }
        let unpadded = parse(["phoenix, base64url.bearer.phx.MTIzNA"]).unwrap();
        assert_eq!(unpadded, Subprotocol { answer: Some("phoenix"), token: Some("1234".into()) });
        let padded = parse(["phoenix", "base64url.bearer.phx.MTIzNA=="]).unwrap();
        assert_eq!(padded, unpadded);
    }

    #[test]
    fn offers_without_phoenix_are_refused_with_403() {
        for offer in ["graphql-ws", "Phoenix", "base64url.bearer.phx.MTIzNA", "a, b"] {
            assert_eq!(parse([offer]), Err(SubprotocolError::Unknown), "{offer}");
        }
        assert_eq!(SubprotocolError::STATUS, 403);
    }

    #[test]
    fn a_token_that_cannot_be_read_is_refused_rather_than_forgotten() {
        for encoded in ["%%%", "A", "/w"] {
            let offer = format!("phoenix, base64url.bearer.phx.{encoded}");
            assert_eq!(parse([&*offer]), Err(SubprotocolError::BadToken), "{offer}");
        }
        let twice = "phoenix, base64url.bearer.phx.MTIzNA, base64url.bearer.phx.MTIzNA";
        assert_eq!(parse([twice]), Err(SubprotocolError::ManyTokens));
    }
}
