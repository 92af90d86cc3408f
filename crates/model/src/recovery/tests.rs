use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::commit::{Commit, Entry, Record, TableOptions};
use crate::feed::Mode;
use crate::log::memory::MemoryLog;
use crate::name::Key;
use crate::position::{Incarnation, Position};
use crate::row::{Fields, Row};
use crate::snapshot;
use crate::store::{Chunks, TakeChunk};
use crate::view::Visible;

fn here() -> Incarnation {
    Incarnation(Uuid::from_u128(1))
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Files of snapshots: bytes, or what the system answers.
#[derive(Default)]
struct Files(BTreeMap<Revision, Result<Bytes, i32>>);

impl Snapshots for Files {
    fn list(&self) -> io::Result<Vec<Revision>> {
        Ok(self.0.keys().copied().collect())
    }

    fn open(&self, revision: Revision) -> io::Result<Chunks> {
        let bytes = self.0[&revision].clone().map_err(io::Error::from_raw_os_error)?;
        Ok(Box::new(std::iter::once(Ok(bytes))))
    }

    fn write(
        &self,
        _: Revision,
        _: &mut dyn FnMut(&mut TakeChunk<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn covered(&self) -> Option<Revision> {
        None
    }
}

/// A log whose entry `n` puts row `n` of a public table, behind one that creates it.
fn log(entries: u64) -> MemoryLog {
    log_of(entries, |number| number)
}

/// A log whose entries put these rows of a public table, behind one that creates it.
fn log_of(entries: u64, row: impl Fn(u64) -> u64) -> MemoryLog {
    let mut log = MemoryLog::new(here());
    let mut mirror = Mirror::new(here(), State::default());
    for number in 1..=entries {
        let table = name("items");
        let record = match number {
            1 => Record::CreateTable { table, options: TableOptions { public: true } },
            _ => {
                let key = Key::new(&row(number).to_string()).unwrap();
                Record::Put { table, key, row: Row::from_canonical(b"{}") }
            }
        };
        let commit = Commit { commit_id: None, results: vec![], records: vec![record] };
        let State { history, applied, .. } = *mirror.state();
        let (writer, commits) = (Uuid::nil(), vec![commit]);
        let entry = Entry { writer, sequence: number, time_ms: 0, history, commits };
        let bytes = entry.encode();
        let revision = log.append(applied.revision, &bytes).unwrap();
        mirror.apply(revision, &bytes).unwrap();
    }
    log
}

fn recovered(log: &MemoryLog, state: State, views: Vec<View>) -> Recovery {
    recovered_in(log, state, views, 0)
}

/// Recovery by views of which each entry takes so long.
fn recovered_in(log: &MemoryLog, state: State, views: Vec<View>, entry_us: u64) -> Recovery {
    let mirror = Mirror::new(here(), state);
    let mut recovery = Recovery::new(mirror, name("shop"), views, Retention::default());
    let mut us = 0;
    let mut now_us = || {
        us += entry_us;
        us
    };
    let mut keep = |_: &[MailChange]| Ok(());
    recovery.replay(&*log.reader(), Replaying { keep: &mut keep, now_us: &mut now_us }).unwrap();
    recovery
}

/// A view of all items.
fn view(event: &str) -> View {
    let declaration = serde_json::json!({
        "name": "v", "dataset": "shop", "table": "items", "topic": "all", "event": event,
    });
    View::compile(&serde_json::from_value(declaration).unwrap()).unwrap()
}

/// State of a log up to an entry.
fn state(entries: u64) -> State {
    recovered(&log(entries), State::default(), vec![]).mirror.state().clone()
}

fn snapshot_of(state: &State) -> Result<Bytes, i32> {
    let mut bytes = vec![];
    let take = &mut |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok::<_, io::Error>(())
    };
    snapshot::write(state, take).unwrap();
    Ok(bytes.into())
}

#[test]
fn i8_the_newest_snapshot_that_reads_whole_counts_and_the_others_are_told() {
    let mut files = Files::default();
    files.0.insert(Revision(2), snapshot_of(&state(2)));
    files.0.insert(Revision(3), snapshot_of(&state(3)));
    files.0.insert(Revision(4), Ok(Bytes::from_static(b"something else")));
    let mut unusable = vec![];

    let found = newest_snapshot(&files, Revision(1), &mut |at, _| unusable.push(at)).unwrap();

    assert_eq!((found, unusable), (state(3), vec![Revision(4)]));
}

#[test]
fn a_log_that_begins_behind_every_snapshot_does_not_add_up_and_one_that_has_everything_does() {
    let mut files = Files::default();
    files.0.insert(Revision(2), snapshot_of(&state(2)));
    let find = |floor| newest_snapshot(&files, Revision(floor), &mut |_, _| {});

    assert_eq!(find(3).unwrap(), state(2));
    assert!(find(4).is_err_and(|error| error.is_damage()));
    files.0.clear();
    let none = newest_snapshot(&files, Revision(1), &mut |_, _| {}).unwrap();
    assert_eq!(none, State::default());
}

#[test]
fn a_shortage_of_the_system_passes_over_no_snapshot() {
    const TOO_MANY_OPEN_FILES: i32 = 24;
    let mut files = Files::default();
    files.0.insert(Revision(2), snapshot_of(&state(2)));
    files.0.insert(Revision(3), Err(TOO_MANY_OPEN_FILES));

    let found = newest_snapshot(&files, Revision(1), &mut |_, _| {});

    assert!(matches!(found, Err(RecoveryError::Storage(_))), "a retry may read it");
}

/// Definitions of views on a disk that may be full.
#[derive(Default)]
struct Noted {
    text: Mutex<Option<Vec<u8>>>,
    is_full: bool,
}

impl DefinitionStore for Noted {
    fn read(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.text.lock().unwrap().clone())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if self.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *self.text.lock().unwrap() = Some(bytes.to_vec());
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        *self.text.lock().unwrap() = None;
        Ok(())
    }
}

#[test]
fn law_3_views_that_come_back_behind_others_that_could_not_be_noted_count_as_changed() {
    let (mut log, mut noted) = (log(3), Noted::default());
    let mut start = |event: &str, noted: &Noted| {
        let views = vec![view(event)];
        let mut recovery = recovered(&log, State::default(), views.clone());
        let by = (Uuid::nil(), 0);
        let held = recovery.hold_definitions(&views, &mut log, noted, by).unwrap();
        (recovery, held.unwritten.is_some())
    };
    start("item", &noted);
    noted.is_full = true;
    let (others, is_unwritten) = start("thing", &noted);
    noted.is_full = false;

    let (recovery, _) = start("item", &noted);

    assert!(is_unwritten);
    let joined = recovery.feed.join("all", Some(Some(others.mirror.position()))).unwrap();
    assert_eq!(joined.mode, Mode::Reset, "it has rows that other views have shown");
}

#[test]
fn law_3_positions_behind_the_snapshot_can_be_resumed_with_views_and_without() {
    let log = log(6);

    for views in [vec![], vec![view("item")]] {
        let recovery = recovered(&log, state(3), views);

        assert_eq!(recovery.mirror.state(), &state(6));
        assert_eq!(recovery.feed.position(), recovery.mirror.position());
        let since = |revision| {
            let place = Place { revision: Revision(revision), index: 0 };
            let since = Some(Some(Position { incarnation: here(), place }));
            let joined = recovery.feed.join("table:shop/items", since).unwrap();
            (joined.mode, joined.notices.len())
        };
        let (reset, resume) = (Mode::Reset, Mode::Resume);
        assert_eq!([since(2), since(3), since(5)], [(reset, 5), (resume, 3), (resume, 1)]);
    }
}

#[test]
fn a_start_evaluates_slow_views_over_the_rows_and_the_last_entries_and_not_over_each_of_them() {
    const ENTRIES: u64 = 300;
    let log = log_of(ENTRIES, |_| 1);
    let evaluations = Arc::new(AtomicUsize::new(0));
    let start = |entry_us| {
        let counted = Arc::clone(&evaluations);
        let view = View::native(name("v"), name("items"), "all", "item", move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Some(Visible { topic: "all".into(), fields: Fields::new() })
        });
        let recovery = recovered_in(&log, State::default(), vec![view.unwrap()], entry_us);
        (recovery, evaluations.swap(0, Ordering::Relaxed))
    };

    let ((brisk, of_each), (slow, of_few)) = (start(0), start(limits::REPLAY_VIEWS_MS * 1_000));

    assert!(of_each as u64 > ENTRIES, "each entry brings a row, and most replace one");
    assert!(of_few <= 2 * limits::REPLAY_VIEWS_ENTRIES + 4, "{of_few}");
    assert_eq!(slow.mirror, brisk.mirror);
    assert_eq!(slow.feed.position(), brisk.feed.position());
    let join = |recovery: &Recovery, topic: &str, revision| {
        let place = Place { revision: Revision(revision), index: 0 };
        recovery.feed.join(topic, Some(Some(Position { incarnation: here(), place }))).unwrap()
    };
    let kept = ENTRIES - limits::REPLAY_VIEWS_ENTRIES as u64;
    for revision in [kept, ENTRIES - 1, ENTRIES] {
        let [one, other] = [&slow, &brisk].map(|recovery| join(recovery, "all", revision));
        assert_eq!((one.mode, &one), (Mode::Resume, &other), "{revision}");
    }
    let old = join(&slow, "all", kept - 1);
    assert_eq!((old.mode, old.notices.len()), (Mode::Reset, 1));
    let table = "table:shop/items";
    assert_eq!(join(&slow, table, 2), join(&brisk, table, 2), "tables need no views");
}

fn kept(contents: &'static [u8]) -> Files {
    Files(BTreeMap::from([(Revision(7), Ok(Bytes::from_static(contents)))]))
}

#[test]
fn a_newer_snapshot_is_refused_also_where_the_log_holds_everything() {
    // A frame with a header of format 5.
    let newer = kept(&[6, 0, 0, 0, 0, 5, 0, 0, 0, 0]);
    let error = newest_snapshot(&newer, Revision(1), &mut |_, _| {}).unwrap_err();

    assert!(matches!(error, RecoveryError::NewerSnapshot { .. }) && error.is_damage());
    let said = "snapshot 7: the snapshot has format 5, this program reads up to 4";
    assert!(error.to_string().contains(said), "{error}");
}
