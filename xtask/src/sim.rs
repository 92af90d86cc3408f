//! The seeded simulation: whole clusters on a simulated disk and network.

use std::process::Command;

use crate::workspace::Workspace;
use crate::{Fallible, process};

const PACKAGE: &str = "instep-sim";

/// Seeds that ci runs: the same each time, so that a red run is red on every machine.
const CI_SEEDS: &str = "200";

/// Passes the arguments on; without any, runs the seeds of ci.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    if !is_there(workspace) {
        return Err(format!("{PACKAGE} has no binary yet").into());
    }
    // Built as a part of the whole: alone its dependencies have other features, and all that ci
    // has built would be built again.
    let build = ["build", "--quiet", "--locked", "--workspace", "--bin", PACKAGE];
    process::watch(&mut workspace.cargo(&build))?;
    let mut command = Command::new(workspace.target.join("debug").join(PACKAGE));
    command.current_dir(&workspace.root);
    if args.is_empty() {
        command.args(["--seeds", CI_SEEDS]);
    }
    process::watch(command.args(args))
}

/// Returns true if the simulator can be run at all.
pub(crate) fn is_there(workspace: &Workspace) -> bool {
    workspace
        .package(PACKAGE)
        .is_some_and(|package| package.targets.iter().any(|t| t.kind.iter().any(|k| k == "bin")))
}
