//! Descriptors kept in reserve for writes: a log needs one for its next segment and one for a
//! moment to sync a directory, also while a crowd of connections has taken all the others.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use instep_model::disk::Shortage;
use instep_model::limits;

static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());
/// Descriptors are missing from the reserve, so that a look costs no lock while none are.
static WANTING: AtomicBool = AtomicBool::new(true);

/// Opens something, with a descriptor from the reserve when there is no other.
pub(super) fn with<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match open() {
            // Another thread may be quicker to take the descriptor given up; then the next one
            // follows.
            Err(error) if Shortage::is_of_descriptors(&error) && give_up_one() => {}
            opened => return opened,
        }
    }
}

/// Fills the reserve again, as far as there are descriptors.
pub(super) fn fill() {
    if !WANTING.load(Ordering::Relaxed) {
        return;
    }
    let mut kept = kept();
    while kept.len() < limits::RESERVED_DESCRIPTORS {
        match File::open("/dev/null") {
            Ok(file) => kept.push(file),
            Err(_) => return,
        }
    }
    WANTING.store(false, Ordering::Relaxed);
}

fn give_up_one() -> bool {
    let mut kept = kept();
    WANTING.store(true, Ordering::Relaxed);
    kept.pop().is_some()
}

fn kept() -> MutexGuard<'static, Vec<File>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
