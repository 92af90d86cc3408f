use super::*;

fn id(ms: u64, tail: u64) -> Uuid {
    Uuid::from_u128((u128::from(ms) << 80) | (0x7 << 76) | (0b10 << 62) | u128::from(tail & 0xffff))
}

fn commit_id(id: Uuid, digest: u64) -> CommitId {
    CommitId { principal: "p".into(), id, digest, earlier: None }
}

fn remembered(digest: u64) -> Remembered {
    Remembered { digest, place: Place::default(), results: Box::default() }
}

#[test]
fn law_5_a_known_id_is_replayed_and_with_other_operations_a_conflict() {
    let mut memory = DedupWindow::default();
    let mine = commit_id(id(1_000, 1), 7);

    assert_eq!(memory.recall(&mine, 1_000), Lookup::Fresh);
    memory.remember(&mine, remembered(7), 1_000);

    assert_eq!(memory.recall(&mine, 1_500), Lookup::Known(remembered(7)));
    assert_eq!(memory.recall(&commit_id(mine.id, 8), 1_500), Lookup::Conflict);
    let other = CommitId { principal: "q".into(), ..mine };
    assert_eq!(memory.recall(&other, 1_500), Lookup::Fresh);
}

#[test]
fn law_5_an_id_that_may_have_been_forgotten_is_refused() {
    let day = limits::ID_MEMORY_MS;
    let mut memory = DedupWindow::default();
    memory.remember(&commit_id(id(1_000, 1), 7), remembered(7), 1_000);

    memory.remember(&commit_id(id(day + 1_002, 2), 7), remembered(7), day + 1_002);

    assert_eq!(memory.recall(&commit_id(id(1_000, 1), 7), day + 1_002), Lookup::Expired);
    assert_eq!(memory.recall(&commit_id(id(1_000, 0), 7), day + 1_002), Lookup::Expired);
    assert_eq!(memory.recall(&commit_id(id(1_001, 0), 7), day + 1_002), Lookup::Expired);
    assert_eq!(memory.recall(&commit_id(id(1_002, 0), 7), day + 1_002), Lookup::Fresh);
}

#[test]
fn law_5_ids_that_fall_out_by_count_move_the_horizon() {
    let mut ids = PrincipalIds::default();
    for tail in 0..5 {
        ids.insert(id(1_000 + tail, tail), remembered(0));
    }

    ids.forget(1_010, Most { ids: 3, bytes: usize::MAX });

    assert_eq!((ids.ids.len(), ids.spans()), (3, &[(id(1_000, 0), id(1_001, 1))][..]));
}

#[test]
fn ids_and_their_replies_are_bounded_by_bytes_for_a_principal_and_in_all() {
    let large = || Remembered { results: vec![Some(1); 1_000].into(), ..remembered(0) };
    let one = size_of_one(&large());
    let mut ids = PrincipalIds::default();
    (0..10).for_each(|tail| ids.insert(id(1_000 + tail, tail), large()));
    let mut memory = DedupWindow::default();
    for (principal, count) in [("much", 9), ("little", 1)] {
        for tail in 0..count {
            let commit_id = CommitId { principal: principal.into(), ..commit_id(id(9, tail), 0) };
            memory.remember(&commit_id, large(), 9);
        }
    }

    ids.forget(1_010, Most { ids: usize::MAX, bytes: 3 * one });
    memory.shrink(9, 4 * one);

    assert_eq!((ids.ids.len(), ids.bytes), (3, 3 * one));
    assert!(memory.bytes() <= 4 * one && memory.bytes() > one, "{}", memory.bytes());
    let held = memory.principals().map(|(name, ids)| (name, ids.bytes / one));
    assert_eq!(held.collect::<Vec<_>>(), [("little", 1), ("much", memory.bytes() / one - 1)]);
    let again = CommitId { principal: "much".into(), ..commit_id(id(9, 0), 0) };
    assert_eq!(memory.recall(&again, 9), Lookup::Expired);
}

