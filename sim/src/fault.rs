//! Broken variants of the shell, made on purpose, that the checkers must catch.

/// A mistake that a shell around the machines could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Law 1: a sync answers before anything is durable.
    AckBeforeSync,
    /// Law 1: the log is trimmed below entries that no snapshot covers.
    TrimBeyondSnapshots,
    /// Law 1: recovery stops one entry early.
    ForgetNewestEntry,
    /// Law 2: commits are published and answered before the append.
    PublishBeforeDurable,
    /// Law 3: a subscriber that comes back goes on at the head.
    ResumeAtHead,
    /// Law 3: a position that is too old is resumed with the remaining changes.
    ResumeBelowFloor,
    /// Law 3: a reset is announced as a resume, so old rows stay.
    ResetKeepsRows,
    /// Law 3: a joiner's place on the ring is taken later than its snapshot.
    HandOverLate,
    /// I10: the reply to a join carries the new position although its rows follow as pushes.
    PositionBeforeRows,
    /// Law 4: places are compared without asking for the incarnation.
    ComparePlacesAcrossHistories,
    /// Law 5: commit ids are not restored from snapshots.
    ForgetIdsAtRestart,
    /// Law 5: a replayed reply carries the newest position.
    ReplayNewestPosition,
    /// Law 5: the body under an id is not looked at.
    IgnoreBodies,
    /// Law 7: the newest time in the log is taken for what the clock says.
    LogTimeAsClock,
    /// Law 6: proposals queue without end.
    UnboundedQueue,
    /// Law 6: a ring keeps every frame.
    UnboundedRing,
    /// Law 7: something depends on the process that runs it.
    DependOnTheProcess,
    /// Law 8: a failed log is taken for a full disk.
    KeepServingAfterFailure,
    /// Law 8: a failed sync is tried again.
    RetryFailedSync,
    /// Law 9: no subscriber is served while one subscriber's socket is full.
    SlowReaderBlocksOthers,
    /// Law 10: a batch that could not be appended is folded anyway.
    FoldUncommitted,
    /// I4: every frame of a commit carries its position.
    PositionOnEveryFrame,
    /// I16: bookmarks name the owner's place, not the feed's.
    BookmarkAhead,
    /// Law 3: a resumed reader is told by other views than before, and goes on.
    ResumeOverAnotherDefinition,
    /// Law 1: datasets are made and removed where they are, file by file.
    HalfMadeDataset,
    /// I23: no subscriber is told that a row left.
    DropLeaves,
    /// I4: the lower bound of an add is lost on the way to the owner.
    IgnoreMinimum,
}

use Fault::*;

/// Every fault with its name and a checker that must catch it.
pub const FAULTS: &[(Fault, &str, &str)] = &[
    (AckBeforeSync, "ack-before-sync", "acknowledged_commits_survive"),
    (TrimBeyondSnapshots, "trim-beyond-snapshots", "it_always_comes_up_again"),
    (ForgetNewestEntry, "forget-newest-entry", "acknowledged_commits_survive"),
    (PublishBeforeDurable, "publish-before-durable", "nothing_is_visible_before_it_is_durable"),
    (ResumeAtHead, "resume-at-head", "each_position_shows_the_table"),
    (ResumeBelowFloor, "resume-below-floor", "each_position_shows_the_table"),
    (ResetKeepsRows, "reset-keeps-rows", "each_position_shows_the_table"),
    (HandOverLate, "hand-over-late", "each_position_shows_the_table"),
    (PositionBeforeRows, "position-before-rows", "each_position_shows_the_table"),
    (ComparePlacesAcrossHistories, "compare-places-across-histories", "another_history_is_a_reset"),
    (ForgetIdsAtRestart, "forget-ids-at-restart", "an_id_takes_effect_at_most_once"),
    (ReplayNewestPosition, "replay-newest-position", "a_reply_is_replayed_equal"),
    (IgnoreBodies, "ignore-bodies", "an_id_with_another_body_is_refused"),
    (LogTimeAsClock, "log-time-as-clock", "an_id_is_judged_by_the_clock"),
    (UnboundedQueue, "unbounded-queue", "limits_are_kept"),
    (UnboundedRing, "unbounded-ring", "limits_are_kept"),
    (DependOnTheProcess, "depend-on-the-process", SAME_SEED),
    (KeepServingAfterFailure, "keep-serving-after-failure", "a_failed_write_stops_the_dataset"),
    (RetryFailedSync, "retry-failed-sync", "acknowledged_commits_survive"),
    (SlowReaderBlocksOthers, "slow-reader-blocks-others", "a_slow_reader_costs_only_itself"),
    (FoldUncommitted, "fold-uncommitted", "memory_is_the_fold_of_the_log"),
    (
        PositionOnEveryFrame,
        "position-on-every-frame",
        "only_the_last_frame_of_a_commit_is_a_boundary",
    ),
    (
        ResumeOverAnotherDefinition,
        "resume-over-another-definition",
        "each_position_shows_the_table",
    ),
    (HalfMadeDataset, "half-made-dataset", "a_dataset_is_whole_or_gone"),
    (BookmarkAhead, "bookmark-ahead", "a_bookmark_follows_its_events"),
    (DropLeaves, "drop-leaves", "each_position_shows_the_table"),
    (IgnoreMinimum, "ignore-minimum", "a_bounded_add_stays_in_its_bounds"),
];

/// The name of the rule that a seed run twice gives the same history (law 7).
pub const SAME_SEED: &str = "the_same_seed_gives_the_same_history";

impl Fault {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = FAULTS.iter().find(|(fault, _, _)| *fault == self);
        found.map_or("unknown", |(_, name, _)| name)
    }

    /// The fault with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = FAULTS.iter().find(|(_, known, _)| *known == name);
        found.map(|(fault, _, _)| *fault)
    }
}
