//! The world of mail: as designed it breaks nothing, and every mistake in it is seen.

use instep_sim::judged::check;
use instep_sim::mail::fact::{Fact, Noted};
use instep_sim::mail::{self, FAULTS, STEPS, checker};

/// Seeds within which a fault must show.
const SEEDS: u64 = 250;

#[test]
fn i34_to_i47_as_designed_no_seed_breaks_a_law_of_mail() {
    for seed in 0..300 {
        let outcome = mail::seed(seed, STEPS, None);
        assert!(outcome.findings.is_empty(), "{outcome}");
    }
}

#[test]
fn the_same_seed_gives_the_same_mail() {
    for seed in 0..20 {
        let digests = [(); 2].map(|()| mail::seed(seed, STEPS, None).digest());
        assert_eq!(digests[0], digests[1], "seed {seed}");
    }
}

#[test]
fn every_fault_in_mail_is_caught_by_its_checker() {
    let missed = FAULTS.iter().filter(|(fault, _, checker)| {
        !(0..SEEDS).any(|seed| mail::seed(seed, STEPS, Some(*fault)).is_caught_by(checker))
    });
    let missed: Vec<_> = missed.map(|(_, name, checker)| (name, checker)).collect();

    assert_eq!(missed, []);
}

/// Everything that is worth looking for happens within the seeds.
#[test]
fn the_world_of_mail_is_full_of_trouble() {
    let (mut asked, mut fenced, mut restarts, mut moved, mut expired, mut died) =
        (0, 0, 0, 0, 0, 0);
    for seed in 0..100 {
        for fact in mail::seed(seed, STEPS, None).facts {
            match &fact {
                Fact::Asked { .. } => asked += 1,
                Fact::Judged { outcome: 2 | 3, .. } => fenced += 1,
                Fact::Restarted => restarts += 1,
                Fact::Stored { commits, .. } => {
                    let text = format!("{commits:?}");
                    moved += usize::from(text.contains("Moved"));
                    expired += usize::from(text.contains("Expired"));
                    died += usize::from(text.contains("DeadLettered"));
                }
                _ => {}
            }
        }
    }

    for (what, count) in [
        ("asked", asked),
        ("fenced", fenced),
        ("restarts", restarts),
        ("moved", moved),
        ("expired", expired),
        ("died", died),
    ] {
        assert!(count >= 3, "{what}: {count}");
    }
}

#[test]
fn a_message_that_ends_twice_is_seen() {
    let mut facts = mail::seed(1, STEPS, None).facts;
    let ends = |noted: &Noted| format!("{noted:?}").starts_with("Mail(Confirmed");
    for fact in &mut facts {
        let Fact::Stored { commits, .. } = fact else { continue };
        for commit in commits {
            if let Some(end) = commit.iter().find(|noted| ends(noted)).cloned() {
                commit.push(end);
            }
        }
    }

    let found: Vec<_> =
        check(checker::CHECKERS, &facts).into_iter().map(|(name, _, _)| name).collect();
    assert!(found.contains(&"a_message_ends_once"), "{found:?}");
}

#[test]
fn a_message_that_expires_too_early_is_found() {
    let mut facts: Vec<Fact> =
        (0..10).flat_map(|seed| mail::seed(seed, STEPS, None).facts).collect();
    let first = facts.iter().position(|fact| {
        matches!(fact, Fact::Stored { commits, .. } if format!("{commits:?}").contains("Expired"))
    });
    let first = first.expect("something expires");
    let from = facts[..first].iter().rposition(|f| *f == Fact::Rested).map_or(0, |at| at + 1);
    facts = facts[from..=first].to_vec();
    if let Some(Fact::Stored { time_ms, .. }) = facts.last_mut() {
        *time_ms = 1;
    }

    let found: Vec<_> =
        check(checker::CHECKERS, &facts).into_iter().map(|(name, _, _)| name).collect();
    assert!(found.contains(&"no_message_expires_before_its_time"), "{found:?}");
}
