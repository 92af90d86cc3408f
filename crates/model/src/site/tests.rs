//! Decisions about sites, by the laws and rows that they keep.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::position::Place;

const HERE: Incarnation = Incarnation(Uuid::from_u128(1));

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn at(revision: u64) -> Position {
    let place = Place { revision: Revision(revision), index: 0 };
    Position { incarnation: HERE, place }
}

/// A dataset with sites, as far as decisions go.
struct World {
    sites: std::collections::BTreeMap<Name, Site>,
    head: u64,
    floor: u64,
}

impl World {
    fn new(head: u64) -> Self {
        Self { sites: std::collections::BTreeMap::new(), head, floor: 1 }
    }

    fn decide(&mut self, operation: SiteOperation) -> Result<Option<Site>, SiteError> {
        let site = operation.site().clone();
        let other = |name: &Name| self.sites.get(name).cloned();
        let moment = Moment {
            incarnation: HERE,
            head: at(self.head).place,
            now_ms: 7,
            sites: &|| self.sites.len(),
            other: &other,
        };
        match decide(self.sites.get(&site).cloned(), operation, moment)? {
            Change::Put(after) => drop(self.sites.insert(site.clone(), *after)),
            Change::Remove => drop(self.sites.remove(&site)),
            Change::Nothing => {}
        }
        self.head += 1;
        Ok(self.sites.get(&site).cloned())
    }

    fn register(&mut self, site: &str, start: Start) -> Result<Site, SiteError> {
        let (site, scope) = (name(site), Scope::default());
        self.decide(SiteOperation::Register { site, scope, start }).map(Option::unwrap)
    }

    fn resume(&mut self, site: &str, position: Option<Position>) -> Result<Site, SiteError> {
        let floor = Revision(self.floor);
        self.register(site, Start::Resume { position, floor })
    }

    fn dump(&mut self, site: &str, source: &str) -> Result<Site, SiteError> {
        self.register(site, Start::Dump { source: name(source), since: None })
    }

    fn ack(&mut self, site: &str, position: Position) -> Result<Site, SiteError> {
        let (site, generation) = (name(site), self.sites[&name(site)].generation);
        let tally = None;
        self.decide(SiteOperation::Ack { site, generation, position, tally }).map(Option::unwrap)
    }

    fn fail(&mut self, site: &str, needs_dump: bool) -> Site {
        let (site, generation) = (name(site), self.sites[&name(site)].generation);
        let (reason, stands) = ("a unique key".to_owned(), None);
        let fail = SiteOperation::Fail { site, generation, reason, needs_dump, stands };
        self.decide(fail).unwrap().unwrap()
    }

    fn stand(&mut self, site: &str, revision: u64, record: Option<u32>) -> Site {
        let (site, generation) = (name(site), self.sites[&name(site)].generation);
        let stands = Some(Stand { position: at(revision), record });
        let (reason, needs_dump) = ("a unique key".to_owned(), false);
        let fail = SiteOperation::Fail { site, generation, reason, needs_dump, stands };
        self.decide(fail).unwrap().unwrap()
    }

    fn skip(&mut self, site: &str, revision: u64, record: Option<u32>) -> Result<Site, SiteError> {
        let (site, reason) = (name(site), "it is of before".to_owned());
        let at = Stand { position: at(revision), record };
        self.decide(SiteOperation::Skip { site, at, reason }).map(Option::unwrap)
    }

    fn pause(&mut self, site: &str, paused: bool) -> Result<Site, SiteError> {
        let site = name(site);
        self.decide(SiteOperation::Pause { site, paused }).map(Option::unwrap)
    }
}

#[test]
fn pol_03_a_first_site_begins_with_the_log_while_all_of_it_is_kept() {
    let mut world = World::new(5);

    let site = world.register("master", Start::Beginning { floor: Revision(1) }).unwrap();

    assert_eq!((site.state, site.cursor.place), (SiteState::Live, Place::default()));
    let trimmed = world.register("other", Start::Beginning { floor: Revision(2) });
    assert!(matches!(trimmed, Err(SiteError::DumpRequired(_))), "{trimmed:?}");
}

