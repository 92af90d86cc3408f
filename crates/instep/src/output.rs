//! What goes to stdout.

use std::io::Write;

use crate::failure::Failure;

/// Writes whole lines, and lets them go at once.
pub(crate) fn lines(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(Failure::Output)
}
