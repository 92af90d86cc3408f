//! Errors in keys that tokens are checked with.

use jsonwebtoken::Algorithm;

/// Error in a key for tokens, or in a set of them.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// A public key or a set in place of a secret.
    #[error("this is a public key or a key set, not a secret")]
    NoSecret,
    /// A secret that is too short.
    #[error("a secret of {bytes} bytes; {least} are the least")]
    ShortSecret {
        /// Its length.
        bytes: usize,
        /// The least.
        least: usize,
    },
    /// A key of Ed25519 of another length.
    #[error("a key of Ed25519 has {bytes} bytes")]
    Ed25519Length {
        /// The right length.
        bytes: usize,
    },
    /// A compressed point, or one of another length.
    #[error("a key of P-256 is a point that is not compressed")]
    P256Point,
    /// A coordinate of another length.
    #[error("x and y of P-256 have {bytes} bytes")]
    P256Coordinates {
        /// The right length.
        bytes: usize,
    },
    /// A modulus that is even, or of another size.
    #[error("an RSA key of {bits} bits; odd, from {least} to {most} are taken")]
    RsaModulus {
        /// Its size.
        bits: usize,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// An exponent that is even, or of another size.
    #[error("an RSA exponent is odd, from 3 to {most} bits")]
    RsaExponent {
        /// The most.
        most: usize,
    },
    /// A text that is no public key in PEM.
    #[error(
        "no public key of RSA, Ed25519 or P-256 in PEM (-----BEGIN PUBLIC KEY, or -----BEGIN RSA \
         PUBLIC KEY)"
    )]
    Pem,
    /// A text that is no key set.
    #[error("no JWKS: {0}")]
    NoSet(serde_json::Error),
    /// A member of a key set that is no key.
    #[error("{0}")]
    NoKey(serde_json::Error),
    /// A key set without keys.
    #[error("no key in this JWKS")]
    EmptySet,
    /// A key set without a key that can be used.
    #[error("no key for signatures in this JWKS; {first}")]
    UselessSet {
        /// The first key, and the reason why it was skipped.
        first: String,
    },
    /// A key set with too many keys.
    #[error("{count} keys, at most {limit}")]
    LargeSet {
        /// Keys in it.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many keys of all sources.
    #[error("more than {limit} keys for tokens")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A key of a type that is not taken.
    #[error("kty is none of oct, RSA, EC (P-256) and OKP (Ed25519)")]
    KeyType,
    /// An algorithm of another type of key.
    #[error("alg {0:?} is not taken with its kty")]
    AlgorithmOfAnother(Algorithm),
    /// An algorithm that is not taken.
    #[error("alg is of no signature that is taken")]
    Algorithm,
    /// A key for something else than signatures.
    #[error("use is not sig")]
    Use,
    /// A key that is not for checking signatures.
    #[error("key_ops are without verify")]
    Operations,
    /// A field that is not base64url.
    #[error("{field} is not base64url")]
    Base64 {
        /// Its name.
        field: &'static str,
    },
}