#[test]
fn pol_04_a_site_that_is_not_known_needs_a_dump_whatever_position_it_shows() {
    let mut world = World::new(5);

    for position in [None, Some(at(3))] {
        let refused = world.resume("node1", position);
        assert!(matches!(refused, Err(SiteError::DumpRequired(_))), "{refused:?}");
    }
}

#[test]
fn pol_05_pol_06_a_dump_comes_from_a_site_that_applies_the_log_and_from_no_other() {
    let mut world = World::new(5);
    world.register("master", Start::Head).unwrap();
    let bad = |refused: Result<Site, SiteError>| matches!(refused, Err(SiteError::BadSource(..)));

    assert!(bad(world.dump("node1", "node1")) && bad(world.dump("node1", "unknown")));
    let node1 = world.dump("node1", "master").unwrap();
    assert_eq!(node1.state, SiteState::Reserved);
    assert!(bad(world.dump("node2", "node1")), "it has nothing yet");
    world.resume("node1", Some(at(6))).unwrap();
    assert!(world.dump("node2", "node1").is_ok(), "also one that catches up");
    world.fail("node1", false);
    assert!(bad(world.dump("node3", "node1")));
}

#[test]
fn i9_history_is_held_from_before_the_dump_until_the_site_goes_on_from_its_position() {
    let mut world = World::new(50);
    world.register("master", Start::Head).unwrap();
    world.ack("master", at(50)).unwrap();
    world.head = 90;

    let node1 = world.dump("node1", "master").unwrap();

    assert_eq!(node1.held(HERE), Some(Revision(50)), "its source may stand there");
    assert_eq!(world.dump("node2", SERVER).unwrap().held(HERE), Some(Revision(91)));
    let refused = world.resume("node1", None);
    assert!(matches!(refused, Err(SiteError::DumpRequired(_))), "{refused:?}");
    assert_eq!(world.resume("node1", Some(at(70))).unwrap().held(HERE), Some(Revision(70)));
}

#[test]
fn pol_15_a_site_goes_on_where_its_own_store_stands_or_else_at_its_cursor() {
    let mut world = World::new(100);
    world.register("node1", Start::Beginning { floor: Revision(1) }).unwrap();
    world.ack("node1", at(40)).unwrap();

    assert_eq!(world.resume("node1", None).unwrap().cursor, at(40));
    assert_eq!(world.resume("node1", Some(at(60))).unwrap().cursor, at(60), "an ack was lost");
    assert_eq!(world.resume("node1", Some(at(30))).unwrap().cursor, at(30), "an older database");
    world.floor = 35;
    let refused = world.resume("node1", Some(at(30)));
    assert!(matches!(refused, Err(SiteError::DumpRequired(_))), "{refused:?}");
    let ahead = world.resume("node1", Some(at(1_000)));
    assert!(matches!(ahead, Err(SiteError::Ahead { .. })), "{ahead:?}");
}

#[test]
fn law_4_a_position_of_another_history_is_never_compared() {
    let mut world = World::new(10);
    world.register("node1", Start::Head).unwrap();
    let other = Position { incarnation: Incarnation(Uuid::from_u128(2)), ..at(3) };

    assert_eq!(world.resume("node1", Some(other)), Err(SiteError::OtherHistory));
    assert_eq!(world.ack("node1", other), Err(SiteError::OtherHistory));
    world.sites.get_mut(&name("node1")).unwrap().cursor = other;
    assert_eq!(world.resume("node1", None), Err(SiteError::OtherHistory));
    assert_eq!(world.sites[&name("node1")].held(HERE), None, "nothing here is its history");
}

