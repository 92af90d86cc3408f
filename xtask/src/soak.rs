//! Soak tests: a reader that stops reading while messages flow, for a minute and among a thousand
//! (law 9), a million messages that are cleaned away when they are done, ten thousand
//! connections of one stranger, a hundred thousand records at three sites, a million behind one
//! that is away, sites that are idle for a minute, and bounds in time.
//!
//! The tests are in `crates/cli/tests/it`; ci runs them in a short form, and without the bounds
//! in time (`running.rs` `hold_time`), which say nothing where something else runs.

use crate::workspace::Workspace;
use crate::{Fallible, process};

const PACKAGE: &str = "instep-cli";
const TESTS: &str = "it";
const DEFAULT_SECONDS: u32 = 60;
const READERS: &str = "1000";
const MESSAGES: &str = "1000000";
const STRANGERS: &str = "10000";
const RECORDS: &str = "100000";
const BACKLOG: &str = "1000000";

/// Names of the tests, or the modules that they are in.
const RUN: &[&str] = &[
    "stuck::",
    "smq_17_finished",
    "limits::strangers::",
    "limits::crowds::",
    "smq_08_a_list",
    "smq_18_",
    "smq_19_and_23_",
    "snk_19_",
    "site_protocol::backlog::",
    "site_protocol::crowd::",
    "sites::records::",
];

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
    let args = ["test", "--locked", "-p", PACKAGE, "--test", TESTS, "--"];
    let alone = ["--nocapture", "--test-threads=1"];
    let mut tests = workspace.cargo(&args);
    tests
        .args(RUN)
        .args(alone)
        .env("INSTEP_TIMED", "1")
        .env("SOAK_SECONDS", seconds.to_string())
        .env("SOAK_READERS", READERS);
    tests.env("SOAK_MESSAGES", MESSAGES).env("STRANGERS", STRANGERS);
    tests.env("SITE_RECORDS", RECORDS).env("SITE_BACKLOG", BACKLOG);
    process::watch(&mut tests)
}
