//! `instep check`: looks for damage of data on disk, and repairs it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use instep::model::mail::{Seq, Status};
use instep::model::position::Incarnation;
use instep::model::snapshot::Reader;
use instep::{NEWEST_ENTRY, check_formats};
use instep_embedded::bodies::{self, BodyReport};
use instep_embedded::check::{self, Report};
use instep_embedded::error::OpenError;
use instep_embedded::real::RealDisk;
use instep_embedded::repair::{self, RepairReport};
use instep_embedded::snapshot::SnapshotStore;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::failure::Failure;
use crate::output;

/// Directory of the datasets in a data directory.
const DATASETS: &str = "datasets";

/// Check data on disk, byte by byte. The server must not be running.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A data directory, or the directory of one dataset.
    directory: PathBuf,
    /// Keep readable entries, and move the rest to the folder 'damaged'. Where entries are lost,
    /// every reader begins anew.
    #[arg(long)]
    repair: bool,
}

/// A directory after the check, and after the repair if there was one.
struct Checked {
    directory: PathBuf,
    report: Report,
    repair: Option<RepairReport>,
    bodies: Option<Bodies>,
    /// Directory that bodies which cannot be read were moved to.
    bodies_aside: Option<PathBuf>,
}

/// The bodies of messages: how they are, or why that cannot be said.
type Bodies = Result<BodyReport, String>;

impl Checked {
    fn is_healthy(&self) -> bool {
        let bodies = self.bodies.as_ref();
        self.report.is_healthy()
            && bodies.is_none_or(|bodies| bodies.as_ref().is_ok_and(|one| one.problems.is_empty()))
    }
}

pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    let directories = directories(&arguments.directory)?;
    // Also where no dataset was made yet.
    let is_data = directories != [arguments.directory.clone()]
        || arguments.directory.join("admin.key").symlink_metadata().is_ok();
    let mut damaged = Vec::new();
    let mut failed = None;
    for error in instep::check_data(&arguments.directory).into_iter().filter(|_| is_data) {
        if let Some(before) = failed.replace(Failure::from(error)) {
            before.report(json);
        }
    }
    let bar = output::bar(directories.len() as u64, "{spinner} checking {msg}");
    for directory in directories {
        bar.set_message(directory.display().to_string());
        let checked = match check_one(&directory, arguments.repair) {
            Ok(checked) => checked,
            // The others are looked at all the same.
            Err(error) => {
                let text = error.to_string();
                if let Some(before) = failed.replace(Failure::of_engine(&error, text)) {
                    bar.suspend(|| before.report(json));
                }
                continue;
            }
        };
        bar.suspend(|| {
            if json {
                output::json(&as_json(&checked))
            } else {
                output::lines(words(&checked).as_bytes())
            }
        })?;
        if !checked.is_healthy() {
            damaged.push(checked.directory);
        }
    }
    bar.finish_and_clear();
    match (failed, damaged.first()) {
        (Some(failed), _) => Err(failed),
        (None, Some(first)) => Err(Failure::Damaged(summary(first, damaged.len()))),
        (None, None) => Ok(()),
    }
}

fn summary(first: &Path, damaged: usize) -> String {
    match damaged {
        1 => format!("{} is damaged", first.display()),
        more => format!("{more} datasets are damaged, the first is {}", first.display()),
    }
}