#[test]
fn pol_20_the_newest_registration_wins_also_over_one_of_a_site_that_was_removed() {
    let mut world = World::new(10);
    let first = world.register("node1", Start::Head).unwrap().generation;
    let second = world.resume("node1", None).unwrap().generation;
    let ack = |generation| {
        let (site, position, tally) = (name("node1"), at(10), None);
        SiteOperation::Ack { site, generation, position, tally }
    };

    assert!(second > first);
    assert_eq!(world.decide(ack(first)), Err(SiteError::Fenced { newest: second }));
    world.decide(SiteOperation::Remove { site: name("node1") }).unwrap();
    assert_eq!(world.decide(ack(second)), Err(SiteError::Unknown));
    let third = world.register("node1", Start::Head).unwrap().generation;
    assert!(third > second, "an old agent is none of the new site");
}

#[test]
fn pol_19_a_failure_that_needs_a_dump_is_remembered_and_others_go_on() {
    let mut world = World::new(10);
    world.register("node1", Start::Head).unwrap();

    assert_eq!(world.fail("node1", false).state, SiteState::Failed);
    assert_eq!(world.resume("node1", None).unwrap().state, SiteState::Live);
    let site = world.fail("node1", true);
    assert_eq!((site.state, site.held(HERE)), (SiteState::Evicted, None));
    let refused = world.resume("node1", Some(at(10)));
    assert_eq!(refused, Err(SiteError::DumpRequired("a unique key".into())));
    world.fail("node1", false);
    assert_eq!(world.sites[&name("node1")].state, SiteState::Evicted, "only a dump ends it");
    let skipped = world.register("node1", Start::Head);
    assert!(matches!(skipped, Err(SiteError::DumpRequired(_))), "{skipped:?}");
    assert!(world.dump("node1", SERVER).is_ok());
}

#[test]
fn pol_24_an_ack_out_of_order_changes_nothing_and_one_ahead_is_refused() {
    let mut world = World::new(10);
    world.register("node1", Start::Beginning { floor: Revision(1) }).unwrap();

    assert_eq!(world.ack("node1", at(8)).unwrap().cursor, at(8));
    assert_eq!(world.ack("node1", at(7)).unwrap().cursor, at(8));
    assert!(matches!(world.ack("node1", at(99)), Err(SiteError::Ahead { .. })));
}

#[test]
fn a_site_is_live_close_to_the_head_and_catches_up_far_from_it() {
    let mut world = World::new(100_000);
    world.register("node1", Start::Beginning { floor: Revision(1) }).unwrap();
    let state = |world: &mut World, position| world.ack("node1", at(position)).unwrap().state;

    assert_eq!(state(&mut world, 50_000), SiteState::CatchingUp);
    assert_eq!(state(&mut world, 99_500), SiteState::Live);
    world.head += limits::SITE_BEHIND_ENTRIES - 10;
    assert_eq!(state(&mut world, 99_999), SiteState::Live, "it does not go to and fro");
    world.head += 2 * limits::SITE_BEHIND_ENTRIES;
    assert_eq!(state(&mut world, 100_000), SiteState::CatchingUp);
}

#[test]
fn a_site_that_has_everything_is_live_without_an_acknowledgement() {
    let mut world = World::new(5_000);
    let head = |world: &World| Some(at(world.head));

    assert_eq!(world.register("node1", Start::Head).unwrap().state, SiteState::Live);
    let position = head(&world);
    assert_eq!(world.resume("node1", position).unwrap().state, SiteState::Live);
    assert_eq!(world.resume("node1", Some(at(9))).unwrap().state, SiteState::CatchingUp);
}

#[test]
fn i26_an_acknowledgement_of_an_evicted_site_is_told_that_it_needs_a_dump() {
    let mut world = World::new(10);
    world.register("node1", Start::Head).unwrap();
    world.fail("node1", true);

    let refused = world.ack("node1", at(10));

    assert_eq!(refused, Err(SiteError::DumpRequired("a unique key".into())));
}

#[test]
fn i29_an_acknowledgement_that_says_nothing_new_needs_no_commit() {
    let mut world = World::new(10);
    world.register("node1", Start::Beginning { floor: Revision(1) }).unwrap();
    let site = world.ack("node1", at(8)).unwrap();
    let is_known =
        |generation, position| site.is_acknowledged(generation, (position, None), at(12));

    assert!(is_known(site.generation, at(8)) && is_known(site.generation, at(7)));
    assert!(!is_known(site.generation, at(9)), "it is applied since");
    assert!(!is_known(site.generation, at(99)), "it is refused");
    assert!(!is_known(Generation::NONE, at(8)), "it is refused");
}

