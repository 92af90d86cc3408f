//! The checkers: each law and invariant once, as a function over a recorded history.
//!
//! A checker never looks at the machines. Its input is a list of facts, so the same functions judge
//! a simulated run and a run of real processes that were killed.

use crate::history::Event;
use crate::oracle::Topics;
use crate::timeline::{Timeline, Violation};

mod commits;
mod durability;
mod memory;
mod readers;

/// Case that the checkers judge.
pub struct Case<'a> {
    /// History: the events of the run.
    pub history: &'a [Event],
    /// Timeline of the same events, sorted by place.
    pub timeline: Timeline<'a>,
    /// Topics and their views.
    pub topics: &'a Topics,
}

/// A named rule over histories.
pub struct Checker {
    /// Its name, a sentence.
    pub name: &'static str,
    /// The laws and invariants that it guards.
    pub guards: &'static str,
    /// The rule.
    pub check: fn(&Case<'_>) -> Result<(), Violation>,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The checker.
    pub checker: &'static str,
    /// Violation that it found, with its event.
    pub violation: Violation,
}

macro_rules! checkers {
    ($($module:ident :: $name:ident, $guards:literal;)*) => {
        /// Every checker, in the order in which a failure is best understood.
        pub const CHECKERS: &[Checker] = &[
            $(Checker { name: stringify!($name), guards: $guards, check: $module::$name },)*
        ];
    };
}

checkers! {
    durability::it_always_comes_up_again, "law 1";
    durability::acknowledged_commits_survive, "law 1, I37";
    durability::nothing_is_visible_before_it_is_durable, "law 2, I37";
    durability::a_revision_has_one_content, "law 1, I5";
    durability::revisions_have_no_gap, "I3, I36";
    durability::a_dataset_is_whole_or_gone, "law 1";
    durability::a_failed_write_stops_the_dataset, "law 8";
    durability::a_read_is_whole_or_trimmed, "I7, I28";
    durability::limits_are_kept, "law 6, I15";
    commits::an_id_takes_effect_at_most_once, "law 5, I45";
    commits::a_reply_is_replayed_equal, "law 5";
    commits::an_id_with_another_body_is_refused, "law 5";
    commits::an_id_is_judged_by_the_clock, "law 5, law 7";
    commits::refused_operations_leave_nothing, "law 8, I4";
    commits::records_are_what_the_operations_say, "I4, I32";
    commits::a_bounded_add_stays_in_its_bounds, "I4";
    commits::a_refusal_has_its_reason, "I32";
    memory::memory_is_the_fold_of_the_log, "law 10, I32";
    memory::snapshot_and_tail_are_the_whole, "I8";
    memory::folding_twice_changes_nothing, "I20, I33";
    memory::served_revisions_never_go_back, "I14, I19";
    readers::positions_sort_as_text, "I6";
    readers::another_history_is_a_reset, "law 4, I1, I2, I7";
    readers::a_reader_never_goes_back, "law 3, I19, I20";
    readers::only_the_last_frame_of_a_commit_is_a_boundary, "I4, I10";
    readers::a_join_brings_everything_or_what_is_new, "law 3, I8, I12";
    readers::each_position_shows_the_table, "law 3, I4, I8, I10, I12, I23";
    readers::a_bookmark_follows_its_events, "I16";
    readers::a_slow_reader_costs_only_itself, "law 9, I10, I16";
}

/// Runs every checker and returns what they found, the most telling first.
#[must_use]
pub fn check(history: &[Event], topics: &Topics) -> Vec<Finding> {
    let case = Case { history, timeline: Timeline::of(history), topics };
    let findings = CHECKERS.iter().filter_map(|checker| {
        let violation = (checker.check)(&case).err()?;
        Some(Finding { checker: checker.name, violation })
    });
    findings.collect()
}

/// A violation at an event.
fn violation(at: usize, what: impl Into<String>) -> Violation {
    Violation { at, what: what.into() }
}

/// The first violation of a list.
fn none_of(list: &[Violation]) -> Result<(), Violation> {
    list.first().cloned().map_or(Ok(()), Err)
}
