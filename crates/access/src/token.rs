//! Tokens: JSON Web Tokens in the compact form, signed with HS256, EdDSA, ES256, RS256 to RS512 or
//! PS256 to PS512.
//!
//! ```text
//! header . claims . signature        each in base64url
//!   alg      exp, nbf, iss, aud        must be one of the key's
//!   kid      sub, roles, rights
//! ```

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instep_model::json::read_value;
use instep_model::limits;
use instep_model::row::Fields;
use jsonwebtoken::Header;
use serde_json::Value;

use crate::principal::{Principal, token_name};
use crate::refusal::Refusal;
use crate::rights::GrantDeclaration;
use crate::verifier::{self, KeySet, Verifier};

/// Verification of tokens: what is asked of them, and the keys to check them with.
#[derive(Debug, Clone)]
pub struct Tokens {
    verifiers: Vec<Verifier>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_s: u64,
    /// Keys are configured, whether or not they can be read now.
    expected: bool,
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

/// A token that was found good.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) principal: Principal,
    pub(crate) expires_at_ms: u64,
    pub(crate) fingerprint: [u8; 32],
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new(None, None, limits::TOKEN_LEEWAY_S)
    }
}

impl Tokens {
    /// Asks for an issuer and an audience, and allows clocks to be `leeway_s` apart.
    #[must_use]
    pub fn new(issuer: Option<String>, audience: Option<String>, leeway_s: u64) -> Self {
        Self { verifiers: vec![], issuer, audience, leeway_s, expected: false }
    }

    /// Says that tokens are checked here, even while none of the keys can be read.
    pub fn expect_keys(&mut self) {
        self.expected = true;
    }

    /// Adds keys.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn add(&mut self, source: KeySource<'_>) -> Result<(), String> {
        let found = match source {
            KeySource::Secret(secret) => vec![Verifier::from_secret(secret)?],
            KeySource::Pem(pem) => vec![Verifier::from_pem(pem)?],
            KeySource::Jwks(json) => KeySet::from_json(json)?.verifiers,
        };
        if self.verifiers.len() + found.len() > limits::TOKEN_KEYS {
            return Err(format!("more than {} keys for tokens", limits::TOKEN_KEYS));
        }
        self.verifiers.extend(found);
        Ok(())
    }

    /// True when tokens are checked here: there are keys, or some are configured and not readable.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.expected || !self.verifiers.is_empty()
    }

    /// True for a token whose time is over, whoever signed it: a look that costs no cryptography.
    pub(crate) fn is_over(&self, text: &str, now_ms: u64) -> bool {
        if text.len() > limits::TOKEN_BYTES {
            return false;
        }
        let end = claims_of(text).and_then(|claims| self.end_ms(&claims).ok());
        end.is_some_and(|end| now_ms >= end)
    }

    /// Returns the expiry of a token with these claims, the leeway included.
    fn end_ms(&self, claims: &Fields) -> Result<u64, Refusal> {
        let none = || Refusal::TokenInvalid("it never expires: no exp".to_owned());
        let expires = seconds(claims, "exp")?.ok_or_else(none)?;
        Ok(expires.saturating_add(self.leeway_s).saturating_mul(1000))
    }

    /// True when the key that a token was checked with is still among these.
    pub(crate) fn trusts(&self, fingerprint: &[u8; 32]) -> bool {
        self.verifiers.iter().any(|verifier| verifier.fingerprint == *fingerprint)
    }

    /// Checks a token.
    pub(crate) fn check(&self, text: &str, now_ms: u64) -> Result<Proven, Refusal> {
        let invalid = |problem: &str| Refusal::TokenInvalid(problem.to_owned());
        if text.len() > limits::TOKEN_BYTES {
            return Err(invalid(&format!("it is longer than {} bytes", limits::TOKEN_BYTES)));
        }
        if self.verifiers.is_empty() {
            return Err(invalid(match self.expected {
                true => "this server cannot read its keys for tokens",
                false => "this server has no keys for tokens",
            }));
        }
        let header = jsonwebtoken::decode_header(text)
            .map_err(|_| invalid("its header is no JSON, or of an algorithm that is not taken"))?;
        // Read before the signature is checked, believed only afterwards.
        let claims = claims_of(text)
            .ok_or_else(|| invalid("its claims are no JSON object of exact values"))?;
        let expires_at_ms = self.end_ms(&claims)?;
        let fingerprint = self.check_signature(text, &header)?;
        // Only what was good once has expired.
        if now_ms >= expires_at_ms {
            return Err(Refusal::TokenExpired);
        }
        self.check_claims(&claims, now_ms)?;
        let principal = principal(claims)?;
        Ok(Proven { principal, expires_at_ms, fingerprint })
    }

    fn check_signature(&self, text: &str, header: &Header) -> Result<[u8; 32], Refusal> {
        let invalid = |problem: &str| Err(Refusal::TokenInvalid(problem.to_owned()));
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
        // The algorithm is that of the key: what a token says of itself only has to agree.
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

    fn check_claims(&self, claims: &Fields, now_ms: u64) -> Result<(), Refusal> {
        let invalid = |problem: &str| Err(Refusal::TokenInvalid(problem.to_owned()));
        let not_before = seconds(claims, "nbf")?.unwrap_or(0).saturating_sub(self.leeway_s);
        if now_ms < not_before.saturating_mul(1000) {
            return invalid("it is not valid yet (nbf)");
        }
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return invalid("it is of another issuer (iss)");
        }
        let is_ours = match (claims.get("aud"), &self.audience) {
            (None, None) => true,
            (Some(Value::String(one)), Some(ours)) => one == ours,
            (Some(Value::Array(all)), Some(ours)) => {
                all.iter().any(|one| one.as_str() == Some(ours))
            }
            // One that is meant for somebody is not meant for who has no name.
            (Some(_), _) | (None, Some(_)) => false,
        };
        if is_ours { Ok(()) } else { invalid("it is meant for another audience (aud)") }
    }
}

