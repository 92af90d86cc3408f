//! The laws of sites, each once, over recorded facts.

use std::collections::{BTreeMap, BTreeSet};

use instep_model::commit::Record;
use instep_model::position::{Place, Position, Revision};
use instep_model::reserved;
use instep_model::site::{Site, SiteState, TABLE};

use crate::judged::{Checker, Finding};

use super::fact::{Content, Fact};
use super::server::STEP_BYTES;
use super::{SITES, Spec};

/// Every checker with what it guards, in the order in which a failure is best understood.
pub const CHECKERS: &[Checker<Fact>] = &[
    ("a_feed_skips_nothing", "I28, I36", a_feed_skips_nothing),
    (
        "every_store_is_the_fold_at_its_position",
        "I8, I10, I12, I31, I33",
        every_store_is_the_fold_at_its_position,
    ),
    ("history_is_reserved_before_a_dump", "I9", history_is_reserved_before_a_dump),
    ("needed_history_is_held_or_evicted", "I25, I26", needed_history_is_held_or_evicted),
    ("held_history_is_bounded", "I25", held_history_is_bounded),
    ("a_dump_that_is_outrun_fails", "I22", a_dump_that_is_outrun_fails),
    ("a_dump_of_no_use_is_not_given_again", "I21", a_dump_of_no_use_is_not_given_again),
    ("only_the_newest_registration_is_heard", "I38", only_the_newest_registration_is_heard),
    ("no_cursor_is_ahead_of_its_store", "I31, I37", no_cursor_is_ahead_of_its_store),
    ("every_site_gets_there", "I17, I26, I29", every_site_gets_there),
    ("an_idle_log_does_not_grow", "I29", an_idle_log_does_not_grow),
];

/// Log as its facts tell it.
#[derive(Default)]
struct Log {
    /// Records of each commit.
    commits: BTreeMap<Place, Vec<Record>>,
    /// Bytes of each entry.
    bytes: BTreeMap<Revision, u64>,
    /// Rows of each site, by the commit that wrote them.
    rows: BTreeMap<(usize, Place), Option<Site>>,
}

impl Log {
    /// Takes a fact; returns the rows of sites that it has.
    fn take(&mut self, fact: &Fact) -> Vec<(usize, Site)> {
        let Fact::Stored { revision, bytes, commits } = fact else { return vec![] };
        self.bytes.insert(*revision, *bytes);
        let mut changed = vec![];
        for (index, records) in (0..).zip(commits) {
            let place = Place { revision: *revision, index };
            for (site, row) in records.iter().filter_map(row_of) {
                changed.extend(row.clone().map(|row| (site, row)));
                self.rows.insert((site, place), row);
            }
            self.commits.insert(place, records.clone());
        }
        changed
    }

    /// The row of a site behind a commit.
    fn row_at(&self, site: usize, place: Place) -> Option<&Site> {
        let newest = self.rows.range((site, Place::default())..=(site, place)).next_back();
        newest.and_then(|(_, row)| row.as_ref())
    }

    fn rows(&self) -> impl Iterator<Item = (usize, &Site)> {
        let last = Place { revision: Revision(u64::MAX), index: u16::MAX };
        (0..SITES.len()).filter_map(move |site| Some((site, self.row_at(site, last)?)))
    }
}

/// The row of a site in a record; none in it when it is removed.
fn row_of(record: &Record) -> Option<(usize, Option<Site>)> {
    let number = |key: &str| SITES.iter().position(|site| site.name == key);
    match record {
        Record::Put { table, key, row } if table.as_str() == TABLE => {
            Some((number(key.as_str())?, Site::from_bytes(row.as_bytes())))
        }
        Record::Delete { table, key } if table.as_str() == TABLE => {
            Some((number(key.as_str())?, None))
        }
        _ => None,
    }
}

/// True when a record is about sites themselves.
fn is_of_sites(record: &Record) -> bool {
    match record {
        Record::Put { table, .. }
        | Record::Delete { table, .. }
        | Record::CreateTable { table, .. }
        | Record::DropTable { table } => table.as_str() == TABLE,
        Record::Append { .. } | Record::CreateJournal { .. } | Record::Mail(_) => false,
    }
}

/// True when a site follows a record, by the words of the documentation.
fn follows(site: usize, record: &Record) -> bool {
    match record {
        Record::Put { table, .. }
        | Record::Delete { table, .. }
        | Record::CreateTable { table, .. }
        | Record::DropTable { table } => {
            let is_ours = reserved::is_name(table.as_str());
            !is_ours && SITES[site].table.is_none_or(|only| only == table.as_str())
        }
        Record::Append { .. } | Record::CreateJournal { .. } => SITES[site].table.is_none(),
        Record::Mail(_) => false,
    }
}

