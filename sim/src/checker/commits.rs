//! Effects of proposals, how often each takes effect, and the answers to their clients.

use std::collections::BTreeMap;

use instep_model::limits::ID_MEMORY_MS;
use instep_model::position::{Incarnation, Place};
use serde_json::Value;
use uuid::Uuid;

use super::{Case, violation};
use crate::history::{Answer, Event};
use crate::oracle::Oracle;
use crate::timeline::{Lineage, Request, Violation};

/// Refusals that say nothing about the state that the proposal met.
const NOT_OF_THE_STATE: [&str; 8] = [
    "id_conflict",
    "id_expired",
    "id_invalid",
    "overloaded",
    "resources_exhausted",
    "storage_full",
    "stopped",
    "outcome_unknown",
];

/// Law 5, I45: one principal's id is in one history at most once, for ever.
pub(super) fn an_id_takes_effect_at_most_once(case: &Case<'_>) -> Result<(), Violation> {
    for (_, line) in case.timeline.lines() {
        let mut seen = BTreeMap::new();
        for (place, known) in &line.commits {
            let Some(commit_id) = &known.commit.commit_id else {
                continue;
            };
            if let Some(first) = seen.insert(commit_id.clone(), place) {
                let (principal, id) = commit_id;
                let what = format!("{principal}'s {id} took effect at {first:?} and {place:?}");
                return Err(violation(known.event, what));
            }
        }
    }
    Ok(())
}

/// Law 5: every reply to one id in one history names the same place and the same results, and
/// they are those of the commit.
pub(super) fn a_reply_is_replayed_equal(case: &Case<'_>) -> Result<(), Violation> {
    let mut first = BTreeMap::new();
    for request in &case.timeline.requests {
        let Some((at, position, results)) = committed(request) else {
            continue;
        };
        let line = case.timeline.line(position.incarnation);
        let stored = line.and_then(|line| line.commits.get(&position.place));
        let computed = stored.map(|known| meaningful(&known.commit.results));
        if computed.as_deref() != Some(&meaningful(results)) {
            let what = format!("the reply says {results:?}, the commit {computed:?}");
            return Err(violation(at, what));
        }
        let Some(commit_id) = &request.commit_id else {
            continue;
        };
        if stored.and_then(|known| known.commit.commit_id.as_ref()) != Some(commit_id) {
            let what = format!("the commit at {position} is not that of {commit_id:?}");
            return Err(violation(at, what));
        }
        let key = (position.incarnation.0, commit_id.clone());
        let known = first.entry(key).or_insert((position, results));
        if *known != (position, results) {
            let what = format!("{commit_id:?} was told {known:?}, then {position} {results:?}");
            return Err(violation(at, what));
        }
    }
    Ok(())
}

/// Law 5: an id that took effect is never acknowledged for other operations.
pub(super) fn an_id_with_another_body_is_refused(case: &Case<'_>) -> Result<(), Violation> {
    let mut bodies: BTreeMap<_, &[Value]> = BTreeMap::new();
    for request in &case.timeline.requests {
        let (Some((at, position, _)), Some(commit_id)) = (committed(request), &request.commit_id)
        else {
            continue;
        };
        let key = (position.incarnation.0, commit_id.clone());
        let body = *bodies.entry(key).or_insert(request.operations);
        if body != request.operations {
            let what = format!("{commit_id:?} was acknowledged for two bodies");
            return Err(violation(at, what));
        }
    }
    Ok(())
}

