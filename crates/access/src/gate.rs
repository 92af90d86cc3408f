//! Everything by which a server decides, and the handle by which it is exchanged while it runs.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::credential::{Credential, Proof};
use crate::key::Keys;
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::rights::{Action, Resource, Rights};
use crate::token::{Tokens, is_token};

/// Access control of a server: rights, verification of tokens, and keys.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Rights: which principal may do what.
    pub rights: Rights,
    /// Verification of tokens.
    pub tokens: Tokens,
    /// The keys of programs, and the admin key.
    pub keys: Keys,
}

/// The gate of a server. Cloning gives another handle.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<ArcSwap<Access>>);

impl Access {
    /// Authenticates a key or a token.
    ///
    /// # Errors
    /// [`Refusal::WrongKey`], [`Refusal::TokenExpired`] or [`Refusal::TokenInvalid`].
    pub fn credential(&self, text: &str, now_ms: u64) -> Result<Credential, Refusal> {
        let text = text.trim();
        if is_token(text) {
            let proven = self.tokens.check(text, now_ms)?;
            let proof =
                Proof::Token { key: proven.fingerprint, expires_at_ms: proven.expires_at_ms };
            return Ok(Credential::new(proven.principal, proof));
        }
        let (principal, digest) = self.keys.check(text).ok_or(Refusal::WrongKey)?;
        Ok(Credential::new(principal, Proof::Key { digest }))
    }

    /// True for an expired token. Costs next to nothing: the signature is not checked.
    #[must_use]
    pub fn is_over(&self, text: &str, now_ms: u64) -> bool {
        let text = text.trim();
        is_token(text) && self.tokens.is_over(text, now_ms)
    }

    /// True once tokens are checked or rights are declared: a credential shown at a door has to be
    /// good then. Before that, pages may show one that means nothing here.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.tokens.has_keys() || self.rights.are_declared()
    }

    /// Checks that `principal` may do `action` to `resource`.
    ///
    /// # Errors
    /// [`Refusal::KeyRequired`] or [`Refusal::Forbidden`].
    pub fn decide(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Refusal> {
        self.rights.decide(principal, action, resource)
    }
}

impl Gate {
    /// A gate that decides like this.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(access)))
    }

    /// Returns the access control that is in force now, to look at and let go of.
    #[must_use]
    pub fn access(&self) -> Guard<Arc<Access>> {
        self.0.load()
    }

    /// Replaces the rules of access. Connections notice by [`Credential::check`].
    pub fn exchange(&self, access: Access) {
        self.0.store(Arc::new(access));
    }
}
