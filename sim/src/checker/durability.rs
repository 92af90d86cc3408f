//! Durability, visibility, and the state after failures.

use std::collections::BTreeMap;

use instep_model::position::Position;

use super::{Case, none_of, violation};
use crate::history::{Answer, Event, JoinAnswer, ReadOutcome, Source};
use crate::timeline::Violation;

/// Law 1: a crash never leaves a disk that cannot be opened.
pub(super) fn it_always_comes_up_again(case: &Case<'_>) -> Result<(), Violation> {
    for (at, event) in case.history.iter().enumerate() {
        if let Event::NotRecovered { reason } = event {
            return Err(violation(at, format!("it did not come up: {reason}")));
        }
    }
    Ok(())
}

/// Law 1, I37: acknowledged commits are there after every recovery.
pub(super) fn acknowledged_commits_survive(case: &Case<'_>) -> Result<(), Violation> {
    let mut acknowledged: Option<Position> = None;
    for (at, event) in case.history.iter().enumerate() {
        match event {
            Event::Began { .. } => acknowledged = None,
            Event::Answered { answer: Answer::Committed { position, .. }, .. } => {
                let same = acknowledged.and_then(|known| known.place_in(position.incarnation));
                if same.is_none_or(|known| known < position.place) {
                    acknowledged = Some(*position);
                }
            }
            Event::Recovered { position, .. } => {
                let Some(known) = acknowledged else { continue };
                if known.place_in(position.incarnation).is_none_or(|known| known > position.place) {
                    let what = format!("{known} was acknowledged, recovered is only {position}");
                    return Err(violation(at, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Law 2, I37: every change that a reader is told lies in an entry that was durable before.
pub(super) fn nothing_is_visible_before_it_is_durable(case: &Case<'_>) -> Result<(), Violation> {
    for (at, event) in case.history.iter().enumerate() {
        let Some(position) = position_in(event) else {
            continue;
        };
        if position.place.revision.0 == 0 {
            continue;
        }
        let line = case.timeline.line(position.incarnation);
        let stored = line.and_then(|line| line.entries.get(&position.place.revision));
        if stored.is_none_or(|(_, stored)| *stored > at) {
            let what = format!("{position} was seen, but is not durable");
            return Err(violation(at, what));
        }
    }
    Ok(())
}

/// I5: a revision that could once be read never has another content, also after a crash.
pub(super) fn a_revision_has_one_content(case: &Case<'_>) -> Result<(), Violation> {
    none_of(&case.timeline.rewritten)
}

/// I3, I36: entries become readable one after the other.
pub(super) fn revisions_have_no_gap(case: &Case<'_>) -> Result<(), Violation> {
    none_of(&case.timeline.gaps)?;
    none_of(&case.timeline.nonsense)
}

/// Law 8: after a failed write nothing more is stored or acknowledged until a recovery.
pub(super) fn a_failed_write_stops_the_dataset(case: &Case<'_>) -> Result<(), Violation> {
    let mut failed = false;
    for (at, event) in case.history.iter().enumerate() {
        match event {
            Event::Failed { .. } => failed = true,
            // A recovery begins with the entries that it found.
            Event::DeadLettered { .. } | Event::Began { .. } => failed = false,
            Event::Stored { .. } if failed => {
                return Err(violation(at, "an entry was stored after the log had failed"));
            }
            Event::Answered { answer, .. } if failed => {
                // What was durable before can still be said, and so can what is wrong anyway.
                let stopped = match answer {
                    Answer::Committed { replayed, .. } => *replayed,
                    Answer::Refused { code } => {
                        code != "storage_full" && code != "resources_exhausted"
                    }
                };
                if !stopped {
                    let what = format!("the log had failed, but the answer was {answer:?}");
                    return Err(violation(at, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// I7, I28: a read brings every entry it could, or says why not.
pub(super) fn a_read_is_whole_or_trimmed(case: &Case<'_>) -> Result<(), Violation> {
    let mut incarnation = None;
    for (at, event) in case.history.iter().enumerate() {
        match event {
            Event::Began { incarnation: new, .. } => incarnation = Some(*new),
            Event::Read { from, floor, head, outcome } => {
                let line = incarnation.and_then(|known| case.timeline.line(known));
                let right = match outcome {
                    ReadOutcome::Trimmed => from < floor,
                    ReadOutcome::Ahead => *from > head.next(),
                    ReadOutcome::Failed { .. } => false,
                    ReadOutcome::Entries { entries } => {
                        let numbers = (from.0..).zip(entries);
                        let known = |revision, digest| {
                            let entry = line.and_then(|line| line.entries.get(revision));
                            entry.is_some_and(|(known, _)| known == digest)
                        };
                        *from >= *floor
                            && *from <= head.next()
                            && from.0 + entries.len() as u64 == head.0 + 1
                            && numbers.into_iter().all(|(n, (r, d))| n == r.0 && known(r, d))
                    }
                };
                if !right {
                    let what = format!("reading {from} of {floor}..={head} gave {outcome:?}");
                    return Err(violation(at, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Law 6, I15: whatever is bounded stays below its bound.
pub(super) fn limits_are_kept(case: &Case<'_>) -> Result<(), Violation> {
    for (at, event) in case.history.iter().enumerate() {
        if let Event::Held { what, count, limit } = event
            && count > limit
        {
            return Err(violation(at, format!("{what} holds {count}, allowed are {limit}")));
        }
    }
    Ok(())
}

fn position_in(event: &Event) -> Option<Position> {
    match event {
        Event::Answered { answer: Answer::Committed { position, .. }, .. }
        | Event::At { position, .. }
        | Event::Memory { position, source: Source::Served, .. } => Some(*position),
        Event::Joined { answer: JoinAnswer::Accepted { position, .. }, .. } => *position,
        _ => None,
    }
}

/// Law 1: a dataset that was made is there at every start, whole, until it is removed; one whose
/// making or removal was not acknowledged is there whole or not at all.
pub(super) fn a_dataset_is_whole_or_gone(case: &Case<'_>) -> Result<(), Violation> {
    /// Entries, if it may be there; whether it must be.
    type Known = (u64, bool);
    let mut known: BTreeMap<&str, Known> = BTreeMap::new();
    for (at, event) in case.history.iter().enumerate() {
        match event {
            Event::DatasetMade { dataset, entries, done } => {
                known.insert(dataset, (*entries, *done));
            }
            Event::DatasetRemoved { dataset, done: true } => {
                known.remove(dataset.as_str());
            }
            Event::DatasetRemoved { dataset, done: false } => {
                known.entry(dataset).and_modify(|(_, must)| *must = false);
            }
            Event::DatasetsFound { datasets } => {
                for (name, found) in datasets {
                    let wanted = known.get(name.as_str()).map(|(entries, _)| *entries);
                    if wanted.is_none() || *found != wanted {
                        let what = format!("{name} has {found:?} entries, not {wanted:?}");
                        return Err(violation(at, what));
                    }
                }
                let lost =
                    known.iter().find(|(name, (_, must))| *must && !datasets.contains_key(**name));
                if let Some((name, _)) = lost {
                    return Err(violation(at, format!("{name} was made, and is gone")));
                }
                known.retain(|name, _| datasets.contains_key(*name));
                known.values_mut().for_each(|(_, must)| *must = true);
            }
            _ => {}
        }
    }
    Ok(())
}