/// Law 5, law 7: an id that was never used, of a time that the clock showed while it was judged, is
/// not too old and not of the future, whatever the clock said before. Only who made a commit when
/// the clock was a day ahead may have lost ids of that time which it did not use.
pub(super) fn an_id_is_judged_by_the_clock(case: &Case<'_>) -> Result<(), Violation> {
    const NEAR_MS: u64 = 60_000;
    let clock = case.history.iter().enumerate().filter_map(|(at, event)| match event {
        Event::Clock { now_ms } => Some((at, *now_ms)),
        _ => None,
    });
    let clock: BTreeMap<usize, u64> = clock.collect();
    let used = case.timeline.lines().flat_map(|(_, line)| line.commits.values());
    let used: BTreeMap<_, _> =
        used.filter_map(|known| Some((known.commit.commit_id.as_ref()?, known.event))).collect();
    for request in &case.timeline.requests {
        let (Some((at, Answer::Refused { code })), Some(commit_id)) =
            (request.answer, &request.commit_id)
        else {
            continue;
        };
        if !["id_expired", "id_invalid"].contains(&code.as_str()) || used.contains_key(commit_id) {
            continue;
        }
        let before = clock.range(..request.event).next_back();
        let mut shown = before.into_iter().chain(clock.range(request.event..at)).peekable();
        let id_ms = time_in(commit_id.1);
        let is_known = shown.peek().is_some();
        let mut others = used.iter().filter(|((who, id), at)| {
            let then = clock.range(..**at).next_back().map_or(0, |(_, now_ms)| *now_ms);
            let then = then.max(time_in(*id));
            *who == commit_id.0 && then > id_ms + ID_MEMORY_MS && **at < request.event
        });
        if is_known
            && others.next().is_none()
            && shown.all(|(_, now_ms)| now_ms.abs_diff(id_ms) <= NEAR_MS)
        {
            return Err(violation(at, format!("{commit_id:?} is of now, and was {code}")));
        }
    }
    Ok(())
}

fn time_in(id: Uuid) -> u64 {
    (id.as_u128() >> 80) as u64
}

/// Law 8, I4: a proposal that was certainly refused never appears, unless it is tried again.
pub(super) fn refused_operations_leave_nothing(case: &Case<'_>) -> Result<(), Violation> {
    let mut attempts: BTreeMap<_, Vec<&Request<'_>>> = BTreeMap::new();
    for request in &case.timeline.requests {
        if let Some(commit_id) = &request.commit_id {
            attempts.entry(commit_id).or_default().push(request);
        }
    }
    for (_, line) in case.timeline.lines() {
        let signed = line.commits.values();
        for known in signed {
            let Some(requests) = known.commit.commit_id.as_ref().and_then(|s| attempts.get(s))
            else {
                continue;
            };
            let refused = |request: &&Request<'_>| match request.answer {
                Some((_, Answer::Refused { code })) => code != "outcome_unknown",
                _ => false,
            };
            if requests.iter().all(refused) {
                let what = format!("{:?} was refused, but is stored", known.commit.commit_id);
                return Err(violation(known.event, what));
            }
        }
    }
    Ok(())
}

/// I4, I32: each commit did what its operations say, all of it, to the state before it.
pub(super) fn records_are_what_the_operations_say(case: &Case<'_>) -> Result<(), Violation> {
    for_each_known_commit(case, |known| {
        let judged = known.before.judge(known.operations, known.place, known.incarnation);
        let right = match &judged {
            Ok((after, results)) => after == known.after && results == known.results,
            Err(_) => false,
        };
        if right {
            return Ok(());
        }
        let should = judged.map(|(_, results)| results);
        let what = format!(
            "{:?} at {:?} should have given {should:?}, it gave {:?}",
            known.operations, known.place, known.results
        );
        Err(violation(known.event, what))
    })
}

/// I4: no bounded add ever leaves its bounds, whichever commits raced it.
pub(super) fn a_bounded_add_stays_in_its_bounds(case: &Case<'_>) -> Result<(), Violation> {
    for_each_known_commit(case, |known| {
        for operation in known.operations.iter().filter(|one| one["op"] == "add") {
            let text = |name: &str| operation[name].as_str().unwrap_or_default();
            let (table, key, field) = (text("table"), text("key"), text("field"));
            let value = known.after.integer(table, key, field);
            let low = operation["min"].as_i64().filter(|min| value.is_some_and(|v| v < *min));
            if let Some(min) = low {
                let what = format!("{field} of {table}/{key} is {value:?}, below {min}");
                return Err(violation(known.event, what));
            }
        }
        Ok(())
    })
}