/// The datasets in a data directory; or the directory itself.
pub(super) fn directories(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !directory.is_dir() {
        return Err(Failure::Usage(format!("{} is no directory", directory.display())));
    }
    let datasets = directory.join(DATASETS);
    let unreadable =
        |error: std::io::Error| Failure::Storage(format!("{}: {error}", datasets.display()));
    match datasets.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![directory.to_owned()]),
        Err(error) => return Err(unreadable(error)),
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(unreadable(ErrorKind::NotADirectory.into())),
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&datasets).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // A name with a dot is a dataset that was not made or removed to the end.
        let is_left = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let may_be_one = match path.metadata() {
            Ok(metadata) => metadata.is_dir(),
            // Why it cannot be looked at is said when it is opened.
            Err(error) => error.kind() != ErrorKind::NotFound,
        };
        if may_be_one && !is_left {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn check_one(directory: &Path, repair: bool) -> Result<Checked, OpenError> {
    check_formats(directory)?;
    let report = check::check(&RealDisk, directory, NEWEST_ENTRY)?;
    let bodies = match bodies::check(directory) {
        // A damaged file begins anew at a start; one that cannot be read, or is newer, prevents the
        // start.
        Err(error) if !error.is_damage() => {
            let source = std::io::Error::new(error.kind(), error);
            return Err(OpenError::Storage { path: directory.join(bodies::FILE), source });
        }
        looked => looked.map_err(|error| error.to_string()).transpose(),
    };
    let directory = directory.to_owned();
    let bodies_aside = if repair {
        bodies::repair(&directory)
            .map_err(|source| OpenError::Storage { path: directory.join(bodies::FILE), source })?
    } else {
        None
    };
    let bodies = match &bodies_aside {
        Some(_) => None,
        None => compared(bodies, needed_bodies(&directory, &report)),
    };
    if !repair || report.is_healthy() {
        return Ok(Checked { directory, report, repair: None, bodies, bodies_aside });
    }
    let repaired = repair::repair(&RealDisk, &directory, Incarnation(Uuid::new_v4()))?;
    // The report is of the directory as repaired.
    let report = check::check(&RealDisk, &directory, NEWEST_ENTRY)?;
    Ok(Checked { directory, report, repair: Some(repaired), bodies, bodies_aside })
}

/// Bodies that the newest good snapshot needs; none without a snapshot.
fn needed_bodies(directory: &Path, report: &Report) -> Option<u64> {
    let disk = std::sync::Arc::new(RealDisk);
    let snapshots = directory.join("snapshots");
    let store = SnapshotStore::open(disk, snapshots, report.lineage.clone()).ok()?;
    let good = report.snapshots.iter().rev().filter(|snapshot| snapshot.fault.is_none());
    let state = good.into_iter().find_map(|snapshot| {
        let mut chunks = store.read(snapshot.revision).ok()?;
        let mut reader = Reader::default();
        while let Some(chunk) = chunks.next_chunk().ok()? {
            reader.push(&chunk).ok()?;
        }
        reader.finish().ok()
    })?;
    let unfinished = |status| matches!(status, Status::Pending | Status::Dead);
    let messages = state.mail.messages_after(Seq::ZERO);
    Some(messages.filter(|(_, message)| unfinished(message.status)).count() as u64)
}

/// Missing bodies show in a comparison with those that a snapshot needs.
fn compared(bodies: Option<Bodies>, needed: Option<u64>) -> Option<Bodies> {
    let needed = needed.unwrap_or(0);
    let there = match &bodies {
        None => 0,
        Some(Ok(report)) if report.problems.is_empty() => report.bodies,
        Some(_) => return bodies,
    };
    if needed <= there {
        return bodies;
    }
    let problem = format!(
        "{} holds {there} bodies, and {needed} messages of the newest snapshot need one: a start \
         takes the others from the log, as far as it goes back",
        bodies::FILE
    );
    let mut report = bodies.and_then(Result::ok).unwrap_or_default();
    report.problems.push(problem);
    Some(Ok(report))
}

fn words(checked: &Checked) -> String {
    let Checked { directory, report, repair, bodies, bodies_aside } = checked;
    let health = match (checked.is_healthy(), report.incarnation) {
        (true, Some(_)) => "healthy",
        (true, None) => "holds no log",
        (false, _) if report.starts() => "DAMAGED, and a server starts with it",
        (false, _) => "DAMAGED, and no server starts with it",
    };
    let mut text = format!("{}: {health}\n", directory.display());
    if let Some(repair) = repair {
        text.push_str(&repair_words(repair));
    }
    if let Some(aside) = bodies_aside {
        text.push_str(&format!(
            "  kept aside {}: bodies that cannot be read; the next start takes them from the log, \
             as far as it goes back\n",
            aside.display()
        ));
    }
    if let Some(incarnation) = report.incarnation {
        let (size, segments) = (output::bytes(report.bytes), report.segments);
        text.push_str(&format!(
            "  history    {incarnation}\n  log        entries {} to {}, {size} in {segments} \
             segments\n",
            report.floor, report.head
        ));
    }
    for snapshot in &report.snapshots {
        let state = snapshot.fault.as_ref().map_or("good".into(), |fault| format!("BAD: {fault}"));
        let file = snapshot.file.display();
        text.push_str(&format!("  snapshot   at {}: {state} ({file})\n", snapshot.revision));
    }
    if let Some(torn) = &report.torn {
        text.push_str(&format!(
            "  unfinished a write of {} bytes at the end of {}; the next start cuts it off, and \
             it was never acknowledged\n",
            torn.end - torn.offset,
            torn.file.display()
        ));
    }
    if report.repair_unfinished {
        text.push_str("  repair     did not come to its end: run check --repair again\n");
    }
    if let Some(damage) = &report.damage {
        text.push_str(&format!("  damage     {damage}\n"));
    }
    match bodies {
        None => {}
        Some(Err(problem)) => text.push_str(&format!("  bodies     BAD: {problem}\n")),
        Some(Ok(bodies)) => {
            let (count, size) = (bodies.bodies, output::bytes(bodies.bytes));
            text.push_str(&format!("  bodies     {count} of messages, {size}\n"));
            for problem in &bodies.problems {
                text.push_str(&format!("  damage     {problem}\n"));
            }
        }
    }
    text
}

fn repair_words(repair: &RepairReport) -> String {
    let mut text = if repair.begins_anew {
        format!(
            "  repaired   kept up to entry {}, {} entries are lost; every reader begins anew\n",
            repair.head, repair.lost
        )
    } else {
        format!(
            "  repaired   kept up to entry {}, no entry is lost; history begins at entry {}\n",
            repair.head, repair.floor
        )
    };
    for moved in &repair.moved {
        text.push_str(&format!("  kept aside {}\n", moved.display()));
    }
    text
}

fn as_json(checked: &Checked) -> Value {
    let Checked { directory, report, repair, bodies, bodies_aside } = checked;
    let bodies = bodies.as_ref().map(|bodies| match bodies {
        Ok(found) => {
            json!({"bodies": found.bodies, "bytes": found.bytes, "problems": found.problems})
        }
        Err(problem) => json!({"problems": [problem]}),
    });
    let snapshots: Vec<Value> = report
        .snapshots
        .iter()
        .map(|snapshot| {
            json!({"file": snapshot.file, "revision": snapshot.revision, "fault": snapshot.fault})
        })
        .collect();
    let damage = report.damage.as_ref().map(|damage| {
        json!({"file": damage.file, "offset": damage.offset, "revision": damage.revision,
               "detail": damage.detail, "newest_seen": damage.newest_seen})
    });
    let torn = report.torn.as_ref().map(
        |torn| json!({"file": torn.file, "offset": torn.offset, "bytes": torn.end - torn.offset}),
    );
    let repair = repair.as_ref().map(|repair| {
        json!({"floor": repair.floor, "head": repair.head, "lost": repair.lost,
                   "begins_anew": repair.begins_anew, "moved": repair.moved})
    });
    json!({
        "directory": directory,
        "healthy": checked.is_healthy(),
        "starts": report.starts(),
        "incarnation": report.incarnation.map(|incarnation| incarnation.to_string()),
        "floor": report.floor,
        "head": report.head,
        "segments": report.segments,
        "bytes": report.bytes,
        "snapshots": snapshots,
        "torn": torn,
        "damage": damage,
        "repair_unfinished": report.repair_unfinished,
        "repaired": repair,
        "bodies": bodies,
        "bodies_aside": bodies_aside,
    })
}
