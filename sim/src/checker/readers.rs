//! Subscribers: the view of each is rebuilt here from its messages.

use std::collections::BTreeMap;

use instep_model::position::{Incarnation, Position};

use super::{Case, violation};
use crate::history::{By, Event, JoinAnswer, Rows};
use crate::timeline::Violation;

/// A subscriber, as it can be known from outside.
#[derive(Default)]
struct Reader {
    topic: String,
    rows: Rows,
    position: Option<Position>,
    /// The rows of a snapshot that is on its way. They replace the others when it is complete
    /// (I13): a client that loses its connection before that still has what it had.
    fresh: Rows,
    mode: String,
    /// The join is complete.
    joined: bool,
    /// Something was told since the last position.
    untold: bool,
}

/// Meaning of an event for its subscriber.
enum Moment<'a> {
    /// It was told that it is complete.
    At(&'a Reader, Position, By),
    /// It has everything there is.
    Settled(&'a Reader, Position),
    /// Nothing to judge.
    Other,
}

fn replay(
    case: &Case<'_>,
    mut judge: impl FnMut(usize, Moment<'_>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut readers: BTreeMap<u32, Reader> = BTreeMap::new();
    for (at, event) in case.history.iter().enumerate() {
        let moment = match event {
            Event::Joined { reader, topic, answer: JoinAnswer::Accepted { mode, .. }, .. } => {
                let reader = readers.entry(*reader).or_default();
                reader.topic.clone_from(topic);
                reader.mode.clone_from(mode);
                reader.fresh.clear();
                reader.joined = false;
                Moment::Other
            }
            Event::Lagged { reader, mode } => {
                let reader = readers.entry(*reader).or_default();
                reader.mode.clone_from(mode);
                reader.fresh.clear();
                reader.joined = false;
                Moment::Other
            }
            Event::Cleared { reader } => {
                readers.entry(*reader).or_default().rows.clear();
                Moment::Other
            }
            Event::Told { reader, key, row } => {
                let reader = readers.entry(*reader).or_default();
                reader.untold = true;
                let filling = !reader.joined && reader.mode != "resume";
                let rows = if filling { &mut reader.fresh } else { &mut reader.rows };
                match row {
                    Some(row) => rows.insert(key.clone(), row.clone()),
                    None => rows.remove(key),
                };
                Moment::Other
            }
            Event::At { reader, position, by } => {
                let reader = readers.entry(*reader).or_default();
                if !reader.joined && reader.mode != "resume" {
                    reader.rows = std::mem::take(&mut reader.fresh);
                }
                judge(at, Moment::At(reader, *position, *by))?;
                reader.position = Some(*position);
                reader.joined = true;
                reader.untold = false;
                Moment::Other
            }
            Event::Settled { reader, position } => {
                Moment::Settled(readers.entry(*reader).or_default(), *position)
            }
            _ => Moment::Other,
        };
        judge(at, moment)?;
    }
    Ok(())
}

/// Law 3, I4, I8, I10, I12, I23: at every position that a subscriber is given by a frame or by
/// the answer to its join, it holds what a query over the table gives there.
pub(super) fn each_position_shows_the_table(case: &Case<'_>) -> Result<(), Violation> {
    replay(case, |at, moment| match moment {
        Moment::At(reader, position, By::Frame | By::Reply) => {
            compare(case, at, &reader.topic, position, &reader.rows)
        }
        _ => Ok(()),
    })
}

/// I16: a bookmark comes after everything that happened on its topic before it.
pub(super) fn a_bookmark_follows_its_events(case: &Case<'_>) -> Result<(), Violation> {
    replay(case, |at, moment| match moment {
        Moment::At(reader, position, By::Bookmark) => {
            compare(case, at, &reader.topic, position, &reader.rows)
        }
        _ => Ok(()),
    })
}

/// Law 9, I10, I16: a subscriber that takes everything has everything, whatever others do.
pub(super) fn a_slow_reader_costs_only_itself(case: &Case<'_>) -> Result<(), Violation> {
    replay(case, |at, moment| match moment {
        Moment::Settled(reader, position) => {
            compare(case, at, &reader.topic, position, &reader.rows)
        }
        _ => Ok(()),
    })
}

/// Law 3, I8, I12: a snapshot or a reset alone is the whole topic, without earlier rows.
pub(super) fn a_join_brings_everything_or_what_is_new(case: &Case<'_>) -> Result<(), Violation> {
    replay(case, |at, moment| match moment {
        Moment::At(reader, position, _) if !reader.joined && reader.mode != "resume" => {
            compare(case, at, &reader.topic, position, &reader.rows)
        }
        _ => Ok(()),
    })
}

/// I4, I10: nothing of a commit follows the frame that carries the commit's position.
pub(super) fn only_the_last_frame_of_a_commit_is_a_boundary(
    case: &Case<'_>,
) -> Result<(), Violation> {
    replay(case, |at, moment| match moment {
        Moment::At(reader, position, By::Frame) if reader.joined && reader.untold => {
            if reader.position == Some(position) {
                return Err(violation(at, format!("{position} was complete, then went on")));
            }
            Ok(())
        }
        _ => Ok(()),
    })
}

/// Law 3, I19, I20: within one history the position of a subscriber only moves forward.
pub(super) fn a_reader_never_goes_back(case: &Case<'_>) -> Result<(), Violation> {
    replay(case, |at, moment| match moment {
        Moment::At(reader, position, _) => {
            let before = reader.position;
            let before = before.and_then(|before| before.place_in(position.incarnation));
            match before.filter(|before| *before > position.place) {
                Some(before) => Err(violation(at, format!("from {before:?} back to {position}"))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    })
}

/// Law 4, I1, I2, I7: only a position of this very history can be resumed, and none ahead of it.
pub(super) fn another_history_is_a_reset(case: &Case<'_>) -> Result<(), Violation> {
    let mut current: Option<Incarnation> = None;
    for (at, event) in case.history.iter().enumerate() {
        match event {
            Event::Began { incarnation, .. } => current = Some(*incarnation),
            Event::Joined {
                since, answer: JoinAnswer::Accepted { mode, position, .. }, ..
            } => {
                let here = |position: &Position| Some(position.incarnation) == current;
                if let Some(position) = position.filter(|position| !here(position)) {
                    return Err(violation(at, format!("{position} is of another history")));
                }
                let since = since.as_ref().map(|text| text.parse::<Position>().ok());
                let right = match (mode.as_str(), since) {
                    ("snapshot", None) | ("reset", Some(_)) => true,
                    ("resume", Some(Some(since))) => {
                        here(&since) && position.is_some_and(|at| since.place <= at.place)
                    }
                    _ => false,
                };
                if !right {
                    let what = format!("a join since {since:?} was a {mode} at {position:?}");
                    return Err(violation(at, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// I6: within one history the order of positions is the order of their texts.
pub(super) fn positions_sort_as_text(case: &Case<'_>) -> Result<(), Violation> {
    let mut before: BTreeMap<u32, Position> = BTreeMap::new();
    for (at, event) in case.history.iter().enumerate() {
        let Event::At { reader, position, .. } = event else {
            continue;
        };
        if let Some(before) = before.insert(*reader, *position)
            && let Some(place) = before.place_in(position.incarnation)
        {
            let (was, is) = (before.to_string(), position.to_string());
            if was.cmp(&is) != place.cmp(&position.place) {
                return Err(violation(at, format!("{was} and {is} sort wrongly")));
            }
        }
    }
    Ok(())
}

fn compare(
    case: &Case<'_>,
    at: usize,
    topic: &str,
    position: Position,
    held: &Rows,
) -> Result<(), Violation> {
    let Some(oracle) = case.timeline.at(position) else {
        // Another checker says that this is not durable.
        return Ok(());
    };
    // A table that is gone or not public any more shows nothing.
    let declared = case.timeline.declared(at);
    let wanted = oracle.rows_on(topic, case.topics, declared).unwrap_or_default();
    if wanted == *held {
        return Ok(());
    }
    let differs = |key: &&String| wanted.get(*key) != held.get(*key);
    let key = wanted.keys().chain(held.keys()).find(differs);
    let key = key.cloned().unwrap_or_default();
    let what = format!(
        "{topic} at {position}: {key} is {:?}, should be {:?}",
        held.get(&key),
        wanted.get(&key)
    );
    Err(violation(at, what))
}
