//! `instep restore`: a copy of data becomes another history, before a server starts on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use instep::model::log::Log as _;
use instep::model::position::Incarnation;
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
/// Every reader begins anew then: what was committed after the backup is gone, and nobody who has
/// seen it may go on as if it were there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A data directory, or the directory of one dataset.
    directory: PathBuf,
    /// Copy this backup there first; the directory must not exist.
    #[arg(long, value_name = "BACKUP")]
    from: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { directory, from } = arguments;
    let Some(backup) = from else { return begin_anew(directory, directory, json) };
    if directory.exists() {
        let there = format!("{} exists: a backup is restored beside it", directory.display());
        return Err(Failure::Usage(there));
    }
    if !backup.is_dir() {
        return Err(Failure::Usage(format!("{} is no directory", backup.display())));
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
    let restored = copy(backup, &unnamed)
        .map_err(failed)
        .and_then(|()| begin_anew(&unnamed, directory, json))
        .and_then(|()| std::fs::rename(&unnamed, directory).map_err(failed));
    if restored.is_err() {
        // Best effort: the next try removes it too.
        let _ = std::fs::remove_dir_all(&unnamed);
    }
    restored
}

/// Gives every dataset another history; says where it will be found.
fn begin_anew(directory: &Path, named: &Path, json: bool) -> Result<(), Failure> {
    let mut failed = None;
    for dataset in check::directories(directory)? {
        let name = dataset.strip_prefix(directory).map_or(dataset.clone(), |rest| named.join(rest));
        let name = name.display();
        match begin_one(&dataset) {
            Ok(None) => {}
            Ok(Some((incarnation, head))) => match json {
                true => output::json(&json!({"directory": name.to_string(), "head": head,
                    "incarnation": incarnation.to_string()}))?,
                false => output::line(&format!(
                    "{name}: up to entry {head}, from here on history {incarnation}"
                ))?,
            },
            // The others are restored all the same.
            Err(error) => {
                let text = format!("{name}: {error}");
                if let Some(before) = failed.replace(Failure::of_engine(&error, text)) {
                    before.report(json);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
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
    let incarnation = Incarnation(Uuid::new_v4());
    let options = Options {
        directory: directory.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        new_incarnation: incarnation,
        trimming: Trimming::BelowSnapshots,
    };
    let log = EmbeddedLog::open_anew(Arc::new(RealDisk), options)?;
    identity::write(directory).map_err(OpenError::of(directory))?;
    Ok(Some((incarnation, log.bounds().head.0)))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            let mut options = File::options();
            let mut target = options.write(true).create_new(true).mode(0o600).open(&to)?;
            std::io::copy(&mut File::open(&from)?, &mut target)?;
            target.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}
