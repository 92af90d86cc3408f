//! Keys for programs: a random secret with a name, of which only the hash is kept.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use instep_model::limits;
use instep_model::name::{Name, NameError};
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::principal::{ADMIN, Principal};

/// Prefix of every key, so that one that was published by mistake is found.
const PREFIX: &str = "instep_";

/// A key as the configuration, or the file of keys, has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDeclaration {
    /// Its name.
    pub name: String,
    /// SHA-256 of the key, in hexadecimal digits.
    pub sha256: String,
    /// Roles of its holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// The keys of one server.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    admin: Option<[u8; 32]>,
    programs: BTreeMap<String, Program>,
}

#[derive(Debug, Clone)]
struct Program {
    digest: [u8; 32],
    roles: BTreeSet<String>,
}

/// Error in the declaration of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct KeyError {
    /// The field of its declaration.
    pub field: &'static str,
    /// Description of the error.
    pub problem: String,
}

/// Error in the name of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyNameError {
    /// A text that is no name.
    #[error("the name {name:?} {error}")]
    Form {
        /// The text.
        name: String,
        /// Reason.
        error: NameError,
    },
    /// The name of the admin key.
    #[error("the name {name:?} is that of the admin key")]
    Admin {
        /// The name.
        name: String,
    },
}

/// Makes a key of 32 random bytes, and its declaration, which has only the digest.
///
/// # Errors
/// [`KeyNameError`].
pub fn make(
    name: &str,
    roles: Vec<String>,
    random: [u8; 32],
) -> Result<(String, KeyDeclaration), KeyNameError> {
    check_name(name)?;
    let key = format!("{PREFIX}{name}_{}", HEXLOWER.encode(&random));
    let sha256 = HEXLOWER.encode(&digest(&key));
    Ok((key, KeyDeclaration { name: name.to_owned(), sha256, roles }))
}

impl Keys {
    /// Takes the admin key.
    pub fn set_admin(&mut self, key: &str) {
        self.admin = Some(digest(key));
    }

    /// Adds a key for a program.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add(&mut self, declaration: &KeyDeclaration) -> Result<(), KeyError> {
        let refuse = |field, problem| KeyError { field, problem };
        let KeyDeclaration { name, sha256, roles } = declaration;
        check_name(name).map_err(|error| refuse("name", error.to_string()))?;
        let wanted = || refuse("sha256", "64 hexadecimal digits are wanted".into());
        let digest = from_hex(sha256).ok_or_else(wanted)?;
        if roles.len() > limits::ROLES {
            return Err(refuse("roles", format!("at most {}", limits::ROLES)));
        }
        if self.programs.len() >= limits::PROGRAM_KEYS {
            return Err(refuse("name", format!("more than {} keys", limits::PROGRAM_KEYS)));
        }
        if self.programs.contains_key(name) {
            return Err(refuse("name", format!("there are two keys {name:?}")));
        }
        let program = Program { digest, roles: roles.iter().cloned().collect() };
        self.programs.insert(name.clone(), program);
        Ok(())
    }

    /// Returns the principal of a key, with the key's digest; none when no such key is known.
    pub(crate) fn check(&self, text: &str) -> Option<(Principal, [u8; 32])> {
        let given = digest(text);
        if self.admin.is_some_and(|admin| is_same(&admin, &given)) {
            return Some((Principal::admin(), given));
        }
        let (name, _) = text.strip_prefix(PREFIX)?.rsplit_once('_')?;
        let program = self.programs.get(name)?;
        is_same(&program.digest, &given)
            .then(|| (Principal::key(name, program.roles.clone()), given))
    }

    /// True when the key with this digest, and these roles, is still among these.
    pub(crate) fn trusts(&self, principal: &Principal, digest: &[u8; 32]) -> bool {
        self.admin == Some(*digest)
            || self
                .programs
                .values()
                .any(|program| program.digest == *digest && program.roles == principal.roles)
    }
}

/// A name of a key: 1 to 64 of `a-z 0-9 _ -`, and not that of the admin key.
fn check_name(name: &str) -> Result<(), KeyNameError> {
    let owned = || name.to_owned();
    Name::new(name).map_err(|error| KeyNameError::Form { name: owned(), error })?;
    if name == ADMIN { Err(KeyNameError::Admin { name: owned() }) } else { Ok(()) }
}

fn digest(key: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, key.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Compares in a time that does not tell where they differ.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_its_own_name_and_nothing_else() {
        let (billing, declaration) = make("billing_eu", vec!["writer".into()], [7; 32]).unwrap();
        let (other, _) = make("billing_eu", vec![], [8; 32]).unwrap();
        let mut keys = Keys::default();
        keys.set_admin("the-admin-key");
        keys.add(&declaration).unwrap();

        let (found, digest) = keys.check(&billing).unwrap();

        assert_eq!((found.name(), found.roles.contains("writer")), ("key:billing_eu", true));
        assert!(keys.trusts(&found, &digest) && !Keys::default().trusts(&found, &digest));
        assert_eq!(keys.check("the-admin-key").unwrap().0.name(), "admin");
        for wrong in [&other, "", "instep_", "instep_x_y", "the-admin-ke", &billing[1..]] {
            assert!(keys.check(wrong).is_none(), "{wrong}");
        }
        assert!(!declaration.sha256.contains(&billing[18..40]), "only the hash is kept");
    }

    #[test]
    fn names_that_are_taken_or_no_names_are_refused() {
        let mut keys = Keys::default();
        let (_, key) = make("a", vec![], [0; 32]).unwrap();
        keys.add(&key).unwrap();

        assert!(keys.add(&key).unwrap_err().problem.contains("two keys"));
        assert!(make("admin", vec![], [0; 32]).is_err() && make("A b", vec![], [0; 32]).is_err());
        for sha256 in [String::new(), "0".repeat(63), "g".repeat(64), "é".repeat(32)] {
            let bad = KeyDeclaration { name: "b".into(), sha256, roles: vec![] };
            assert_eq!(keys.add(&bad).unwrap_err().field, "sha256");
        }
    }
}