#[test]
fn ids_of_a_time_ahead_cost_nothing_when_the_clock_is_right_again() {
    const HOUR: u64 = 60 * 60 * 1_000;
    let now = 1_000 * HOUR;
    let mut memory = DedupWindow::default();
    let at = |hours: u64, tail| commit_id(id(now + hours * HOUR, tail), 0);
    memory.remember(&at(0, 1), remembered(0), now);
    // The clock is ahead for two days, so that even ids of that time are forgotten.
    for hours in [25, 26, 51, 76] {
        memory.remember(&at(hours, 0), remembered(0), now + hours * HOUR);
    }

    assert_eq!(memory.recall(&at(0, 2), now), Lookup::Fresh);
    assert_eq!(memory.recall(&at(0, 1), now), Lookup::Expired, "it took effect");
    assert_eq!(memory.recall(&at(76, 0), now), Lookup::Known(remembered(0)));
    assert_eq!(memory.recall(&at(25, 1), now), Lookup::Invalid);
    assert_eq!(memory.recall(&at(26, 0), now + 26 * HOUR), Lookup::Expired, "it took effect");
    memory.remember(&at(1, 0), remembered(0), now + HOUR);
    assert_eq!(memory.recall(&at(1, 0), now + HOUR), Lookup::Known(remembered(0)));
    assert_eq!(memory.recall(&at(2, 0), now + 2 * HOUR), Lookup::Fresh);
}

#[test]
fn an_id_from_the_future_or_of_another_version_is_invalid() {
    let memory = DedupWindow::default();
    let ahead = id(limits::ID_AHEAD_MS + 1_001, 0);

    assert_eq!(memory.recall(&commit_id(ahead, 0), 1_000), Lookup::Invalid);
    assert_eq!(memory.recall(&commit_id(Uuid::from_u128(5), 0), 1_000), Lookup::Invalid);
}

fn of(principal: &str, id: Uuid) -> CommitId {
    CommitId { principal: principal.into(), ..commit_id(id, 0) }
}

fn names(memory: &DedupWindow) -> Vec<&str> {
    memory.principals().map(|(name, _)| name).collect()
}

#[test]
fn a_principal_whose_ids_are_all_too_old_is_forgotten_and_nothing_of_it_takes_effect_again() {
    let day = limits::ID_MEMORY_MS;
    let mut memory = DedupWindow::default();
    for number in 0..40 {
        memory.remember(&of(&format!("once-{number}"), id(1_000, number)), remembered(0), 1_000);
    }
    memory.remember(&of("stays", id(1_000, 99)), remembered(0), 1_000);
    memory.remember(&of("stays", id(day, 99)), remembered(0), day);

    let later = day + 2_000;
    memory.forget_principals("stays", later, 82);
    assert_eq!(names(&memory).len(), 41, "half of the room is free");
    for _ in 0..4 {
        memory.forget_principals("stays", later, 2);
    }

    assert_eq!(names(&memory), ["stays"]);
    assert_eq!(memory.recall(&of("once-7", id(1_000, 7)), later), Lookup::Expired);
    // The clock is set back: a commit that took effect then did so once.
    assert_eq!(memory.recall(&of("once-7", id(1_000, 7)), 1_000), Lookup::Expired);
    memory.remember(&of("once-7", id(later, 7)), remembered(0), later);
    assert_eq!(memory.recall(&of("once-7", id(1_000, 7)), 1_000), Lookup::Expired);
    assert_eq!(memory.recall(&of("once-7", id(later, 8)), later), Lookup::Fresh);
}

