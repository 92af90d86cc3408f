//! The admin key: until rights are configured, writing and administration need it.

use std::io::Write;
use std::path::Path;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use crate::problem::Problem;

/// The name of the key's file in the data directory.
const FILE: &str = "admin.key";

/// The key of this server. It is made at the first start and kept in the data directory.
#[derive(Clone)]
pub struct AdminKey(String);

impl AdminKey {
    /// Reads the key of a data directory, or makes one.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the system gives no randomness.
    pub fn in_directory(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join(FILE);
        if path.exists() {
            let key = std::fs::read_to_string(path)?.trim().to_owned();
            return match key.is_empty() {
                true => Err(std::io::Error::other(format!("{FILE} is empty; remove it"))),
                false => Ok(Self(key)),
            };
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Under another name first: a crash in between must not leave an empty key.
        let temporary = directory.join("admin.key.tmp");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        writeln!(file, "{key}")?;
        file.sync_all()?;
        std::fs::rename(temporary, path)?;
        Ok(Self(key))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not tell where the texts differ.
    fn is(&self, given: &str) -> bool {
        let (key, given) = (self.0.as_bytes(), given.as_bytes());
        let differences = key.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
        key.len() == given.len() && differences == 0
    }
}

/// Proof that a request carries the admin key, as `Authorization: Bearer <key>`. Use it as an
/// extractor in routes of your own.
#[derive(Debug, Clone, Copy)]
pub struct Admin;

impl Admin {
    /// Checks a request's headers.
    ///
    /// # Errors
    /// [`Problem`] `key_required` or `wrong_key`.
    pub(crate) fn check(parts: &Parts) -> Result<Self, Problem> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        let Some((_, given)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        else {
            let detail = "this needs the admin key: Authorization: Bearer <content of admin.key>";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "key_required", detail));
        };
        match parts.extensions.get::<AdminKey>() {
            Some(key) if key.is(given.trim()) => Ok(Self),
            _ => {
                let detail = "the key is not that of this server";
                Err(Problem::new(StatusCode::FORBIDDEN, "wrong_key", detail))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::check(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();

        let first = AdminKey::in_directory(directory.path()).unwrap();
        let second = AdminKey::in_directory(directory.path()).unwrap();

        assert!(first.is(second.as_str()) && first.as_str().len() == 64);
        assert!(!first.is("") && !first.is(&first.as_str()[1..]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = directory.path().join(FILE).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
