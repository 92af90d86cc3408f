//! Signed tokens: claims that a browser keeps for us and cannot change.
//!
//! A token is `base64(claims) . base64(HMAC-SHA256)`. The claims say what the token is for, so
//! that a form token is not taken for a cart token, which cart it names, and until when it holds.
//! A token that is wrong in any way is no token: there is nothing to be told apart.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use instep_shop_domain::ids::CartId;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::clock;

/// The name of the secret's file in the data directory.
const FILE: &str = "shop.secret";
/// Lifetime of a token.
pub(crate) const LIFE_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Lifetime of a token for the counts.
pub(crate) const COUNTS_LIFE_MS: u64 = 24 * 60 * 60 * 1000;
/// Longest token that is looked at.
const TOKEN_BYTES: usize = 512;

/// Secret that tokens are signed with.
#[derive(Clone)]
pub struct Secret(Arc<[u8; 32]>);

/// Purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    /// To own a cart.
    Cart,
    /// To send a form that one of our pages made for this cart.
    Form,
    /// To look at the counts.
    Counts,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "for")]
    purpose: Purpose,
    cart: String,
    until: u64,
}

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Arc::new(bytes))
    }

    /// Reads the secret of a data directory, or makes one.
    ///
    /// # Errors
    /// When the file cannot be read or written or is no secret, or the system gives no randomness.
    pub fn in_directory(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let bytes = <[u8; 32]>::try_from(bytes)
                    .map_err(|_| std::io::Error::other(format!("{FILE} is damaged; remove it")))?;
                Ok(Self::new(bytes))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes = clock::random_bytes()?;
                std::fs::create_dir_all(directory)?;
                write_private(directory, &path, &bytes)?;
                Ok(Self::new(bytes))
            }
            Err(error) => Err(error),
        }
    }

    /// A token for a cart that holds for [`LIFE_MS`] from `now_ms` on.
    pub(crate) fn sign(&self, purpose: Purpose, cart: &CartId, now_ms: u64) -> String {
        self.seal(&Claims {
            purpose,
            cart: cart.to_string(),
            until: now_ms.saturating_add(LIFE_MS),
        })
    }

    /// A token to look at the counts for [`COUNTS_LIFE_MS`] from `now_ms` on.
    pub(crate) fn sign_counts(&self, now_ms: u64) -> String {
        let until = now_ms.saturating_add(COUNTS_LIFE_MS);
        self.seal(&Claims { purpose: Purpose::Counts, cart: String::new(), until })
    }

    fn seal(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("claims always encode into memory");
        let claims = BASE64.encode(claims);
        let mac = hmac::sign(&self.key(), claims.as_bytes());
        format!("{claims}.{}", BASE64.encode(mac))
    }

    /// The cart that a token names; none when it is not ours, for something else, or too old.
    pub(crate) fn verify(&self, purpose: Purpose, token: &str, now_ms: u64) -> Option<CartId> {
        let claims = self.open(token)?;
        let holds = claims.purpose == purpose && now_ms < claims.until;
        claims.cart.parse().ok().filter(|_| holds)
    }

    /// True when a token lets its holder look at the counts.
    pub(crate) fn shows_counts(&self, token: &str, now_ms: u64) -> bool {
        let claims = self.open(token);
        claims.is_some_and(|claims| claims.purpose == Purpose::Counts && now_ms < claims.until)
    }

    fn open(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_BYTES {
            return None;
        }
        let (signed, mac) = token.split_once('.')?;
        let mac = BASE64.decode(mac).ok()?;
        hmac::verify(&self.key(), signed.as_bytes(), &mac).ok()?;
        serde_json::from_slice(&BASE64.decode(signed).ok()?).ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &*self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Under another name first: a crash in between must not leave half a secret.
fn write_private(directory: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = directory.join("shop.secret.tmp");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snk_u1_a_token_names_its_cart_until_it_expires() {
        let (secret, cart) = (Secret::new([7; 32]), CartId::from_random([1; 32]));

        let token = secret.sign(Purpose::Cart, &cart, 1_000);

        assert_eq!(secret.verify(Purpose::Cart, &token, 1_000 + LIFE_MS - 1), Some(cart));
        assert_eq!(secret.verify(Purpose::Cart, &token, 1_000 + LIFE_MS), None);
    }

    #[test]
    fn snk_u1_a_token_with_one_changed_byte_is_no_token() {
        let (secret, cart) = (Secret::new([7; 32]), CartId::from_random([1; 32]));
        let token = secret.sign(Purpose::Cart, &cart, 1_000);

        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(secret.verify(Purpose::Cart, &changed, 1_000), None, "{changed}");
        }
        for odd in ["", ".", "a", "a.b", &token[..token.len() - 1]] {
            assert_eq!(secret.verify(Purpose::Cart, odd, 1_000), None, "{odd}");
        }
    }

    #[test]
    fn snk_u6_a_token_for_one_purpose_or_secret_is_none_for_another() {
        let (secret, cart) = (Secret::new([7; 32]), CartId::from_random([1; 32]));
        let token = secret.sign(Purpose::Form, &cart, 1_000);

        assert_eq!(secret.verify(Purpose::Cart, &token, 1_000), None);
        assert_eq!(Secret::new([8; 32]).verify(Purpose::Form, &token, 1_000), None);
    }

    #[test]
    fn snk_u7_a_token_for_the_counts_holds_a_day_and_no_cart_token_is_one() {
        let (secret, cart) = (Secret::new([7; 32]), CartId::from_random([1; 32]));
        let token = secret.sign_counts(1_000);

        assert!(secret.shows_counts(&token, 1_000 + COUNTS_LIFE_MS - 1));
        assert!(!secret.shows_counts(&token, 1_000 + COUNTS_LIFE_MS));
        assert!(!secret.shows_counts(&secret.sign(Purpose::Cart, &cart, 1_000), 1_000));
        assert!(!Secret::new([8; 32]).shows_counts(&token, 1_000));
        assert_eq!(secret.verify(Purpose::Counts, &token, 1_000), None);
    }

    #[test]
    fn the_secret_is_made_once_and_a_damaged_one_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();

        let first = Secret::in_directory(directory.path()).unwrap();
        let second = Secret::in_directory(directory.path()).unwrap();
        assert_eq!(first.0, second.0);

        std::fs::write(directory.path().join(FILE), b"short").unwrap();
        assert!(Secret::in_directory(directory.path()).is_err());
    }
}
