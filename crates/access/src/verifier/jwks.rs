//! JSON Web Key Sets (RFC 7517). A key that is not understood, or not for signatures, is skipped;
//! the others of its set are taken.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instep_model::limits;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse,
};
use serde::Deserialize;
use serde_json::Value;

use super::{P256_BYTES, TokenKeyError, Verifier};

/// The keys of a set.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    pub(crate) verifiers: Vec<Verifier>,
    /// For each key that was skipped a sentence that says which and why.
    pub(crate) skipped: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// The keys of a set in JSON.
    pub(crate) fn from_json(json: &str) -> Result<Self, TokenKeyError> {
        let set: Document = serde_json::from_str(json).map_err(TokenKeyError::NoSet)?;
        let mut found = Self::default();
        for (at, key) in set.keys.into_iter().enumerate() {
            let id = key["kid"].as_str().map(|id| format!(" ({id:?})")).unwrap_or_default();
            match Verifier::from_jwk(key) {
                Ok(verifier) => found.verifiers.push(verifier),
                Err(problem) => found.skipped.push(format!("keys[{at}]{id}: {problem}")),
            }
        }
        match found.verifiers.len() {
            0 => Err(match found.skipped.into_iter().next() {
                Some(first) => TokenKeyError::UselessSet { first },
                None => TokenKeyError::EmptySet,
            }),
            count if count > limits::TOKEN_KEYS => {
                Err(TokenKeyError::LargeSet { count, limit: limits::TOKEN_KEYS })
            }
            _ => Ok(found),
        }
    }
}

impl From<Verifier> for KeySet {
    fn from(only: Verifier) -> Self {
        Self { verifiers: vec![only], skipped: vec![] }
    }
}

impl Verifier {
    fn from_jwk(key: Value) -> Result<Self, TokenKeyError> {
        let jwk: Jwk = serde_json::from_value(key).map_err(TokenKeyError::NoKey)?;
        let only = algorithm_of(&jwk.common)?;
        let verifier = match &jwk.algorithm {
            AlgorithmParameters::OctetKey(key) => Self::hs256(&decode("k", &key.value)?),
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Self::ed25519(&decode("x", &key.x)?)
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                let (x, y) = (decode("x", &key.x)?, decode("y", &key.y)?);
                if x.len() != P256_BYTES || y.len() != P256_BYTES {
                    return Err(TokenKeyError::P256Coordinates { bytes: P256_BYTES });
                }
                Self::p256(&[&[4], &*x, &y].concat())
            }
            AlgorithmParameters::RSA(key) => {
                Self::rsa(&decode("n", &key.n)?, &decode("e", &key.e)?)
            }
            _ => Err(TokenKeyError::KeyType),
        }?;
        match only {
            Some(only) if !verifier.takes(only) => Err(TokenKeyError::AlgorithmOfAnother(only)),
            _ => Ok(Self { id: jwk.common.key_id, only, ..verifier }),
        }
    }
}

/// The algorithm that a key names, if any, once it is known to be for checking signatures.
fn algorithm_of(key: &CommonParameters) -> Result<Option<Algorithm>, TokenKeyError> {
    if key.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return Err(TokenKeyError::Use);
    }
    let operations = key.key_operations.as_ref();
    if operations.is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
        return Err(TokenKeyError::Operations);
    }
    let named = key.key_algorithm.map(Algorithm::try_from).transpose();
    named.map_err(|_| TokenKeyError::Algorithm)
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, TokenKeyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenKeyError::Base64 { field })
}
