//! A reader that stops reading while messages flow, for a minute and among a thousand (law 9).
//!
//! The tests are those of `crates/instep/tests/it/stuck.rs`, which ci runs for a few seconds each.

use crate::workspace::Workspace;
use crate::{Fallible, process};

const PACKAGE: &str = "instep-cli";
const TESTS: &str = "it";
const DEFAULT_SECONDS: u32 = 60;
const READERS: &str = "1000";

/// Runs them with that length and size in their environment.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    let seconds = match args {
        [] => DEFAULT_SECONDS,
        [flag, seconds] if flag == "--seconds" => seconds.parse()?,
        _ => return Err("usage: cargo xtask soak [--seconds N]".into()),
    };
    if !workspace.has_target(PACKAGE, "test", TESTS) {
        return Err(format!("{PACKAGE} has no tests/{TESTS}/main.rs yet").into());
    }
    let args = ["test", "--locked", "-p", PACKAGE, "--test", TESTS, "stuck::", "--"];
    let alone = ["--nocapture", "--test-threads=1"];
    let mut tests = workspace.cargo(&args);
    tests.args(alone).env("SOAK_SECONDS", seconds.to_string()).env("SOAK_READERS", READERS);
    process::watch(&mut tests)
}
