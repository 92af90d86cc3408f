//! Errors of SQLite by kind: what passes, what a record has done, what a database is.

use rusqlite::ErrorCode;

use crate::store::{Fatal, StoreError, bounded};

/// Sorts an error of SQLite about `subject`.
pub(super) fn failure(subject: &str, error: &rusqlite::Error) -> StoreError {
    let text = bounded(&format!("{subject}: {error}"));
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::OperationInterrupted
            | ErrorCode::OperationAborted
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SchemaChanged,
        ) => StoreError::Passing(text),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fatal::Unusable(text).into(),
        _ => StoreError::refused(text),
    }
}
