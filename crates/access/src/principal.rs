//! Principals: proven identities of clients.

use std::collections::BTreeSet;

use instep_model::row::Fields;

use crate::rights::Right;

/// Principal of clients without a credential.
pub const ANONYMOUS: &str = "anonymous";
/// Principal of holders of the admin key.
pub const ADMIN: &str = "admin";

/// Principal of a request, once it is proven.
#[derive(Debug, Clone)]
pub struct Principal {
    pub(crate) kind: Kind,
    name: String,
    pub(crate) roles: BTreeSet<String>,
    pub(crate) claims: Fields,
    /// Rights that a token carries itself.
    pub(crate) own: Vec<Right>,
}

/// Kind of a principal, by its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Anonymous,
    Admin,
    Key(String),
    Token,
}

impl Principal {
    /// Principal of a request without a credential.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::plain(Kind::Anonymous, ANONYMOUS.to_owned(), BTreeSet::new())
    }

    /// Returns the principal that holds the admin key.
    #[must_use]
    pub fn admin() -> Self {
        Self::plain(Kind::Admin, ADMIN.to_owned(), BTreeSet::new())
    }

    pub(crate) fn key(name: &str, roles: BTreeSet<String>) -> Self {
        Self::plain(Kind::Key(name.to_owned()), format!("key:{name}"), roles)
    }

    pub(crate) fn token(
        subject: &str,
        roles: BTreeSet<String>,
        claims: Fields,
        own: Vec<Right>,
    ) -> Self {
        Self { kind: Kind::Token, name: token_name(subject), roles, claims, own }
    }

    fn plain(kind: Kind, name: String, roles: BTreeSet<String>) -> Self {
        Self { kind, name, roles, claims: Fields::new(), own: vec![] }
    }

    /// The name under which its commit ids are remembered: `anonymous`, `admin`, `key:NAME` or
    /// `token:SUBJECT`, so that no subject can take the place of another kind of principal.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True for the anonymous principal.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.kind == Kind::Anonymous
    }

    /// The claims of its token; empty without one.
    #[must_use]
    pub fn claims(&self) -> &Fields {
        &self.claims
    }
}

/// The name of a token's principal.
pub(crate) fn token_name(subject: &str) -> String {
    format!("token:{subject}")
}
