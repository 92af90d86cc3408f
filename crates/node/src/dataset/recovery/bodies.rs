//! Bodies of messages whose store is gone or cannot be read: the log is the truth.

use std::collections::BTreeSet;

use instep_model::commit::{Entry, Record};
use instep_model::log::LogReader;
use instep_model::mail::{MailRecord, Status};
use instep_model::name::Name;
use instep_model::state::{FoldError, State};

use super::{OpenError, READ_BYTES};
use crate::engine::{BodyStore, StoredBody};
use crate::mail::Post;

/// Bodies that are read together.
const TOGETHER: usize = 256;

/// Puts the bodies of unfinished messages that a snapshot knows into a store that begins anew: from
/// the log, as far as it goes back, else from what can be read of the store before. What is nowhere
/// becomes a dead letter when its message is to be given.
pub(super) fn restore(
    dataset: &Name,
    state: &State,
    log: &dyn LogReader,
    before: &dyn BodyStore,
    post: &Post,
) -> Result<(), OpenError> {
    let unfinished = |status| matches!(status, Status::Pending | Status::Dead);
    let messages = state.mail.messages_after(0);
    let mut missing: BTreeSet<u64> =
        messages.filter(|(_, message)| unfinished(message.status)).map(|(seq, _)| seq).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.len();
    let mut next = log.bounds().floor;
    while next <= state.applied.revision.min(log.bounds().head) && !missing.is_empty() {
        for stored in log.read(next, READ_BYTES)? {
            next = stored.revision.next();
            let at = stored.revision;
            let entry =
                Entry::decode(&stored.bytes).map_err(|error| FoldError::Entry { at, error })?;
            for record in entry.commits.into_iter().flat_map(|commit| commit.records) {
                if let Record::Mail(MailRecord::Stored { seq, body, .. }) = record
                    && missing.remove(&seq)
                {
                    post.bodies.put(seq, body);
                }
            }
            post.bodies.spill_surplus()?;
        }
    }
    let rest: Vec<u64> = missing.iter().copied().collect();
    for seqs in rest.chunks(TOGETHER) {
        // Nothing can be read there, or something: what is lost is counted below.
        let found = before.read(seqs).unwrap_or_default();
        for (seq, body) in seqs.iter().zip(found) {
            if let StoredBody::Whole(body) = body {
                missing.remove(seq);
                post.bodies.put(*seq, body);
            }
        }
        post.bodies.spill_surplus()?;
    }
    let lost = missing.len();
    tracing::warn!(%dataset, restored = wanted - lost, lost, "bodies of messages begin anew");
    if lost > 0 {
        tracing::error!(%dataset, lost, "bodies of messages are lost: they become dead letters");
    }
    Ok(())
}
