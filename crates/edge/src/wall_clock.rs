//! Time until a credential ends, by the time of day.

use instep_access::Credential;
use instep_node::now_ms;

/// Milliseconds until a credential ends; none when it does not end by itself.
pub(crate) fn left_ms(credential: &Credential) -> Option<u64> {
    Some(credential.next_deadline()?.saturating_sub(now_ms()))
}
