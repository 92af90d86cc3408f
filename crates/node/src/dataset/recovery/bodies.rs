//! Bodies of messages whose store is gone or cannot be read: the log is the truth.

use std::collections::BTreeSet;

use instep_model::commit::{Entry, Record};
use instep_model::log::LogReader;
use instep_model::mail::{MailRecord, Message, Seq, Status};
use instep_model::name::Name;
use instep_model::state::{FoldError, State};

use super::OpenError;
use crate::engine::{BodyStore, StoredBody};
use crate::mail::MailHandle;

/// Bytes of the log read at a time: what the caches of a core hold.
const READ_BYTES: usize = 512 * 1024;

/// Bodies that are read together.
const TOGETHER: usize = 256;

/// Puts the bodies of unfinished messages that a state knows into a store that begins anew: from
/// the log, as far as it goes back, else from what can be read of the store before. What is nowhere
/// becomes a dead letter when its message is to be given. Answers which were looked for.
pub(in crate::dataset) fn restore(
    dataset: &Name,
    state: &State,
    log: &dyn LogReader,
    before: &dyn BodyStore,
    handle: &MailHandle,
) -> Result<Vec<Seq>, OpenError> {
    let messages = state.mail.messages_after(Seq::ZERO);
    let mut missing: BTreeSet<Seq> =
        messages.filter(|(_, message)| has_body(message)).map(|(seq, _)| seq).collect();
    missing.retain(|seq| !handle.bodies.is_in_memory(*seq));
    if missing.is_empty() {
        handle.bodies.restored();
        return Ok(vec![]);
    }
    let wanted: Vec<Seq> = missing.iter().copied().collect();
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
                    handle.bodies.put(seq, body);
                }
            }
            handle.bodies.spill_surplus()?;
        }
    }
    let rest: Vec<Seq> = missing.iter().copied().collect();
    for seqs in rest.chunks(TOGETHER) {
        // One page that is no good does not hold up the others. What is lost is counted below.
        let found = before.read(seqs).unwrap_or_else(|_| {
            let each = seqs.iter().map(|seq| before.read(&[*seq]).ok()?.pop());
            each.map(|found| found.unwrap_or(StoredBody::Damaged)).collect()
        });
        for (seq, body) in seqs.iter().zip(found) {
            if let StoredBody::Whole(body) = body {
                missing.remove(seq);
                handle.bodies.put(*seq, body);
            }
        }
        handle.bodies.spill_surplus()?;
    }
    handle.bodies.restored();
    let lost = missing.len();
    tracing::warn!(%dataset, restored = wanted.len() - lost, lost, "bodies of messages begin anew");
    if lost > 0 {
        tracing::error!(%dataset, lost, "bodies of messages are lost: they become dead letters");
    }
    Ok(wanted)
}

/// True when a message has a body still.
pub(in crate::dataset) fn is_unfinished(state: &State, seq: Seq) -> bool {
    state.mail.message(seq).is_some_and(|message| has_body(&message))
}

fn has_body(message: &Message) -> bool {
    matches!(message.status, Status::Pending | Status::Dead)
}