#[test]
fn a_paused_site_stays_paused_when_it_registers_and_history_is_held_for_it() {
    let mut world = World::new(10);
    world.register("node1", Start::Head).unwrap();
    let pause = |paused| SiteOperation::Pause { site: name("node1"), paused };

    world.decide(pause(true)).unwrap();
    let site = world.resume("node1", None).unwrap();
    assert_eq!((site.state, site.held(HERE)), (SiteState::Paused, Some(Revision(10))));
    assert_eq!(world.decide(pause(false)).unwrap().unwrap().state, SiteState::Live);
}

#[test]
fn bad_registrations_are_refused_by_name() {
    let mut world = World::new(10);
    world.register("node1", Start::Head).unwrap();
    let tables = Some([name("items")].into());
    let scope = Scope { tables, journals: None };
    let start = Start::Resume { position: None, floor: Revision(1) };
    let other = SiteOperation::Register { site: name("node1"), scope, start };

    assert_eq!(world.decide(other), Err(SiteError::OtherScope));
    let server = world.register(SERVER, Start::Head);
    assert_eq!(server, Err(SiteError::ReservedName(name(SERVER))));
    for reserved in ["instep-mine", "instep-sites"].map(name) {
        let refused = world.register(reserved.as_str(), Start::Head);
        assert_eq!(refused, Err(SiteError::ReservedName(reserved.clone())));
        let scope = Scope { tables: Some([reserved.clone()].into()), journals: None };
        let (site, start) = (name("node2"), Start::Head);
        let refused = world.decide(SiteOperation::Register { site, scope, start });
        assert_eq!(refused, Err(SiteError::ReservedName(reserved)));
    }
    let many = (0..=limits::SITE_NAMES).map(|number| name(&format!("t{number}"))).collect();
    let scope = Scope { tables: Some(many), journals: None };
    let (site, start) = (name("node2"), Start::Head);
    let large = world.decide(SiteOperation::Register { site, scope, start });
    assert_eq!(large, Err(SiteError::ScopeTooLarge));
    for number in 1..limits::SITES {
        world.register(&format!("n{number}"), Start::Head).unwrap();
    }
    assert_eq!(world.register("late", Start::Head), Err(SiteError::TooMany));
    assert!(world.resume("node1", None).is_ok(), "it is known");
}

#[test]
fn a_reason_is_cut_at_its_limit_and_not_within_a_character() {
    let mut world = World::new(10);
    world.register("node1", Start::Head).unwrap();
    let (site, generation) = (name("node1"), world.sites[&name("node1")].generation);
    let reason = "ä".repeat(limits::SITE_REASON_BYTES);

    let (needs_dump, stands) = (false, None);
    let fail = SiteOperation::Fail { site, generation, reason, needs_dump, stands };
    let site = world.decide(fail).unwrap().unwrap();

    assert_eq!(site.reason.unwrap().len(), limits::SITE_REASON_BYTES);
}

fn operations() -> impl Strategy<Value = (u8, u8, u64, u64)> {
    (0_u8..9, 0_u8..3, 0_u64..60, 0_u64..60)
}

