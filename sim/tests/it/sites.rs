//! The world of sites: as designed it breaks nothing, and every mistake in it is seen.

use instep_sim::judged::check;
use instep_sim::sites::fact::Fact;
use instep_sim::sites::{self, FAULTS, STEPS, checker};

/// Seeds within which a fault must show.
const SEEDS: u64 = 250;

#[test]
fn i8_i9_i21_i22_i25_i26_i29_i31_i33_i36_as_designed_no_seed_breaks_a_law_of_sites() {
    for seed in 0..300 {
        let outcome = sites::seed(seed, STEPS, None);
        assert!(outcome.findings.is_empty(), "{outcome}");
    }
}

/// An older agent restored its dump between the reading of a position and the registration with it:
/// the cursor was ahead of the store for ever, and each dump that the site gave was refused.
#[test]
fn i31_a_store_that_was_set_back_is_registered_with_its_own_position() {
    let outcome = sites::seed(333, STEPS, None);

    assert!(outcome.findings.is_empty(), "{outcome}");
}

#[test]
fn the_same_seed_gives_the_same_sites() {
    for seed in 0..20 {
        let digests = [(); 2].map(|()| sites::seed(seed, STEPS, None).digest());
        assert_eq!(digests[0], digests[1], "seed {seed}");
    }
}

#[test]
fn every_fault_in_sites_is_caught_by_its_checker() {
    let missed = FAULTS.iter().filter(|(fault, _, checker)| {
        !(0..SEEDS).any(|seed| sites::seed(seed, STEPS, Some(*fault)).is_caught_by(checker))
    });
    let missed: Vec<_> = missed.map(|(_, name, checker)| (name, checker)).collect();

    assert_eq!(missed, []);
}

/// Everything that is worth looking for happens within the seeds.
#[test]
fn the_world_of_sites_is_full_of_trouble() {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for seed in 0..100 {
        let mut floor = None;
        for fact in sites::seed(seed, STEPS, None).facts {
            let text = format!("{fact:?}");
            let mut count = |what, is: bool| *counts.entry(what).or_default() += usize::from(is);
            let is_row = text.starts_with("Stored");
            count("paused", is_row && text.contains(r#""state":"paused""#));
            count("failed", is_row && text.contains(r#""state":"failed""#));
            count("evicted", is_row && text.contains(r#""state":"evicted""#));
            let is_live = is_row && text.contains(r#""state":"live""#);
            count("from a site", is_live && text.contains(r#""source":"all""#));
            count("outrun", is_row && text.contains("history outran its dump"));
            count("reset", matches!(fact, Fact::Reset { .. }));
            count("restarted", fact == Fact::Restarted);
            count("restored", matches!(fact, Fact::Restored { .. }));
            count("passed", matches!(fact, Fact::Told { commit: false, .. }));
            if let Fact::Trimmed { floor: now, evicted, .. } = fact {
                count("cut off", !evicted.is_empty());
                count("trimmed", floor.replace(now) != Some(now));
            }
        }
    }

    let rare: Vec<_> = counts.into_iter().filter(|(_, count)| *count < 20).collect();
    assert_eq!(rare, []);
}

#[test]
fn a_row_that_a_site_has_lost_is_seen() {
    let mut facts = sites::seed(1, STEPS, None).facts;
    for fact in &mut facts {
        if let Fact::Store { content, .. } = fact {
            content.tables.retain(|_, rows| rows.pop_first().is_none());
        }
    }

    let found: Vec<_> =
        check(checker::CHECKERS, &facts).into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(found, ["every_store_is_the_fold_at_its_position"]);
}
