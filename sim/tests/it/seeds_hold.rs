//! As designed, no seed breaks anything, and a seed says the same each time.

use instep_sim::run::{self, STEPS};

#[test]
fn as_designed_no_seed_breaks_a_law() {
    for seed in 0..300 {
        let outcome = run::seed(seed, STEPS, None);

        assert!(outcome.findings.is_empty(), "{outcome}");
    }
}

#[test]
fn law_7_the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        let (first, second) = (run::seed(seed, STEPS, None), run::seed(seed, STEPS, None));

        assert_eq!(first.digest(), second.digest(), "seed {seed}");
    }
}