fn a_feed_skips_nothing(facts: &[Fact]) -> Result<(), Finding> {
    let mut log = Log::default();
    for (at, fact) in facts.iter().enumerate() {
        log.take(fact);
        let Fact::Told { site, from, to, commit } = fact else { continue };
        let is_followed =
            |records: &Vec<Record>| records.iter().any(|record| follows(*site, record));
        if to <= from {
            return Err((at, format!("{to:?} was told behind {from:?}")));
        }
        let between = log.commits.iter().filter(|(place, _)| *from < **place && **place < *to);
        if let Some((place, _)) = between.clone().find(|(_, records)| is_followed(records)) {
            return Err((at, format!("{place:?} was not told")));
        }
        if log.commits.get(to).is_none_or(|records| is_followed(records) != *commit) {
            return Err((at, format!("{to:?} is not what was told")));
        }
    }
    Ok(())
}

fn every_store_is_the_fold_at_its_position(facts: &[Fact]) -> Result<(), Finding> {
    let (mut log, empty) = (Log::default(), Content::default());
    let mut folds = vec![BTreeMap::<Place, Content>::new(); SITES.len()];
    for (at, fact) in facts.iter().enumerate() {
        log.take(fact);
        if let Fact::Stored { revision, .. } = fact {
            for (site, folds) in folds.iter_mut().enumerate() {
                let first = Place { revision: *revision, index: 0 };
                for (place, records) in log.commits.range(first..) {
                    let newest = folds.last_key_value().map(|(_, content)| content.clone());
                    let mut content = newest.unwrap_or_default();
                    let followed = records.iter().filter(|record| follows(site, record));
                    followed.for_each(|record| content.take(record));
                    folds.insert(*place, content);
                }
            }
        }
        let Fact::Store { site, place, content } = fact else { continue };
        let fold = folds[*site].range(..=*place).next_back().map_or(&empty, |(_, fold)| fold);
        if content != fold {
            return Err((at, format!("{content:?} is not {fold:?}")));
        }
    }
    Ok(())
}

fn history_is_reserved_before_a_dump(facts: &[Fact]) -> Result<(), Finding> {
    let mut reserved = BTreeMap::new();
    for (at, fact) in facts.iter().enumerate() {
        for (site, row) in Log::default().take(fact) {
            if row.state == SiteState::Reserved {
                reserved.insert((site, row.generation), row.cursor);
            }
        }
        if let Fact::Restored { site, generation, place, .. } = fact {
            let held = reserved.get(&(*site, *generation)).map(|cursor| cursor.place);
            if held.is_none_or(|held| held > *place) {
                return Err((at, format!("a dump at {place:?}, held from {held:?} on")));
            }
        }
    }
    Ok(())
}

fn needed_history_is_held_or_evicted(facts: &[Fact]) -> Result<(), Finding> {
    let (mut log, mut before) = (Log::default(), Revision(1));
    for (at, fact) in facts.iter().enumerate() {
        for (_, row) in log.take(fact) {
            if row.state == SiteState::Evicted && row.reason.is_none_or(|why| why.is_empty()) {
                return Err((at, "an eviction without a reason".into()));
            }
        }
        let Fact::Trimmed { floor, evicted, .. } = fact else { continue };
        for (site, row) in log.rows().filter(|(_, row)| row.state.holds()) {
            let needed = row.cursor.place.revision.max(Revision(1));
            let was_there = needed >= before;
            let name = SITES[site].name;
            if was_there && needed < *floor && !evicted.iter().any(|one| one == name) {
                return Err((at, format!("{name} stands at {needed}, the log begins at {floor}")));
            }
        }
        before = *floor;
    }
    Ok(())
}

fn held_history_is_bounded(facts: &[Fact]) -> Result<(), Finding> {
    let mut log = Log::default();
    for (at, fact) in facts.iter().enumerate() {
        log.take(fact);
        let Fact::Trimmed { floor, hold, evicted } = fact else { continue };
        for (site, row) in log.rows().filter(|(_, row)| row.state.holds()) {
            let first = (*floor).max(row.cursor.place.revision.next());
            let behind: u64 = log.bytes.range(first..).map(|(_, bytes)| bytes).sum();
            // A start does not count the piece of the log that its snapshot ends in, an entry here,
            // and of the step that the site stands in it is not known how much is behind.
            let entry = log.bytes.values().max().copied().unwrap_or_default();
            let uncounted = entry + entry.max(STEP_BYTES);
            let name = SITES[site].name;
            if behind > hold + uncounted && !evicted.iter().any(|one| one == name) {
                return Err((at, format!("{behind} bytes are held for {name}, {hold} may be")));
            }
        }
    }
    Ok(())
}

