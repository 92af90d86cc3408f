//! Kill -9 under load, as often as asked: laws 1 and 2 on a real disk.
//!
//! The rounds are ordinary tests whose names start with `crash_`, in the binary's integration
//! tests (`crates/cli/tests/it/main.rs`). They run once in ci; here they are told how often
//! by `INSTEP_CRASH_ROUNDS`. `--sites` runs those of sites alone, in which agents and PostgreSQL
//! are killed as well.

use crate::workspace::Workspace;
use crate::{Fallible, process};

const PACKAGE: &str = "instep-cli";
const TESTS: &str = "it";
const ROUNDS: &str = "INSTEP_CRASH_ROUNDS";
const DEFAULT_ROUNDS: u32 = 50;

/// Runs the crash tests with the number of rounds in their environment.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    let (tests, args) = match args {
        [flag, rest @ ..] if flag == "--sites" => ("sites::crash::crash_", rest),
        _ => ("crash_", args),
    };
    let rounds = match args {
        [] => DEFAULT_ROUNDS,
        [flag, rounds] if flag == "--rounds" => rounds.parse()?,
        _ => return Err("usage: cargo xtask crash [--sites] [--rounds N]".into()),
    };
    if !workspace.has_target(PACKAGE, "test", TESTS) {
        return Err(format!("{PACKAGE} has no tests/{TESTS}/main.rs yet").into());
    }
    let args = ["test", "--locked", "-p", PACKAGE, "--test", TESTS, tests, "--", "--nocapture"];
    process::watch(workspace.cargo(&args).env(ROUNDS, rounds.to_string()))
}
