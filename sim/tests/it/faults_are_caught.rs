//! Every fault is caught within a bounded number of seeds, by the checker that is there for it.

use instep_sim::fault::{FAULTS, Fault, SAME_SEED};
use instep_sim::run::{self, STEPS};

/// Seeds within which a fault must show.
const SEEDS: u64 = 250;

#[test]
fn every_fault_is_caught_by_its_checker() {
    let missed: Vec<_> = FAULTS
        .iter()
        .filter(|(fault, _, checker)| {
            let mut seeds = 0..SEEDS;
            !seeds.any(|seed| is_caught(seed, *fault, checker))
        })
        .map(|(_, name, checker)| format!("{name} was not caught by {checker}"))
        .collect();

    assert_eq!(missed, Vec::<String>::new());
}

fn is_caught(seed: u64, fault: Fault, checker: &str) -> bool {
    let outcome = run::seed(seed, STEPS, Some(fault));
    if checker == SAME_SEED {
        return outcome.digest() != run::seed(seed, STEPS, Some(fault)).digest();
    }
    outcome.is_caught_by(checker)
}