proptest! {
    #[test]
    fn whatever_happens_a_cursor_never_lies_ahead_and_generations_only_grow(
        steps in prop::collection::vec(operations(), 1..80),
    ) {
        let mut world = World::new(30);
        let names = ["a", "b", "c"];
        let mut newest = std::collections::BTreeMap::<&str, Generation>::new();
        for (what, who, revision, age) in steps {
            let who = names[usize::from(who)];
            let known = world.sites.get(&name(who)).cloned();
            let generation = Generation(known.as_ref().map_or(0, |site| site.generation.0))
                .0
                .saturating_sub(age / 50);
            let (site, generation) = (name(who), Generation(generation));
            let _ = match what {
                0 => world.register(who, Start::Head).map(Some),
                1 => world.dump(who, names[(revision % 3) as usize]).map(Some),
                2 => world.dump(who, SERVER).map(Some),
                3 => world.resume(who, None).map(Some),
                4 => world.resume(who, Some(at(revision))).map(Some),
                5 => {
                    let (position, tally) = (at(revision), None);
                    world.decide(SiteOperation::Ack { site, generation, position, tally })
                }
                6 => {
                    let (reason, needs_dump) = ("x".to_owned(), age > 30);
                    let stands = None;
                    let fail =
                        SiteOperation::Fail { site, generation, reason, needs_dump, stands };
                    world.decide(fail)
                }
                7 => world.decide(SiteOperation::Pause { site, paused: age > 30 }),
                _ => world.decide(SiteOperation::Remove { site }),
            };
            for (of, site) in &world.sites {
                let place = site.cursor.place_in(HERE).unwrap();
                prop_assert!(place.revision.0 <= world.head);
                prop_assert!(site.state.holds() == site.held(HERE).is_some());
                let of = names.iter().find(|name| **name == of.as_str()).unwrap();
                let before = newest.insert(of, site.generation).unwrap_or_default();
                prop_assert!(site.generation >= before);
            }
            // Acknowledgements and positions of a row go forward only, but by a registration.
            let after = world.sites.get(&name(who));
            if let (5..=7, Some(before), Some(after)) = (what, known, after) {
                prop_assert!(after.cursor.place >= before.cursor.place);
                prop_assert_eq!(after.generation, before.generation);
            }
            let row = after.map(|site| serde_json::to_vec(&site.to_fields()).unwrap());
            let read = row.map(|row| Site::from_bytes(&row).unwrap());
            prop_assert_eq!(read.as_ref(), after, "it comes back from its row");
        }
    }
}

#[test]
fn only_the_record_that_a_site_stands_at_is_skipped() {
    let mut world = World::new(9);
    world.register("node1", Start::Head).unwrap();
    assert!(matches!(world.skip("node1", 5, None), Err(SiteError::WrongState(_))));
    world.fail("node1", false);
    assert!(matches!(world.skip("node1", 5, None), Err(SiteError::StandsElsewhere(None))));

    world.stand("node1", 12, Some(3));

    for (revision, record) in [(12, Some(2)), (12, None), (13, Some(3))] {
        let refused = world.skip("node1", revision, record);
        assert!(matches!(refused, Err(SiteError::StandsElsewhere(Some(_)))), "{refused:?}");
    }
    let site = world.skip("node1", 12, Some(3)).unwrap();
    assert_eq!((site.state, site.skips.len()), (SiteState::Failed, 1));
}

#[test]
fn the_order_to_skip_a_record_outlives_a_registration_and_ends_behind_the_commit() {
    let mut world = World::new(9);
    world.register("node1", Start::Head).unwrap();
    world.head = 20;
    world.stand("node1", 12, Some(3));
    world.skip("node1", 12, Some(3)).unwrap();

    let site = world.resume("node1", Some(at(11))).unwrap();
    assert_eq!((site.stands, site.skips.len()), (None, 1));
    world.stand("node1", 12, Some(5));
    let both = world.skip("node1", 12, Some(5)).unwrap();
    assert_eq!(both.skips.len(), 2, "both are of one commit");
    assert_eq!(world.ack("node1", at(11)).unwrap().skips.len(), 2);
    assert_eq!(world.ack("node1", at(12)).unwrap().skips, []);
}

#[test]
fn a_commit_has_so_many_records_left_out_and_no_more() {
    let mut world = World::new(9);
    world.register("node1", Start::Head).unwrap();
    let most = u32::try_from(limits::SITE_SKIPS).unwrap();
    for record in 0..most {
        world.stand("node1", 12, Some(record));
        world.skip("node1", 12, Some(record)).unwrap();
        world.skip("node1", 12, Some(record)).unwrap();
    }

    world.stand("node1", 12, Some(most));
    assert_eq!(world.skip("node1", 12, Some(most)), Err(SiteError::TooManySkips));
}

