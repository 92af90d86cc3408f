//! Coverage-guided fuzzing of every decoder and session: replays known inputs, then looks for more.
//! The targets are in `fuzz/targets`, their seeds in `fuzz/seeds`.

use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Deserialize;

use crate::workspace::Workspace;
use crate::{Fallible, process};

/// Time that ci gives each target: enough to find known faults again.
pub(crate) const CI_SECONDS: u32 = 10;

const MANIFEST: &str = "fuzz/Cargo.toml";
const INPUT_BYTES: u32 = 4096;
/// Beyond it an input is too slow.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MB: u32 = 1024;
/// Lines of a failed target's output: the assertion, the stack, where the input lies.
const LINES_SHOWN: usize = 80;

/// Runs the targets named, or all of them.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    let (seconds, named) = match args {
        [flag, seconds, named @ ..] if flag == "--seconds" => (seconds.parse()?, named),
        named => (CI_SECONDS, named),
    };
    let mut targets = targets(workspace)?;
    if let Some(unknown) = named.iter().find(|name| !targets.contains(name)) {
        return Err(format!("no target `{unknown}`; there are {}", targets.join(", ")).into());
    }
    if !named.is_empty() {
        targets.retain(|target| named.contains(target));
    }
    if !is_there() {
        return Err("cargo-fuzz is needed: `cargo install cargo-fuzz --locked`".into());
    }
    match run_all(workspace, &targets, seconds)? {
        0 => Ok(()),
        failed => Err(format!("{failed} of {} targets failed", targets.len()).into()),
    }
}

/// Returns true if targets can be built here.
pub(crate) fn is_there() -> bool {
    process::works("cargo", &["fuzz", "--version"])
}

/// The names of the targets.
pub(crate) fn targets(workspace: &Workspace) -> Fallible<Vec<String>> {
    #[derive(Deserialize)]
    struct Manifest {
        bin: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let text = workspace.text(MANIFEST).ok_or_else(|| format!("{MANIFEST} is missing"))?;
    let Manifest { bin } = toml::from_str(&text)?;
    Ok(bin.into_iter().map(|target| target.name).collect())
}

/// Builds everything, runs as many at a time as there are cores, and counts failures.
///
/// Without a sanitizer: there is no unsafe code to look into, and an input's memory is bounded by
/// the targets themselves. It also needs no more than a stable compiler.
pub(crate) fn run_all(workspace: &Workspace, targets: &[String], seconds: u32) -> Fallible<usize> {
    // Said outright, because CARGO_TARGET_DIR would lead elsewhere.
    let built = workspace.root.join("fuzz/target").display().to_string();
    let build = ["fuzz", "build", "--sanitizer", "none", "--target-dir", &built];
    process::watch(&mut workspace.cargo(&build))?;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(output) = run_one(workspace, target, seconds) {
                        failed.lock().unwrap_or_else(|e| e.into_inner()).push((target, output));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(|e| e.into_inner());
    for (target, output) in &failed {
        println!("{target}: failed\n{output}");
        println!("repeat: cargo fuzz run --sanitizer none {target} <the file named above>");
    }
    Ok(failed.len())
}

/// Replays the seeds and what was found here before, then goes on for some time. An error is the
/// end of what the target said.
fn run_one(workspace: &Workspace, target: &str, seconds: u32) -> Result<(), String> {
    let [corpus, artifacts] = ["corpus", "artifacts"].map(|kind| {
        let directory = workspace.root.join("fuzz").join(kind).join(target);
        std::fs::create_dir_all(&directory).map(|()| directory).map_err(|e| e.to_string())
    });
    let output = Command::new(binary(workspace, target))
        .current_dir(&workspace.root)
        .args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={INPUT_BYTES}"),
            format!("-timeout={INPUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MB}"),
            format!("-artifact_prefix={}/", artifacts?.display()),
        ])
        .arg(corpus?)
        .arg(workspace.root.join("fuzz/seeds").join(target))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    if !output.status.success() {
        let shown = lines.len().saturating_sub(LINES_SHOWN);
        return Err(lines[shown..].join("\n"));
    }
    println!("{target}: {}", lines.last().copied().unwrap_or_default());
    Ok(())
}

/// `cargo fuzz` builds for the machine it runs on, into a directory of that name.
fn binary(workspace: &Workspace, target: &str) -> PathBuf {
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    workspace.root.join("fuzz/target").join(machine).join("release").join(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_source_and_seeds() {
        let workspace = Workspace::open().unwrap();

        for target in targets(&workspace).unwrap() {
            let source = format!("fuzz/targets/{target}.rs");
            assert!(workspace.files.contains(&source), "{source}");
            let seeds = format!("fuzz/seeds/{target}/");
            assert!(workspace.files.iter().any(|file| file.starts_with(&seeds)), "{seeds}");
        }
    }
}
