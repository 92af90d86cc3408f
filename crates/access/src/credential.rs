//! Credential of a connection: the principal that it has proven, and until when.
//!
//! | event | good before | good after |
//! | --- | --- | --- |
//! | [`Credential::next_deadline`] passes | until then | no: `token_expired` |
//! | its key is taken away ([`Credential::check`]) | yes | no: `wrong_key`, `token_invalid` |
//! | [`Credential::refresh`] with a token of the same subject | either | until the new deadline |
//! | [`Credential::refresh`] with anything else | either | as before |

use std::sync::{Arc, LazyLock};

use crate::gate::Access;
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::rights::{Action, Resource};

/// Credential of a connection, or of a request. Times are milliseconds since 1970.
///
/// One word in size: tens of thousands of connections hold one each, most of them an empty one.
#[derive(Debug, Clone, Default)]
pub struct Credential(Option<Arc<Shown>>);

#[derive(Debug)]
struct Shown {
    principal: Principal,
    proof: Proof,
}

static ANONYMOUS: LazyLock<Principal> = LazyLock::new(Principal::anonymous);

/// Proof of the principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A key with this digest.
    Key { digest: [u8; 32] },
    /// A token that was checked with this key.
    Token { key: [u8; 32], expires_at_ms: u64 },
}

impl Credential {
    /// Nothing was shown.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(None)
    }

    pub(crate) fn new(principal: Principal, proof: Proof) -> Self {
        Self(Some(Arc::new(Shown { principal, proof })))
    }

    /// Returns the principal.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.0.as_ref().map_or_else(|| &*ANONYMOUS, |shown| &shown.principal)
    }

    /// Returns the time of expiry; none when it does not expire by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        match self.0.as_ref()?.proof {
            Proof::Token { expires_at_ms, .. } => Some(expires_at_ms),
            Proof::Key { .. } => None,
        }
    }

    /// Checks that it is still good.
    ///
    /// # Errors
    /// [`Refusal::TokenExpired`] when its time is over; [`Refusal::WrongKey`] or
    /// [`Refusal::TokenInvalid`] when the key behind it was taken away.
    pub fn check(&self, access: &Access, now_ms: u64) -> Result<(), Refusal> {
        let Some(Shown { principal, proof }) = self.0.as_deref() else { return Ok(()) };
        match proof {
            Proof::Key { digest } if access.keys.trusts(principal, digest) => Ok(()),
            Proof::Key { .. } => Err(Refusal::WrongKey),
            Proof::Token { expires_at_ms, .. } if now_ms >= *expires_at_ms => {
                Err(Refusal::TokenExpired)
            }
            Proof::Token { key, .. } if access.tokens.trusts(principal, key) => Ok(()),
            Proof::Token { .. } => {
                Err(Refusal::TokenInvalid("the key it was signed with is no longer good".into()))
            }
        }
    }

    /// Takes a new token, while connected. An anonymous client may get an identity; a client that
    /// has one keeps it. Its rights have to be asked for again.
    ///
    /// # Errors
    /// Any [`Refusal`] of a token, and [`Refusal::OtherSubject`]; nothing has changed then.
    pub fn refresh(&mut self, access: &Access, text: &str, now_ms: u64) -> Result<(), Refusal> {
        self.renew(access.credential(text, now_ms)?)
    }

    /// The same with a credential that was shown already.
    ///
    /// # Errors
    /// [`Refusal::OtherSubject`]; nothing has changed then.
    pub fn renew(&mut self, new: Self) -> Result<(), Refusal> {
        let same = self.principal().name() == new.principal().name();
        if !same && !self.principal().is_anonymous() {
            return Err(Refusal::OtherSubject);
        }
        *self = new;
        Ok(())
    }

    /// Checks that it may do `action` to `resource` now.
    ///
    /// # Errors
    /// Any [`Refusal`].
    pub fn may(
        &self,
        access: &Access,
        action: Action,
        resource: Resource<'_>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.check(access, now_ms)?;
        access.decide(self.principal(), action, resource)
    }
}

#[cfg(test)]
mod tests;
