//! `instep restore`: a copy of data becomes another history, before a server starts on it.

mod parallel;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use instep::model::log::Log as _;
use instep::model::position::Incarnation;
use instep::{NEWEST_ENTRY, check_formats};
use instep_embedded::error::OpenError;
use instep_embedded::identity;
use instep_embedded::log::{EmbeddedLog, Options, SEGMENT_BYTES, Trimming};
use instep_embedded::real::RealDisk;
use serde_json::json;
use uuid::Uuid;

use super::check;
use crate::failure::Failure;
use crate::output;

/// Give data that was put back from a backup another history. The server must not be running.
///
/// Every reader begins anew then: commits after the backup are gone, and a reader that has seen
/// them must not go on as if they were there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A data directory, or the directory of one dataset.
    directory: PathBuf,
    /// Copy this backup there first; the directory must not exist.
    #[arg(long, value_name = "BACKUP")]
    from: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    // Without a slash at its end, as shells complete it.
    let directory = &arguments.directory.components().collect::<PathBuf>();
    let Some(backup) = &arguments.from else {
        let told = Told { json };
        return begin_anew(directory, directory, directory, told)?.print(json);
    };
    if directory.exists() {
        let there = format!("{} exists: a backup is restored beside it", directory.display());
        return Err(Failure::Usage(there));
    }
    if !backup.is_dir() {
        return Err(Failure::Usage(format!("{} is no directory", backup.display())));
    }
    if lies_within(directory, backup) {
        let within = format!("{} lies within the backup", directory.display());
        return Err(Failure::Usage(within));
    }
    // It has its name once all of it is there.
    let mut unnamed = directory.clone().into_os_string();
    unnamed.push(".restoring");
    let unnamed = PathBuf::from(unnamed);
    let failed = |error: std::io::Error| {
        Failure::Storage(format!(
            "cannot copy {} to {}: {error}",
            backup.display(),
            unnamed.display()
        ))
    };
    if unnamed.exists() {
        std::fs::remove_dir_all(&unnamed).map_err(failed)?;
    }
    let told = Told { json };
    let restored = copy(backup, &unnamed, told)
        .map_err(failed)
        .and_then(|()| begin_anew(&unnamed, directory, backup, told))
        .and_then(|restored| {
            if restored.failed.is_empty() {
                std::fs::rename(&unnamed, directory).map_err(failed).map(|()| restored)
            } else {
                // All of it or nothing.
                Ok(Restored { datasets: vec![], ..restored })
            }
        });
    if !directory.exists() {
        // Best effort: the next try removes it too.
        let _ = std::fs::remove_dir_all(&unnamed);
    }
    restored?.print(json)
}

/// True when a directory that is to be made would lie in the backup, and be copied into itself.
fn lies_within(directory: &Path, backup: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let above = directory.ancestors().skip(1).find_map(|above| match above.as_os_str().len() {
        0 => real(Path::new(".")),
        _ => real(above),
    });
    above.zip(real(backup)).is_some_and(|(above, backup)| above.starts_with(backup))
}

/// Datasets that have begun another history, and why others have not.
#[derive(Default)]
struct Restored {
    datasets: Vec<(String, Incarnation, u64)>,
    failed: Vec<Failure>,
}

impl Restored {
    fn print(self, json: bool) -> Result<(), Failure> {
        for (name, incarnation, head) in self.datasets {
            if json {
                output::json(&json!({"directory": name, "head": head,
                    "incarnation": incarnation.to_string()}))?
            } else {
                output::line(&format!(
                    "{name}: up to entry {head}, from here on history {incarnation}"
                ))?
            }
        }
        let mut failed = self.failed;
        let last = failed.pop();
        for failure in failed {
            failure.report(json);
        }
        last.map_or(Ok(()), Err)
    }
}

/// Progress on stderr, of a restore that takes longer than [`TELL_EVERY`].
#[derive(Clone, Copy)]
struct Told {
    json: bool,
}

