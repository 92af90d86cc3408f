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
use instep_model::limits;
use instep_model::row::Fields;
use serde_json::Value;

use crate::claims::{check_header, claims_of, end_ms};
use crate::issuer::Issuer;
use crate::principal::{Principal, token_name};
use crate::refusal::Refusal;
use crate::rights::GrantDeclaration;
use crate::verifier::{self, TokenKeyError};

/// Verification of tokens: the issuers whose tokens are taken.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Issuer>);

/// A token that was found good.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) principal: Principal,
    pub(crate) expires_at_ms: u64,
    pub(crate) fingerprint: [u8; 32],
}

impl Tokens {
    /// Adds an issuer. Of several that take the same token the first checks it.
    pub fn add(&mut self, issuer: Issuer) {
        self.0.push(issuer);
    }

    /// True when tokens are checked here: there are keys, or some are configured and not readable.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.0.iter().any(Issuer::has_keys)
    }

    /// True for an expired token. Costs no cryptography: the signature is not checked.
    pub(crate) fn is_over(&self, text: &str, now_ms: u64) -> bool {
        if text.len() > limits::TOKEN_BYTES {
            return false;
        }
        let end = claims_of(text).and_then(|claims| {
            let leeway_s = self.issuer_of(&claims).map(|issuer| issuer.terms().leeway_s);
            end_ms(&claims, leeway_s.unwrap_or(limits::TOKEN_LEEWAY_S)).ok()
        });
        end.is_some_and(|end| now_ms >= end)
    }

    /// True when the key that a token was checked with is still one of its issuer's.
    pub(crate) fn trusts(&self, principal: &Principal, fingerprint: &[u8; 32]) -> bool {
        self.issuer_of(&principal.claims).is_some_and(|issuer| issuer.trusts(fingerprint))
    }

    /// True for a subject that another issuer's prefix makes its own.
    fn is_of_another(&self, prefix: &str, principal: &Principal) -> bool {
        let subject = principal.claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        let mut others = self.0.iter().map(|issuer| &issuer.terms().subject_prefix);
        others.any(|other| other.len() > prefix.len() && subject.starts_with(other.as_str()))
    }

    fn issuer_of(&self, claims: &Fields) -> Option<&Issuer> {
        self.0.iter().find(|issuer| issuer.claims(claims))
    }

    /// Checks a token.
    pub(crate) fn check(&self, text: &str, now_ms: u64) -> Result<Proven, Refusal> {
        let invalid = |problem: &str| Refusal::TokenInvalid(problem.to_owned());
        if text.len() > limits::TOKEN_BYTES {
            return Err(invalid(&format!("it is longer than {} bytes", limits::TOKEN_BYTES)));
        }
        if !self.has_keys() {
            return Err(invalid("this server has no keys for tokens"));
        }
        let header = jsonwebtoken::decode_header(text)
            .map_err(|_| invalid("its header is no JSON, or of an algorithm that is not taken"))?;
        check_header(text)?;
        // Read before the signature is checked, believed only afterwards.
        let claims = claims_of(text)
            .ok_or_else(|| invalid("its claims are no JSON object of exact values"))?;
        let other = || invalid("it is of another issuer (iss)");
        let issuer = self.issuer_of(&claims).ok_or_else(other)?;
        let expires_at_ms = end_ms(&claims, issuer.terms().leeway_s)?;
        let fingerprint = issuer.check_signature(text, &header)?;
        // Only what was good once has expired.
        if now_ms >= expires_at_ms {
            return Err(Refusal::TokenExpired);
        }
        issuer.check_claims(&claims, now_ms)?;
        let prefix = &issuer.terms().subject_prefix;
        let principal = principal(claims, prefix)?;
        if self.is_of_another(prefix, &principal) {
            return Err(invalid("its subject (sub) begins with the prefix of another issuer"));
        }
        Ok(Proven { principal, expires_at_ms, fingerprint })
    }
}

/// True for what looks like a token: three parts.
pub(crate) fn is_token(text: &str) -> bool {
    text.split('.').count() == 3
}

/// Signs claims with a secret, for development and tests.
///
/// # Errors
/// [`TokenKeyError`] of the secret.
pub fn sign_hs256(secret: &[u8], claims: &Fields) -> Result<String, TokenKeyError> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string());
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(verifier::sign(secret, message.as_bytes())?);
    Ok(format!("{message}.{signature}"))
}

/// The principal that claims name, its subject behind the prefix of its issuer.
fn principal(mut claims: Fields, prefix: &str) -> Result<Principal, Refusal> {
    let invalid = |problem: String| Refusal::TokenInvalid(problem);
    let subject = match claims.get("sub") {
        Some(Value::String(subject)) if !subject.is_empty() => format!("{prefix}{subject}"),
        _ => return Err(invalid("it has no subject (sub)".into())),
    };
    let limit = limits::PRINCIPAL_BYTES - token_name("").len();
    if subject.len() > limit {
        return Err(invalid(format!("its subject (sub) is longer than {limit} bytes")));
    }
    // Rights and conditions see the subject as everything else does.
    claims.insert("sub".to_owned(), Value::String(subject.clone()));
    let roles = roles(&claims).map_err(|error| invalid(error.to_string()))?;
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

/// Error in the roles of a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum RolesError {
    #[error("its roles are no list of texts")]
    Form,
    #[error("it has more than {limit} roles")]
    TooMany { limit: usize },
}

/// The claims `roles`, a list, and `role`, one.
fn roles(claims: &Fields) -> Result<BTreeSet<String>, RolesError> {
    let mut roles = BTreeSet::new();
    let all = match claims.get("roles") {
        None => &[][..],
        Some(Value::Array(roles)) => roles,
        Some(_) => return Err(RolesError::Form),
    };
    for role in all.iter().chain(claims.get("role")) {
        match role {
            Value::String(role) => roles.insert(role.clone()),
            _ => return Err(RolesError::Form),
        };
    }
    if roles.len() > limits::ROLES {
        Err(RolesError::TooMany { limit: limits::ROLES })
    } else {
        Ok(roles)
    }
}

#[cfg(test)]
mod tests;
