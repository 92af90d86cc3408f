//! The seeded simulation: whole clusters on a simulated disk and network.

use crate::workspace::Workspace;
use crate::{Fallible, process};

const PACKAGE: &str = "instep-sim";

/// What ci runs: the same seeds each time, so that a red run is red for everybody.
const CI_SEEDS: &str = "200";

/// Passes the arguments on; without any, runs the seeds of ci.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    if !is_there(workspace) {
        return Err(format!("{PACKAGE} has no binary yet").into());
    }
    let mut command = workspace.cargo(&["run", "--quiet", "--locked", "-p", PACKAGE, "--"]);
    if args.is_empty() {
        command.args(["--seeds", CI_SEEDS]);
    }
    process::watch(command.args(args))
}

/// Whether the simulator can be run at all.
pub(crate) fn is_there(workspace: &Workspace) -> bool {
    workspace
        .package(PACKAGE)
        .is_some_and(|package| package.targets.iter().any(|t| t.kind.iter().any(|k| k == "bin")))
}