impl Told {
    /// Does something with each item, and tells how many are done.
    fn each<T: Sync, R: Send>(
        self,
        what: &str,
        items: &[T],
        work: impl Fn(&T) -> R + Sync,
    ) -> Vec<R> {
        let tell = &mut |done: usize| {
            // Errors are all that stderr has in JSON.
            if !self.json {
                output::progress(&format!("{done} of {} {what}", items.len()));
            }
        };
        parallel::each(items, TELL_EVERY, tell, work)
    }
}

/// Gives every dataset another history, and names it by where it will be found.
fn begin_anew(
    directory: &Path,
    named: &Path,
    backup: &Path,
    told: Told,
) -> Result<Restored, Failure> {
    let mut restored = Restored::default();
    let datasets = check::directories(directory)?;
    let begun = told.each("datasets have another history", &datasets, |path| begin_one(path));
    for (dataset, begun) in datasets.into_iter().zip(begun) {
        let name = dataset.strip_prefix(directory).map_or(dataset.clone(), |rest| named.join(rest));
        let name = name.display().to_string();
        match begun {
            Ok(None) => {}
            Ok(Some((incarnation, head))) => restored.datasets.push((name, incarnation, head)),
            // The others are restored all the same.
            Err(error) => {
                let failure = Failure::of_engine(&error, format!("{name}: {error}"));
                restored.failed.push(failure);
            }
        }
    }
    if restored.datasets.is_empty() && restored.failed.is_empty() {
        // A volume that is not mounted looks like this.
        return Err(Failure::Usage(format!("{} holds no dataset", backup.display())));
    }
    Ok(restored)
}

/// None for a directory without a log.
fn begin_one(directory: &Path) -> Result<Option<(Incarnation, u64)>, OpenError> {
    let of = OpenError::of(directory);
    let holds_log = std::fs::read_dir(directory)
        .map_err(of)?
        .flatten()
        .any(|entry| entry.path().extension().is_some_and(|ending| ending == "segment"));
    if !holds_log {
        return Ok(None);
    }
    check_formats(directory)?;
    let incarnation = Incarnation(Uuid::new_v4());
    let options = Options {
        directory: directory.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        new_incarnation: incarnation,
        trimming: Trimming::BelowSnapshots,
        newest_entry: NEWEST_ENTRY,
    };
    let log = EmbeddedLog::open_anew(Arc::new(RealDisk), options)?;
    identity::write(directory).map_err(OpenError::of(directory))?;
    Ok(Some((incarnation, log.bounds().head.0)))
}

/// Copies a directory; all of it is synced then.
fn copy(from: &Path, to: &Path, told: Told) -> std::io::Result<()> {
    let mut found = Found::default();
    found.make(from, to)?;
    // Behind an error nothing more is of use.
    let is_over = AtomicBool::new(false);
    let go_on = |work: &dyn Fn() -> std::io::Result<()>| {
        if is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
        work().inspect_err(|_| is_over.store(true, Ordering::Relaxed))
    };
    let copied =
        told.each("files copied", &found.files, |(from, to)| go_on(&|| copy_file(from, to)));
    copied.into_iter().collect::<std::io::Result<()>>()?;
    let synced = told.each("directories synced", &found.directories, |path| {
        go_on(&|| File::open(path)?.sync_all())
    });
    synced.into_iter().collect()
}

/// Directories that were made for a copy, and the files to be copied there.
#[derive(Default)]
struct Found {
    directories: Vec<PathBuf>,
    files: Vec<(PathBuf, PathBuf)>,
}

impl Found {
    fn make(&mut self, from: &Path, to: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if from.is_dir() {
                self.make(&from, &to)?;
            } else {
                self.files.push((from, to));
            }
        }
        self.directories.push(to.to_owned());
        Ok(())
    }
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    let mut target = options.write(true).create_new(true).mode(0o600).open(to)?;
    std::io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

/// Time after which a restore says how far it is, again and again.
const TELL_EVERY: Duration = Duration::from_secs(2);