fn a_dump_that_is_outrun_fails(facts: &[Fact]) -> Result<(), Finding> {
    let mut log = Log::default();
    for (at, fact) in facts.iter().enumerate() {
        let states: BTreeMap<usize, SiteState> = match fact {
            Fact::Stored { .. } => log.rows().map(|(site, row)| (site, row.state)).collect(),
            _ => BTreeMap::new(),
        };
        for (site, row) in log.take(fact) {
            let was = states.get(&site).copied();
            let takes = matches!(was, Some(SiteState::Reserved | SiteState::Dumping));
            let reason = row.reason.as_deref().unwrap_or_default();
            if row.state == SiteState::Evicted
                && takes
                && reason.contains(" bytes")
                && !reason.contains("bytes/s")
            {
                return Err((at, format!("no rate of history: {reason}")));
            }
        }
        let Fact::Restored { site, generation, .. } = fact else { continue };
        let row = log.rows().find(|(number, _)| number == site).map(|(_, row)| row);
        let Some(row) = row.filter(|row| row.generation == *generation) else { continue };
        // One that is shared with a site that still waits for it is of use.
        let waits = |other: &Site| {
            matches!(other.state, SiteState::Reserved | SiteState::Dumping)
                && (other.source == row.source && other.cursor == row.cursor)
        };
        if row.state == SiteState::Evicted && !log.rows().any(|(_, other)| waits(other)) {
            return Err((at, format!("{} was evicted: {:?}", SITES[*site].name, row.reason)));
        }
    }
    Ok(())
}

fn a_dump_of_no_use_is_not_given_again(facts: &[Fact]) -> Result<(), Finding> {
    // The newest dump of each site, with its place, and those from which it could not go on.
    let mut restored = BTreeMap::new();
    let mut of_no_use = BTreeSet::new();
    for (at, fact) in facts.iter().enumerate() {
        match fact {
            // One that an operator has removed begins anew.
            Fact::Stored { commits, .. } => {
                let rows = commits.iter().flatten().filter_map(row_of);
                let removed = rows.filter(|(_, row)| row.is_none()).map(|(site, _)| site);
                removed.for_each(|removed| of_no_use.retain(|(site, _)| *site != removed));
            }
            Fact::Restored { site, dump, place, .. } => {
                restored.insert(*site, (*dump, *place));
            }
            Fact::Reset { site, place } => {
                let newest = restored.get(site).filter(|(_, restored)| restored == place);
                of_no_use.extend(newest.map(|(dump, _)| (*site, *dump)));
            }
            Fact::Given { site, dump } if of_no_use.contains(&(*site, *dump)) => {
                return Err((at, format!("{} takes dump {dump} again", SITES[*site].name)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn only_the_newest_registration_is_heard(facts: &[Fact]) -> Result<(), Finding> {
    let mut log = Log::default();
    for (at, fact) in facts.iter().enumerate() {
        log.take(fact);
        if let Fact::Heard { site, generation, at: place } = fact {
            let newest = log.row_at(*site, *place).map(|row| row.generation);
            if newest != Some(*generation) {
                return Err((at, format!("{generation} was heard, {newest:?} is the newest")));
            }
        }
    }
    Ok(())
}

fn no_cursor_is_ahead_of_its_store(facts: &[Fact]) -> Result<(), Finding> {
    let mut stores = vec![Place::default(); SITES.len()];
    for (at, fact) in facts.iter().enumerate() {
        if let Fact::Store { site, place, .. } = fact {
            stores[*site] = stores[*site].max(*place);
        }
        for (site, row) in Log::default().take(fact) {
            let Position { place, .. } = row.cursor;
            if row.state.is_ready() && place > stores[site] {
                return Err((at, format!("{site} is at {place:?}, {:?} is stored", stores[site])));
            }
        }
    }
    Ok(())
}

fn every_site_gets_there(facts: &[Fact]) -> Result<(), Finding> {
    let mut log = Log::default();
    for (at, fact) in facts.iter().enumerate() {
        log.take(fact);
        if *fact != Fact::Quiet {
            continue;
        }
        let mut commits = log.commits.iter().rev();
        let increment = commits.find(|(_, records)| !records.iter().all(is_of_sites));
        let end = increment.map(|(place, _)| *place).unwrap_or_default();
        for (site, Spec { name, .. }) in SITES.iter().enumerate() {
            let row = log.rows().find(|(number, _)| *number == site).map(|(_, row)| row);
            if row.is_none_or(|row| row.state != SiteState::Live || row.cursor.place < end) {
                return Err((at, format!("{name} is {row:?}, the end is {end:?}")));
            }
        }
    }
    Ok(())
}

fn an_idle_log_does_not_grow(facts: &[Fact]) -> Result<(), Finding> {
    let quiet = facts.iter().position(|fact| *fact == Fact::Quiet).unwrap_or(facts.len());
    let grows = |fact: &Fact| matches!(fact, Fact::Stored { .. });
    match facts.iter().skip(quiet).position(grows) {
        Some(at) => Err((quiet + at, "an entry, and no writer".into())),
        None => Ok(()),
    }
}