/// I32: a refusal is right for some state between the proposal and its answer; in particular no
/// answer depends on a batch that was never durable.
pub(super) fn a_refusal_has_its_reason(case: &Case<'_>) -> Result<(), Violation> {
    for request in &case.timeline.requests {
        let (Some((at, Answer::Refused { code })), Some(incarnation)) =
            (request.answer, request.incarnation)
        else {
            continue;
        };
        if NOT_OF_THE_STATE.contains(&code.as_str()) {
            continue;
        }
        let Some(line) = case.timeline.line(incarnation) else {
            continue;
        };
        let explains = |(place, state): (&Place, &Oracle)| {
            let next = Place { revision: place.revision.next(), index: 0 };
            state.judge(request.operations, next, incarnation).err() == Some(code)
        };
        if !states_between(line, request.event, at).any(explains) {
            let what = format!("{:?} was refused {code} for no reason", request.operations);
            return Err(violation(at, what));
        }
    }
    Ok(())
}

/// The states that were current at some time between two events.
fn states_between(
    line: &Lineage,
    from: usize,
    to: usize,
) -> impl Iterator<Item = (&Place, &Oracle)> {
    let stored = |place: &Place| line.commits.get(place).map_or(0, |known| known.event);
    let oldest = line.states.keys().rev().find(|place| stored(place) <= from);
    let oldest = oldest.copied().unwrap_or_default();
    line.states.range(oldest..).filter(move |(place, _)| stored(place) <= to)
}

struct KnownCommit<'a> {
    event: usize,
    incarnation: Incarnation,
    place: Place,
    before: &'a Oracle,
    after: &'a Oracle,
    results: &'a [Option<i64>],
    operations: &'a [Value],
}

/// Every commit whose operations are known, by its id or by the reply to it.
fn for_each_known_commit(
    case: &Case<'_>,
    mut judge: impl FnMut(&KnownCommit<'_>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut by_id: BTreeMap<_, Vec<&Request<'_>>> = BTreeMap::new();
    let mut by_place: BTreeMap<_, &Request<'_>> = BTreeMap::new();
    for request in &case.timeline.requests {
        if let Some((_, position, _)) = committed(request) {
            let key = (position.incarnation.0, position.place);
            by_place.entry(key).or_insert(request);
        }
        if let Some(commit_id) = &request.commit_id {
            by_id.entry(commit_id).or_default().push(request);
        }
    }
    for (incarnation, line) in case.timeline.lines() {
        let copied = line.copied.map_or(0, |(_, up_to)| up_to.0);
        let mut before = line.states.get(&Place::default());
        for (place, known) in &line.commits {
            let after = line.states.get(place);
            let (Some(was), Some(after)) = (std::mem::replace(&mut before, after), after) else {
                continue;
            };
            let answered = by_place.get(&(incarnation.0, *place)).copied();
            // Without an answer the id tells, but only if it was never used for two bodies.
            let named = known.commit.commit_id.as_ref().and_then(|s| by_id.get(s));
            let named = named.and_then(|all| {
                let first = all.first()?;
                let same = all.iter().all(|one| one.operations == first.operations);
                same.then_some(*first)
            });
            let Some(request) = answered.or(named) else {
                continue;
            };
            if place.revision.0 <= copied {
                continue;
            }
            judge(&KnownCommit {
                event: known.event,
                incarnation,
                place: *place,
                before: was,
                after,
                results: &known.commit.results,
                operations: request.operations,
            })?;
        }
    }
    Ok(())
}

fn committed<'a>(
    request: &Request<'a>,
) -> Option<(usize, instep_model::position::Position, &'a [Option<i64>])> {
    match request.answer? {
        (at, Answer::Committed { position, results, .. }) => Some((at, *position, results)),
        _ => None,
    }
}

/// Results without the information that there were none.
fn meaningful(results: &[Option<i64>]) -> Vec<Option<i64>> {
    if results.iter().any(Option::is_some) { results.to_vec() } else { Vec::new() }
}