/// The claims of a token, whoever signed it. What would be read as something else is no claim: a
/// name that stands there twice, or an integer that is not held exactly, could be another right.
fn claims_of(text: &str) -> Option<Fields> {
    let mut parts = text.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    match read_value(&claims, limits::CARRIED_DEPTH).ok()? {
        Value::Object(claims) => Some(claims),
        _ => None,
    }
}

/// True for what looks like a token: three parts.
pub(crate) fn is_token(text: &str) -> bool {
    text.split('.').count() == 3
}

/// Signs claims with a secret, for development and tests.
///
/// # Errors
/// A sentence, when the secret is too short.
pub fn sign_hs256(secret: &[u8], claims: &Fields) -> Result<String, String> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string());
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(verifier::sign(secret, message.as_bytes())?);
    Ok(format!("{message}.{signature}"))
}

fn principal(claims: Fields) -> Result<Principal, Refusal> {
    let invalid = |problem: String| Refusal::TokenInvalid(problem);
    let subject = match claims.get("sub") {
        Some(Value::String(subject)) if !subject.is_empty() => subject.clone(),
        _ => return Err(invalid("it names nobody (sub)".into())),
    };
    let limit = limits::PRINCIPAL_BYTES - token_name("").len();
    if subject.len() > limit {
        return Err(invalid(format!("its subject (sub) is longer than {limit} bytes")));
    }
    let roles = roles(&claims).map_err(invalid)?;
    let rights: Vec<GrantDeclaration> = match claims.get("rights") {
        None => vec![],
        Some(rights) => serde_json::from_value(rights.clone())
            .map_err(|error| invalid(format!("its rights: {error}")))?,
    };
    if rights.len() > limits::TOKEN_RIGHTS {
        return Err(invalid(format!("it has more than {} rights", limits::TOKEN_RIGHTS)));
    }
    let own = rights.iter().enumerate().map(|(at, right)| {
        right.compile(at).map_err(|error| invalid(format!("its rights[{at}].{error}")))
    });
    let own = own.collect::<Result<_, _>>()?;
    Ok(Principal::token(&subject, roles, claims, own))
}

/// The claims `roles`, a list, and `role`, one.
fn roles(claims: &Fields) -> Result<BTreeSet<String>, String> {
    let mut roles = BTreeSet::new();
    let all = match claims.get("roles") {
        None => &[][..],
        Some(Value::Array(roles)) => roles,
        Some(_) => return Err("its roles are no list of texts".into()),
    };
    for role in all.iter().chain(claims.get("role")) {
        match role {
            Value::String(role) => roles.insert(role.clone()),
            _ => return Err("its roles are no list of texts".into()),
        };
    }
    match roles.len() > limits::ROLES {
        true => Err(format!("it has more than {} roles", limits::ROLES)),
        false => Ok(roles),
    }
}

/// A time among the claims; fractions are cut off.
fn seconds(claims: &Fields, name: &str) -> Result<Option<u64>, Refusal> {
    let invalid = || Refusal::TokenInvalid(format!("{name} is no time in seconds"));
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            (None, Some(part)) if (0.0..1e15).contains(&part) => Ok(Some(part as u64)),
            _ => Err(invalid()),
        },
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests;
