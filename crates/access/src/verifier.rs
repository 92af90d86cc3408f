//! Verifier: a key that tokens are checked with. The algorithms belong to the key, never to the
//! token.
//!
//! | key | algorithms |
//! | --- | --- |
//! | a secret | HS256 |
//! | Ed25519 | EdDSA |
//! | P-256 | ES256 |
//! | RSA, 2048 to 8192 bits | RS256, RS384, RS512, PS256, PS384, PS512 |
//!
//! A key of a JWKS that names its algorithm (`alg`) takes only that one.

mod error;
mod jwks;
mod pem;

use instep_model::limits;
use jsonwebtoken::Algorithm;
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, RsaParameters, UnparsedPublicKey};
use ring::{digest, hmac};

pub use error::TokenKeyError;
pub(crate) use jwks::KeySet;

/// Bytes of a public key of Ed25519.
const ED25519_BYTES: usize = 32;
/// Bytes of a coordinate of P-256.
const P256_BYTES: usize = 32;
/// Largest exponent of RSA that is taken, in bits: that of ring.
const RSA_EXPONENT_BITS: usize = 33;

/// A key that tokens are checked with.
#[derive(Clone)]
pub(crate) struct Verifier {
    /// The id by which tokens name it.
    pub(crate) id: Option<String>,
    /// Tells keys apart, without being one.
    pub(crate) fingerprint: [u8; 32],
    /// The only algorithm that it takes, where its set says so.
    only: Option<Algorithm>,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Hs256(hmac::Key),
    EdDsa(UnparsedPublicKey<Vec<u8>>),
    Es256(UnparsedPublicKey<Vec<u8>>),
    Rsa(PublicKeyComponents<Vec<u8>>),
}

impl Verifier {
    fn new(kind: &str, bytes: &[u8], key: Key) -> Self {
        let hash = digest::digest(&digest::SHA256, &[kind.as_bytes(), bytes].concat());
        let fingerprint = hash.as_ref().try_into().expect("SHA-256 has 32 bytes");
        Self { id: None, fingerprint, only: None, key }
    }

    /// A secret that tokens are signed with, from a file.
    pub(crate) fn from_secret(secret: &[u8]) -> Result<Self, TokenKeyError> {
        let secret = secret.trim_ascii();
        // A public key must not become a secret by a slip of configuration.
        if secret.starts_with(b"-----BEGIN") || secret.starts_with(b"{") {
            return Err(TokenKeyError::NoSecret);
        }
        Self::hs256(secret)
    }

    fn hs256(secret: &[u8]) -> Result<Self, TokenKeyError> {
        if secret.len() < limits::TOKEN_SECRET_BYTES {
            let (bytes, least) = (secret.len(), limits::TOKEN_SECRET_BYTES);
            return Err(TokenKeyError::ShortSecret { bytes, least });
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Self::new("HS256", secret, Key::Hs256(key)))
    }

    fn ed25519(key: &[u8]) -> Result<Self, TokenKeyError> {
        if key.len() != ED25519_BYTES {
            return Err(TokenKeyError::Ed25519Length { bytes: ED25519_BYTES });
        }
        let parsed = UnparsedPublicKey::new(&signature::ED25519 as _, key.to_vec());
        Ok(Self::new("EdDSA", key, Key::EdDsa(parsed)))
    }

    /// A key of P-256: 4, and both coordinates.
    fn p256(point: &[u8]) -> Result<Self, TokenKeyError> {
        if point.len() != 1 + 2 * P256_BYTES || point[0] != 4 {
            return Err(TokenKeyError::P256Point);
        }
        let parsed =
            UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED as _, point.to_vec());
        Ok(Self::new("ES256", point, Key::Es256(parsed)))
    }

    /// A key of RSA, by its modulus and exponent.
    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, TokenKeyError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let range = limits::TOKEN_RSA_BITS_LEAST..=limits::TOKEN_RSA_BITS_MOST;
        if !range.contains(&bits(n)) || !is_odd(n) {
            let (least, most) = (*range.start(), *range.end());
            return Err(TokenKeyError::RsaModulus { bits: bits(n), least, most });
        }
        if bits(e) < 2 || bits(e) > RSA_EXPONENT_BITS || !is_odd(e) {
            return Err(TokenKeyError::RsaExponent { most: RSA_EXPONENT_BITS });
        }
        let key = PublicKeyComponents { n: n.to_vec(), e: e.to_vec() };
        let length = (n.len() as u64).to_be_bytes();
        Ok(Self::new("RSA", &[&length, n, e].concat(), Key::Rsa(key)))
    }

    /// True when tokens of this algorithm may be checked with it.
    pub(crate) fn takes(&self, algorithm: Algorithm) -> bool {
        if self.only.is_some_and(|only| only != algorithm) {
            return false;
        }
        match &self.key {
            Key::Hs256(_) => algorithm == Algorithm::HS256,
            Key::EdDsa(_) => algorithm == Algorithm::EdDSA,
            Key::Es256(_) => algorithm == Algorithm::ES256,
            Key::Rsa(_) => rsa_parameters(algorithm).is_some(),
        }
    }

    /// True when `signature` is that of this key, by this algorithm, over `message`.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.takes(algorithm) {
            return false;
        }
        match &self.key {
            Key::Hs256(secret) => hmac::verify(secret, message, signature).is_ok(),
            Key::EdDsa(key) | Key::Es256(key) => key.verify(message, signature).is_ok(),
            Key::Rsa(key) => rsa_parameters(algorithm)
                .is_some_and(|parameters| key.verify(parameters, message, signature).is_ok()),
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.key {
            Key::Hs256(_) => "HS256",
            Key::EdDsa(_) => "EdDSA",
            Key::Es256(_) => "ES256",
            Key::Rsa(_) => "RSA",
        };
        write!(f, "Verifier({kind}, {:?}, {:?})", self.only, self.id)
    }
}

/// Signs with a secret, by HS256.
pub(crate) fn sign(secret: &[u8], message: &[u8]) -> Result<impl AsRef<[u8]>, TokenKeyError> {
    match Verifier::from_secret(secret)?.key {
        Key::Hs256(key) => Ok(hmac::sign(&key, message)),
        Key::EdDsa(_) | Key::Es256(_) | Key::Rsa(_) => Err(TokenKeyError::NoSecret),
    }
}

/// The parameters of an algorithm of RSA; none for other algorithms.
fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Bits of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| 8 * number.len() - first.leading_zeros() as usize)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

#[cfg(test)]
mod tests;
