//! Public keys in PEM: SPKI (`PUBLIC KEY`) and, for RSA, PKCS#1 (`RSA PUBLIC KEY`).

use spki::der::asn1::UintRef;
use spki::der::{self, Decode as _, Document, Reader as _, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{TokenKeyError, Verifier};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

impl Verifier {
    /// A public key in PEM.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, TokenKeyError> {
        let (label, key) = Document::from_pem(pem).map_err(|_| TokenKeyError::Pem)?;
        match label {
            "PUBLIC KEY" => Self::from_spki(key.as_bytes()),
            "RSA PUBLIC KEY" => Self::from_pkcs1(key.as_bytes()),
            _ => Err(TokenKeyError::Pem),
        }
    }

    fn from_spki(der: &[u8]) -> Result<Self, TokenKeyError> {
        let key = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| TokenKeyError::Pem)?;
        let bytes = key.subject_public_key.as_bytes().ok_or(TokenKeyError::Pem)?;
        match key.algorithm.oid {
            RSA => Self::from_pkcs1(bytes),
            ED25519 => Self::ed25519(bytes),
            EC if key.algorithm.parameters_oid() == Ok(P256) => Self::p256(bytes),
            _ => Err(TokenKeyError::Pem),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, TokenKeyError> {
        let (n, e) = components(der).map_err(|_| TokenKeyError::Pem)?;
        Self::rsa(n.as_bytes(), e.as_bytes())
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017, A.1.1).
fn components(der: &[u8]) -> der::Result<(UintRef<'_>, UintRef<'_>)> {
    let mut reader = SliceReader::new(der)?;
    let both = reader.sequence(|key| Ok((UintRef::decode(key)?, UintRef::decode(key)?)))?;
    reader.finish(both)
}
