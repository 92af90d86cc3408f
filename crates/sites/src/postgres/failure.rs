//! Errors of PostgreSQL by kind: by the class of their SQLSTATE.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::{Fatal, StoreError, bounded};

/// Classes that pass: connections, resources, operators, the system, the server itself.
const PASSING: [&str; 6] = ["08", "53", "57", "58", "XX", "40"];

/// Sorts an error of the database about `subject`.
pub(super) fn failure(subject: &str, error: &Error) -> StoreError {
    let text = bounded(&format!("{subject}: {}", words(error)));
    match error.code() {
        // The connection broke, or an answer was not understood.
        None => StoreError::Passing(text),
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => StoreError::Passing(text),
        Some(code) if PASSING.iter().any(|class| code.code().starts_with(class)) => {
            StoreError::Passing(text)
        }
        Some(_) => StoreError::refused(text),
    }
}

/// Sorts an error of connecting: the address, the user or the database may never be right.
pub(super) fn connect_failure(error: &Error) -> StoreError {
    let text = bounded(&format!("cannot connect to the database: {}", words(error)));
    match error.code() {
        Some(code) if ["28", "3D"].iter().any(|class| code.code().starts_with(class)) => {
            Fatal::Unusable(text).into()
        }
        Some(_) => StoreError::Passing(text),
        None if is_about_trust(error) => Fatal::Unusable(text).into(),
        None => StoreError::Passing(text),
    }
}

/// Returns true if no repetition makes TLS with the database: it has none, or a certificate that
/// is not trusted. Handshakes that are cut off pass.
fn is_about_trust(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(at) = cause {
        let io = at.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let trust = io.and_then(|inner| inner.downcast_ref());
        if matches!(trust, Some(rustls::Error::InvalidCertificate(_)))
            || at.to_string().contains("does not support TLS")
        {
            return true;
        }
        cause = at.source();
    }
    false
}

/// An error as the database says it.
fn words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        let (message, code) = (error.message(), error.code().code());
        let mut text = format!("{message} (SQLSTATE {code})");
        for more in [error.detail(), error.hint()].into_iter().flatten() {
            text.push_str(&format!("; {more}"));
        }
        return text;
    }
    let mut bottom: &dyn std::error::Error = error;
    let mut text = error.to_string();
    while let Some(source) = bottom.source() {
        text = source.to_string();
        bottom = source;
    }
    text
}