#[test]
fn where_there_are_too_many_principals_the_one_that_was_silent_for_longest_gives_way() {
    let minute = 60 * 1_000;
    let mut memory = DedupWindow::default();
    for (number, name) in ["silent", "busy", "new"].into_iter().enumerate() {
        let at = number as u64 * minute;
        memory.remember(&of(name, id(at + 1, 0)), remembered(0), at + 1);
    }
    let now = limits::ID_PRINCIPAL_MS;
    memory.remember(&of("busy", id(now, 0)), remembered(0), now);

    memory.forget_principals("other", now, 3);
    assert_eq!(names(&memory).len(), 3, "no principal was silent for long enough");
    memory.forget_principals("busy", now + minute, 3);
    assert_eq!(names(&memory).len(), 3, "who is known needs no room");
    memory.forget_principals("other", now + minute, 3);
    assert_eq!(names(&memory), ["busy", "new"]);

    assert_eq!(memory.recall(&of("silent", id(1, 0)), now), Lookup::Expired);
    assert_eq!(memory.recall(&of("silent", id(now, 0)), now), Lookup::Fresh);
    let busy = Lookup::Known(remembered(0));
    assert_eq!(memory.recall(&of("busy", id(minute + 1, 0)), now), busy);
    assert_eq!(memory.bytes(), 3 * size_of_one(&remembered(0)));
}

#[test]
fn spans_that_meet_are_one_and_more_of_them_than_may_be_reach_back_to_the_beginning() {
    const GAP: u64 = 2 * SPAN_GAP_MS;
    let span = |from: u64, to: u64| (id(from * GAP, 0), id(to * GAP, 0));
    let mut spans = vec![];

    for (from, to) in [(5, 6), (1, 2), (9, 9), (3, 5)] {
        add_span(&mut spans, span(from, to));
    }
    assert_eq!(spans, [span(1, 2), span(3, 6), span(9, 9)]);
    add_span(&mut spans, span(2, 3));
    assert_eq!(spans, [span(1, 6), span(9, 9)]);
    (10..40).step_by(2).for_each(|at| add_span(&mut spans, span(at, at)));

    assert_eq!(spans.len(), SPANS);
    assert_eq!(spans[0].0, Uuid::nil());
    assert!(is_within(&spans, id(GAP, 0)) && !is_within(&spans, id(37 * GAP, 0)));
}

proptest::proptest! {
    /// Memory from a snapshot at any moment goes on as the one that it was taken of.
    #[test]
    fn law_5_a_snapshot_at_any_moment_remembers_and_forgets_the_same(
        steps in proptest::collection::vec((0..6_u64, 0..40_u64, 0..9_u64), 1..60),
        cut in 0..60_usize,
    ) {
        const HOUR: u64 = 60 * 60 * 1_000;
        let (mut memory, mut copy) = (DedupWindow::default(), None);
        let mut now = 100 * HOUR;
        for (at, (principal, hours, age)) in steps.into_iter().enumerate() {
            if at == cut {
                copy = Some(again(&memory));
            }
            // The clock goes on, or back.
            now = match hours {
                37.. => now.saturating_sub(30 * HOUR).max(40 * HOUR),
                _ => now + hours * HOUR / 4,
            };
            let name = format!("p{principal}");
            let one = of(&name, id(now - age * HOUR, at as u64));
            for memory in std::iter::once(&mut memory).chain(&mut copy) {
                if memory.recall(&one, now) == Lookup::Fresh {
                    memory.remember(&one, remembered(0), now);
                    memory.forget_principals("other", now, 4);
                }
            }
            if let Some(copy) = &copy {
                proptest::prop_assert_eq!(copy, &memory);
            }
        }
        proptest::prop_assert_eq!(again(&memory), memory);
    }
}

/// The same from its parts, as a snapshot has them.
fn again(memory: &DedupWindow) -> DedupWindow {
    let mut copy = DedupWindow::default();
    for (name, principal) in memory.principals() {
        copy.restore(name, principal.horizon());
        copy.restore_spans(name, principal.spans().to_vec());
        let ids = principal.ids().map(|(id, remembered)| (*id, remembered.clone()));
        copy.restore_ids(name, ids.collect());
    }
    copy.restore_unknown(memory.spans().to_vec());
    copy
}
