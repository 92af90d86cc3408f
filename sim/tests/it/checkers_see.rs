//! Violations that no broken shell can cause, shown to the checkers in histories that were tampered
//! with.

use instep_model::position::Position;
use instep_sim::history::{By, Event};
use instep_sim::run::{self, STEPS};

#[test]
fn an_entry_that_takes_effect_twice_is_seen() {
    let history = tampered(|event| {
        if let Event::Refolded { harmless, .. } = event {
            *harmless = false;
        }
    });

    assert_sees(&history, "folding_twice_changes_nothing");
}

#[test]
fn a_commit_that_vanishes_from_the_middle_is_seen() {
    let history =
        without(|event| matches!(event, Event::Stored { revision, .. } if revision.0 == 2));

    assert_sees(&history, "revisions_have_no_gap");
}

#[test]
fn a_row_that_a_subscriber_was_never_told_of_is_seen() {
    let history = without(|event| matches!(event, Event::Told { row: Some(_), .. }));

    let findings = run::judge(&history);
    assert!(!findings.is_empty());
}

#[test]
fn a_position_that_goes_back_is_seen() {
    let mut first: Option<Position> = None;
    let history = tampered(|event| {
        if let Event::At { position, by: By::Bookmark, .. } = event {
            let first = *first.get_or_insert(*position);
            if first.incarnation == position.incarnation {
                *position = first;
            }
        }
    });

    assert_sees(&history, "a_reader_never_goes_back");
}

#[test]
fn a_history_survives_its_json_form() {
    let history = run::seed(SEED, STEPS, None).history;

    let text = serde_json::to_string(&history).unwrap();
    let read: Vec<Event> = serde_json::from_str(&text).unwrap();

    assert_eq!(read, history);
}

/// A seed with many readers and few deaths.
const SEED: u64 = 6;

fn tampered(mut change: impl FnMut(&mut Event)) -> Vec<Event> {
    let mut history = run::seed(SEED, STEPS, None).history;
    history.iter_mut().for_each(&mut change);
    history
}

/// The history without the events of a kind.
fn without(kind: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut history = run::seed(SEED, STEPS, None).history;
    history.retain(|event| !kind(event));
    history
}

fn assert_sees(history: &[Event], checker: &str) {
    let findings = run::judge(history);
    let names: Vec<_> = findings.iter().map(|found| found.checker).collect();
    assert!(names.contains(&checker), "{checker} is not among {names:?}");
}
