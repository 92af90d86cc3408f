//! Entries that an owner writes, on a real disk.

use std::path::Path;
use std::sync::Arc;

use instep_embedded::log::EmbeddedLog;
use instep_embedded::real::RealDisk;
use instep_model::commit::{Operation, Proposal};
use instep_model::log::Log;
use instep_model::mirror::Mirror;
use instep_model::name::Name;
use instep_model::owner::{Effect, Event, Owner, Receipt, Refusal};
use instep_model::position::Revision;
use instep_model::state::State;
use uuid::Uuid;

use crate::world::{incarnation, options};

fn open(directory: &Path) -> EmbeddedLog {
    EmbeddedLog::open(Arc::new(RealDisk), options(directory, 2_048)).unwrap()
}

fn journal() -> Name {
    Name::new("trail").unwrap()
}

fn append(bytes: usize) -> Proposal {
    let text = Some("x".repeat(bytes));
    vec![Operation::Append { journal: journal(), text, base64: None }].into()
}

/// Proposes everything at once to an owner whose log takes entries of so many bytes.
fn commit_all(
    log: &mut EmbeddedLog,
    largest_entry: usize,
    proposals: Vec<Proposal>,
) -> Vec<Result<Receipt, Refusal>> {
    let mirror = Mirror::new(incarnation(7), State::default());
    let mut owner = Owner::new(mirror, Uuid::from_u128(2)).with_largest_entry(largest_entry);
    for (ticket, proposal) in proposals.into_iter().enumerate() {
        owner.handle(Event::Propose { ticket, proposal }, 0);
    }
    let mut answers = vec![];
    while let Some(effect) = owner.next_effect() {
        match effect {
            Effect::Append { expected, entry } => {
                assert!(entry.len() <= largest_entry, "{} bytes", entry.len());
                log.append(expected, &entry).unwrap();
                drop(entry);
                owner.handle(Event::Appended, 0);
            }
            Effect::Answer { ticket, answer } => {
                assert_eq!(ticket, answers.len(), "in the order of the proposals");
                answers.push(answer);
            }
            Effect::Publish(_) => {}
            Effect::Stop { reason } => panic!("stopped: {reason}"),
        }
    }
    answers
}

#[test]
fn a_batch_that_was_cut_for_the_log_is_whole_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let mut log = open(root.path());
    let limit = 3_000;
    let mut proposals = vec![vec![Operation::CreateJournal { journal: journal() }].into()];
    proposals.extend((0..40).map(|_| append(500)));
    proposals.insert(20, append(limit));

    let answers = commit_all(&mut log, limit, proposals);
    drop(log);

    let refused: Vec<usize> = (0..answers.len()).filter(|at| answers[*at].is_err()).collect();
    assert_eq!(refused, [20]);
    assert_eq!(answers[20].clone().unwrap_err().code(), "commit_too_large");
    let log = open(root.path());
    let mut mirror = Mirror::new(incarnation(7), State::default());
    for stored in log.reader().read(Revision(1), usize::MAX).unwrap() {
        mirror.replay(stored.revision, &stored.bytes, &mut |_, _| {}).unwrap();
    }
    let state = mirror.state();
    assert_eq!(state.journals[&journal()].last, 40);
    assert_eq!(state.applied, answers[41].clone().unwrap().position.place);
    assert!((5..20).contains(&log.bounds().head.0), "{}", log.bounds().head);
}
