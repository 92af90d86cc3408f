//! A world of sites: writers, a server that crashes and trims, sites whose databases apply its log,
//! agents that die, overtake each other and restore backups, dumps, operators.
//!
//! Owner, fold, recovery, retention, holding, the reader of the log and the filter of a site are
//! those that the server runs; its log and snapshots are kept in memory. Events are recorded as
//! [`fact::Fact`]s, and [`checker`] judges them alone.

use instep_model::name::Name;
use instep_model::site::Scope;

mod agent;
pub mod checker;
pub mod fact;
mod server;
mod world;

use crate::judged::Judged;
use checker::CHECKERS;
use fact::Fact;

/// Steps of a seed unless something else is wanted.
pub const STEPS: usize = 1_200;

/// A mistake that a shell around the machines could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// I29: commits that are nothing but acknowledgements are told to sites.
    AckAsIncrement,
    /// I29: a site is not told of commits that it does not follow.
    SilentWhileFiltered,
    /// I9: the rows of a dump are read before its history is reserved.
    ReservationAfterDump,
    /// I8: the position of a dump is read later than its rows.
    DumpPositionLater,
    /// I31: the position is written after the data.
    PositionOutsideTheTransaction,
    /// I31: what was received is acknowledged before it is applied.
    AckBeforeCommit,
    /// I25: the log is trimmed as if there were no sites.
    TrimPastSites,
    /// I25: history is held for paused sites without a bound.
    NoCapWhilePaused,
    /// I22: a dump that history has outrun is given on.
    OutrunDumpGoesOn,
    /// I21: a site whose dump was of no use is given the same one again.
    SameDumpAgain,
    /// I36: behind a commit that a site does not follow, the next one is not read.
    FeedSkipsAfterFilter,
    /// I38: whichever registration speaks is taken for the newest.
    OldGenerationAccepted,
}

use Fault::*;

/// Every fault with its name and the checker that must catch it.
pub const FAULTS: &[(Fault, &str, &str)] = &[
    (AckAsIncrement, "site-ack-as-increment", "an_idle_log_does_not_grow"),
    (SilentWhileFiltered, "site-silent-while-filtered", "every_site_gets_there"),
    (ReservationAfterDump, "site-reservation-after-dump", "history_is_reserved_before_a_dump"),
    (DumpPositionLater, "site-dump-position-later", "every_store_is_the_fold_at_its_position"),
    (
        PositionOutsideTheTransaction,
        "site-position-outside-the-transaction",
        "every_store_is_the_fold_at_its_position",
    ),
    (AckBeforeCommit, "site-ack-before-commit", "no_cursor_is_ahead_of_its_store"),
    (TrimPastSites, "site-trim-past-sites", "needed_history_is_held_or_evicted"),
    (NoCapWhilePaused, "site-no-cap-while-paused", "held_history_is_bounded"),
    (OutrunDumpGoesOn, "site-outrun-dump-goes-on", "a_dump_that_is_outrun_fails"),
    (SameDumpAgain, "site-same-dump-again", "a_dump_of_no_use_is_not_given_again"),
    (FeedSkipsAfterFilter, "site-feed-skips-after-filter", "a_feed_skips_nothing"),
    (
        OldGenerationAccepted,
        "site-old-generation-accepted",
        "only_the_newest_registration_is_heard",
    ),
];

/// A site of the world.
#[derive(Debug)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// The only table that it follows; none: all tables and journals.
    pub table: Option<&'static str>,
    /// Source of its first content: a dump of a site, or else the log.
    pub source: Option<usize>,
}

/// The sites.
pub const SITES: &[Spec] = &[
    Spec { name: "all", table: None, source: None },
    Spec { name: "some", table: Some("a"), source: None },
    Spec { name: "copy", table: None, source: Some(0) },
];

impl Spec {
    /// Its scope.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let tables = self.table.map(|table| [name(table)].into());
        Scope { journals: tables.as_ref().map(|_| [].into()), tables }
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("the names are constants")
}

impl Fault {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        FAULTS.iter().find(|(fault, _, _)| *fault == self).map_or("unknown", |(_, name, _)| name)
    }

    /// The fault with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FAULTS.iter().find(|(_, known, _)| *known == name).map(|(fault, _, _)| *fault)
    }
}

/// Lives through one seed and judges it.
#[must_use]
pub fn seed(seed: u64, steps: usize, fault: Option<Fault>) -> Judged<Fact> {
    let facts = world::World::new(seed, fault).run(steps);
    Judged::new("sites", CHECKERS, (seed, fault.map(Fault::name)), facts)
}
