//! The keys that tokens are checked with. The algorithm belongs to the key, never to the token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::DecodePublicKey as _;
use hmac::{Hmac, Mac as _};
use instep_model::limits;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use p256::ecdsa::signature::Verifier as _;
use sha2::{Digest as _, Sha256};

/// A key that tokens are checked with.
#[derive(Clone)]
pub(crate) struct Verifier {
    /// The id by which tokens name it.
    pub(crate) id: Option<String>,
    /// Tells keys apart, without being one.
    pub(crate) fingerprint: [u8; 32],
    key: Key,
}

#[derive(Clone)]
enum Key {
    Hs256(Vec<u8>),
    EdDsa(Box<ed25519_dalek::VerifyingKey>),
    Es256(Box<p256::ecdsa::VerifyingKey>),
}

impl Verifier {
    fn new(id: Option<String>, key: Key) -> Self {
        let mut hash = Sha256::new();
        match &key {
            Key::Hs256(secret) => hash.update([&b"HS256"[..], secret].concat()),
            Key::EdDsa(key) => hash.update([&b"EdDSA"[..], key.as_bytes()].concat()),
            Key::Es256(key) => {
                hash.update([b"ES256", key.to_encoded_point(true).as_bytes()].concat())
            }
        }
        Self { id, fingerprint: hash.finalize().into(), key }
    }

    /// A secret that tokens are signed with.
    pub(crate) fn from_secret(secret: &[u8]) -> Result<Self, String> {
        let secret = secret.trim_ascii();
        if secret.len() < limits::TOKEN_SECRET_BYTES {
            let (bytes, least) = (secret.len(), limits::TOKEN_SECRET_BYTES);
            return Err(format!("a secret of {bytes} bytes; {least} are the least"));
        }
        // What everybody may know must not become a secret by a slip of configuration.
        if secret.starts_with(b"-----BEGIN") || secret.starts_with(b"{") {
            return Err("this is a public key or a key set, not a secret".into());
        }
        Ok(Self::new(None, Key::Hs256(secret.to_vec())))
    }

    /// A public key in PEM: Ed25519, or P-256.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, String> {
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
            return Ok(Self::new(None, Key::EdDsa(Box::new(key))));
        }
        match p256::PublicKey::from_public_key_pem(pem) {
            Ok(key) => Ok(Self::new(None, Key::Es256(Box::new(key.into())))),
            Err(_) => {
                Err("no public key of Ed25519 or P-256 in PEM (-----BEGIN PUBLIC KEY)".into())
            }
        }
    }

    /// The usable keys of a JSON Web Key Set; others in it are passed over.
    pub(crate) fn from_jwks(json: &str) -> Result<Vec<Self>, String> {
        let set: JwkSet =
            serde_json::from_str(json).map_err(|error| format!("no JWKS: {error}"))?;
        let keys: Vec<Self> = set.keys.iter().filter_map(Self::from_jwk).collect();
        match keys.len() {
            0 => Err("no key of HS256, EdDSA (Ed25519) or ES256 (P-256) in this JWKS".into()),
            count if count > limits::TOKEN_KEYS => {
                Err(format!("{count} keys, at most {}", limits::TOKEN_KEYS))
            }
            _ => Ok(keys),
        }
    }

    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
            return None;
        }
        let key = match &jwk.algorithm {
            AlgorithmParameters::OctetKey(key) => {
                let secret = URL_SAFE_NO_PAD.decode(&key.value).ok()?;
                (secret.len() >= limits::TOKEN_SECRET_BYTES).then_some(Key::Hs256(secret))?
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(&key.x).ok()?.try_into().ok()?;
                Key::EdDsa(Box::new(ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok()?))
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                let (x, y) =
                    (URL_SAFE_NO_PAD.decode(&key.x).ok()?, URL_SAFE_NO_PAD.decode(&key.y).ok()?);
                let point = [&[4][..], &x, &y].concat();
                Key::Es256(Box::new(p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?))
            }
            _ => return None,
        };
        let verifier = Self::new(jwk.common.key_id.clone(), key);
        let declared = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
        match declared {
            Some(declared) if declared != format!("{:?}", verifier.algorithm()) => None,
            _ => Some(verifier),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self.key {
            Key::Hs256(_) => Algorithm::HS256,
            Key::EdDsa(_) => Algorithm::EdDSA,
            Key::Es256(_) => Algorithm::ES256,
        }
    }

    /// True when `signature` is that of this key over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Hs256(secret) => {
                let mac = Hmac::<Sha256>::new_from_slice(secret);
                mac.is_ok_and(|mac| mac.chain_update(message).verify_slice(signature).is_ok())
            }
            Key::EdDsa(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Key::Es256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({:?}, {:?})", self.algorithm(), self.id)
    }
}
