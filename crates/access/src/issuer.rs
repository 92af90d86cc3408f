//! Issuer of tokens: its keys, and what it asks of claims. A token is checked with the keys of its
//! own issuer only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instep_model::limits;
use instep_model::row::Fields;
use jsonwebtoken::Header;
use serde_json::Value;

use crate::claims::seconds;
use crate::refusal::Refusal;
pub use crate::verifier::TokenKeyError;
use crate::verifier::{KeySet, Verifier};

/// An issuer of tokens.
#[derive(Debug, Clone, Default)]
pub struct Issuer {
    terms: Terms,
    verifiers: Vec<Verifier>,
    /// Keys are configured, whether or not they can be read now.
    expected: bool,
}

/// Terms of an issuer: what its tokens have to say.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Its name, which is the `iss` of its tokens; none: tokens of any name are its own.
    pub name: Option<String>,
    /// Audience (`aud`) that tokens must be meant for; none: tokens must have no audience.
    pub audience: Option<String>,
    /// Clock skew that is tolerated, in seconds.
    pub leeway_s: u64,
    /// Text in front of each subject (`sub`), which tells it from those of other issuers.
    pub subject_prefix: String,
}

/// Source of keys for tokens.
#[derive(Debug, Clone, Copy)]
pub enum KeySource<'a> {
    /// A secret of HS256.
    Secret(&'a [u8]),
    /// A public key in PEM.
    Pem(&'a str),
    /// A JSON Web Key Set.
    Jwks(&'a str),
}

impl Default for Terms {
    fn default() -> Self {
        let leeway_s = limits::TOKEN_LEEWAY_S;
        Self { name: None, audience: None, leeway_s, subject_prefix: String::new() }
    }
}

impl Issuer {
    /// An issuer without keys.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, verifiers: vec![], expected: false }
    }

    /// Says that tokens are checked here, even while none of the keys can be read.
    pub fn expect_keys(&mut self) {
        self.expected = true;
    }

    /// Adds keys. Returns a sentence for each key of a set that was skipped, with the reason.
    ///
    /// # Errors
    /// [`TokenKeyError`].
    pub fn add(&mut self, source: KeySource<'_>) -> Result<Vec<String>, TokenKeyError> {
        let found = match source {
            KeySource::Secret(secret) => Verifier::from_secret(secret)?.into(),
            KeySource::Pem(pem) => Verifier::from_pem(pem)?.into(),
            KeySource::Jwks(json) => KeySet::from_json(json)?,
        };
        if self.verifiers.len() + found.verifiers.len() > limits::TOKEN_KEYS {
            return Err(TokenKeyError::TooMany { limit: limits::TOKEN_KEYS });
        }
        self.verifiers.extend(found.verifiers);
        Ok(found.skipped)
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.expected || !self.verifiers.is_empty()
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// True when a token with these claims is one of its own, if it is good.
    pub(crate) fn claims(&self, claims: &Fields) -> bool {
        let is_named = |name: &String| claims.get("iss").and_then(Value::as_str) == Some(name);
        self.terms.name.as_ref().is_none_or(is_named)
    }

    /// True when this key is still among its own.
    pub(crate) fn trusts(&self, fingerprint: &[u8; 32]) -> bool {
        self.verifiers.iter().any(|verifier| verifier.fingerprint == *fingerprint)
    }

    /// Checks a signature; returns the fingerprint of its key.
    pub(crate) fn check_signature(&self, text: &str, header: &Header) -> Result<[u8; 32], Refusal> {
        let invalid = |problem: &str| Err(Refusal::TokenInvalid(problem.to_owned()));
        if self.verifiers.is_empty() {
            return invalid("this server cannot read its keys for tokens");
        }
        if header.crit.is_some() {
            return invalid("its header asks for extensions (crit)");
        }
        let named = |verifier: &&Verifier| match (&header.kid, &verifier.id) {
            (Some(wanted), Some(id)) => wanted == id,
            (None, _) | (_, None) => true,
        };
        let mut fitting = self.verifiers.iter().filter(named).peekable();
        if fitting.peek().is_none() {
            return invalid("its key (kid) is not known here");
        }
        // The algorithms are those of the key: what a token says of itself only has to agree.
        let mut fitting = fitting.filter(|verifier| verifier.takes(header.alg)).peekable();
        if fitting.peek().is_none() {
            return invalid("no key here is of its algorithm");
        }
        let parts = text.rsplit_once('.').and_then(|(message, signature)| {
            Some((message.as_bytes(), URL_SAFE_NO_PAD.decode(signature).ok()?))
        });
        let found = parts.and_then(|(message, signature)| {
            fitting.find(|verifier| verifier.verifies(header.alg, message, &signature))
        });
        match found {
            Some(verifier) => Ok(verifier.fingerprint),
            None => invalid("its signature is wrong"),
        }
    }

    pub(crate) fn check_claims(&self, claims: &Fields, now_ms: u64) -> Result<(), Refusal> {
        let Terms { audience, leeway_s, .. } = &self.terms;
        let invalid = |problem: &str| Err(Refusal::TokenInvalid(problem.to_owned()));
        let not_before = seconds(claims, "nbf")?.unwrap_or(0).saturating_sub(*leeway_s);
        if now_ms < not_before.saturating_mul(1000) {
            return invalid("it is not valid yet (nbf)");
        }
        let is_ours = match (claims.get("aud"), audience) {
            (None, None) => true,
            (Some(Value::String(one)), Some(ours)) => one == ours,
            (Some(Value::Array(all)), Some(ours)) => {
                all.iter().any(|one| one.as_str() == Some(ours))
            }
            // A token with an audience is not meant for a server without one.
            (Some(_), _) | (None, Some(_)) => false,
        };
        if is_ours { Ok(()) } else { invalid("it is meant for another audience (aud)") }
    }
}