#[test]
fn counts_of_a_site_that_stands_are_told_and_leave_it_where_it_stands() {
    let mut world = World::new(9);
    world.register("node1", Start::Head).unwrap();
    let failed = world.stand("node1", 12, Some(3));
    let (site, generation, position) = (name("node1"), failed.generation, failed.cursor);
    let tally = Some(Tally { drift: 2, skipped: 1 });

    let after = world.decide(SiteOperation::Ack { site, generation, position, tally });

    let after = after.unwrap().unwrap();
    assert_eq!((after.state, after.stands), (SiteState::Failed, failed.stands));
    assert_eq!((after.tally.drift, after.tally.skipped), (2, 1));
}

#[test]
fn a_paused_site_that_is_evicted_fails_or_takes_a_dump_is_paused_when_it_is_back() {
    let mut world = World::new(9);
    world.register("node1", Start::Head).unwrap();
    world.pause("node1", true).unwrap();

    let evicted = world.fail("node1", true);
    assert!(evicted.state == SiteState::Evicted && evicted.is_paused());
    world.dump("node1", SERVER).unwrap();
    let back = world.resume("node1", Some(at(10))).unwrap();
    assert_eq!(back.state, SiteState::Paused);
    world.fail("node1", false);
    let position = at(world.head);
    assert_eq!(world.ack("node1", position).unwrap().state, SiteState::Paused);

    world.fail("node1", true);
    assert!(!world.pause("node1", false).unwrap().is_paused());
    world.dump("node1", SERVER).unwrap();
    let position = at(world.head);
    assert_eq!(world.resume("node1", Some(position)).unwrap().state, SiteState::Live);
}

#[test]
fn pol_u6_a_position_is_set_within_the_log_that_is_kept_and_nowhere_else() {
    let mut world = World::new(50);
    world.register("node1", Start::Head).unwrap();
    let mut seek = |to, floor| {
        let (site, floor) = (name("node1"), Revision(floor));
        world.decide(SiteOperation::Seek { site, to, floor })
    };

    assert!(matches!(seek(at(99), 1), Err(SiteError::Ahead { .. })));
    assert!(matches!(seek(at(9), 10), Err(SiteError::Trimmed { .. })));
    let other = Position { incarnation: Incarnation(Uuid::from_u128(2)), ..at(20) };
    assert_eq!(seek(other, 1), Err(SiteError::OtherHistory));
    let site = seek(at(20), 10).unwrap().unwrap();
    assert_eq!((site.cursor, site.is_seeking()), (at(20), true));
    assert_eq!(site.held(HERE), Some(Revision(20)), "history is held from there on");
}

#[test]
fn a_site_goes_to_its_new_position_by_its_next_registration_and_by_nothing_of_before() {
    let mut world = World::new(50);
    world.register("node1", Start::Head).unwrap();
    let (site, to, floor) = (name("node1"), at(20), Revision(1));
    world.decide(SiteOperation::Seek { site, to, floor }).unwrap();

    for position in [at(20), at(51)] {
        let of_before = world.ack("node1", position);
        assert!(matches!(of_before, Err(SiteError::WrongState(_))), "{of_before:?}");
    }
    let site = world.resume("node1", Some(at(51))).unwrap();
    assert_eq!((site.cursor, site.is_seeking()), (at(20), true));
    assert!(matches!(world.ack("node1", at(51)), Err(SiteError::WrongState(_))));
    assert!(!world.ack("node1", at(20)).unwrap().is_seeking());
    assert_eq!(world.ack("node1", at(21)).unwrap().cursor, at(21));
}

#[test]
fn a_site_whose_cursor_is_its_position_goes_there_at_once() {
    let mut world = World::new(50);
    world.register("node1", Start::Head).unwrap();
    let (site, to, floor) = (name("node1"), at(20), Revision(1));
    world.decide(SiteOperation::Seek { site, to, floor }).unwrap();

    let site = world.resume("node1", None).unwrap();

    assert_eq!((site.cursor, site.is_seeking()), (at(20), false));
}
