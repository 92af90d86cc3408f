//! Memory of a node, and its sources.

use instep_model::position::Position;

use super::{Case, violation};
use crate::history::{Event, Source};
use crate::timeline::Violation;

/// Law 10, I32: what readers see is the fold of the durable log up to that place.
pub(super) fn memory_is_the_fold_of_the_log(case: &Case<'_>) -> Result<(), Violation> {
    compare(case, Source::Served)
}

/// I8: any snapshot with the entries after it adds up to what the whole log adds up to.
pub(super) fn snapshot_and_tail_are_the_whole(case: &Case<'_>) -> Result<(), Violation> {
    compare(case, Source::SnapshotAndTail)
}

fn compare(case: &Case<'_>, wanted: Source) -> Result<(), Violation> {
    for (at, event) in case.history.iter().enumerate() {
        let Event::Memory { position, source, tables, journals } = event else {
            continue;
        };
        if *source != wanted {
            continue;
        }
        let Some(oracle) = case.timeline.at(*position) else {
            return Err(violation(at, format!("memory is at {position}, the log is not")));
        };
        if oracle.tables() != *tables {
            let what = format!("at {position} the log gives {:?}", oracle.tables());
            return Err(violation(at, what));
        }
        if oracle.journals != *journals {
            let what = format!("at {position} the log gives {:?}", oracle.journals);
            return Err(violation(at, what));
        }
    }
    Ok(())
}

/// I20, I33: an entry that comes a second time is refused or changes nothing.
pub(super) fn folding_twice_changes_nothing(case: &Case<'_>) -> Result<(), Violation> {
    for (at, event) in case.history.iter().enumerate() {
        if let Event::Refolded { revision, harmless: false } = event {
            return Err(violation(at, format!("entry {revision} took effect twice")));
        }
    }
    Ok(())
}

/// I14, I19: what a node serves never gets older, crashes and rebuilds included.
pub(super) fn served_revisions_never_go_back(case: &Case<'_>) -> Result<(), Violation> {
    let mut newest: Option<Position> = None;
    for (at, event) in case.history.iter().enumerate() {
        let (Event::Memory { position, source: Source::Served, .. }
        | Event::Recovered { position, .. }) = event
        else {
            continue;
        };
        let before = newest.and_then(|newest| newest.place_in(position.incarnation));
        if before.is_some_and(|before| before > position.place) {
            return Err(violation(at, format!("{position} is older than {before:?}")));
        }
        newest = Some(*position);
    }
    Ok(())
}
