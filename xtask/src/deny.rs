//! Bans, licences, sources and advisories of all dependencies, by deny.toml and with cargo-deny.

use crate::workspace::Workspace;
use crate::{Fallible, process};

/// Checks that need nothing but the tree.
const OFFLINE: &[&str] = &["bans", "licenses", "sources"];

/// Patience with a server that answers slowly: bytes a second, and seconds below it.
const SLOW: &[(&str, &str)] =
    &[("GIT_HTTP_LOW_SPEED_LIMIT", "1000"), ("GIT_HTTP_LOW_SPEED_TIME", "30")];

/// Runs all checks. Advisories are a repository of their own: where it cannot be had, that is said,
/// and nothing fails.
pub(crate) fn run(workspace: &Workspace, _args: &[String]) -> Fallible<()> {
    if !is_there() {
        return Err("cargo-deny is needed: `cargo install --locked cargo-deny`".into());
    }
    let check = ["deny", "--locked", "check", "--hide-inclusion-graph"];
    process::watch(workspace.cargo(&check).args(OFFLINE))?;
    let mut fetch = workspace.cargo(&["deny", "--locked", "fetch", "db"]);
    if process::watch(fetch.envs(SLOW.iter().copied())).is_err() {
        println!("advisories NOT checked: their database cannot be fetched from here");
        return Ok(());
    }
    process::watch(&mut workspace.cargo(&["deny", "--offline", "check", "advisories"]))
}

/// Returns true if cargo-deny is installed.
pub(crate) fn is_there() -> bool {
    process::works("cargo", &["deny", "--version"])
}
