//! Everything that must hold before a change is on main, in the order of its cost.

mod counts;

use std::time::Instant;

use crate::workspace::Workspace;
use crate::{Fallible, deny, fuzz, process, sim, tidy};
use counts::Counts;

const WEB_TESTS: &str = "web/tests";
/// Clients of other projects, with dependencies of their own.
const FIELD_CLIENTS: &str = "conformance/clients/rust/Cargo.toml";

struct Stage {
    name: &'static str,
    /// Nothing after this stage can tell anything once it has failed.
    vital: bool,
    run: fn(&Workspace) -> Fallible<Counts>,
}

const QUICK: &[Stage] = &[
    Stage { name: "format", vital: false, run: format },
    Stage { name: "tidy", vital: false, run: |workspace| gate(tidy::run(workspace, &[])) },
    Stage { name: "lints", vital: false, run: lints },
];

const SLOW: &[Stage] = &[
    Stage { name: "dependencies", vital: false, run: dependencies },
    Stage { name: "build", vital: true, run: build },
    Stage { name: "tests", vital: false, run: tests },
    Stage { name: "documentation tests", vital: false, run: doc_tests },
    Stage { name: "simulation", vital: false, run: simulation },
    Stage { name: "fuzz", vital: false, run: fuzz_targets },
    Stage { name: "clients and browser", vital: false, run: web },
];

/// The stages that answer within half a minute on a warm tree.
pub(crate) fn check(workspace: &Workspace, _args: &[String]) -> Fallible<()> {
    run_stages(workspace, &QUICK.iter().collect::<Vec<_>>(), false)
}

/// All stages. Stops at the first that fails, unless told `--keep-going`.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    let keep_going = match args {
        [] => false,
        [flag] if flag == "--keep-going" => true,
        _ => return Err("usage: cargo xtask ci [--keep-going]".into()),
    };
    run_stages(workspace, &QUICK.iter().chain(SLOW).collect::<Vec<_>>(), keep_going)
}

/// The last line printed is always the sum, whatever happened before it.
///
/// A stage without tests of its own, such as the format, adds one failure when it fails and
/// nothing when it holds: the sum counts tests.
fn run_stages(workspace: &Workspace, stages: &[&Stage], keep_going: bool) -> Fallible<()> {
    let mut sum = Counts::default();
    let mut report = Vec::new();
    let mut stopped = false;
    for stage in stages {
        if stopped {
            report.push(format!("not run  {}", stage.name));
            continue;
        }
        println!("\n== {}", stage.name);
        let started = Instant::now();
        let counts = (stage.run)(workspace).unwrap_or_else(|reason| {
            println!("{}: {reason}", stage.name);
            Counts::failure()
        });
        let (state, seconds) = (counts.state(), started.elapsed().as_secs());
        report.push(format!("{state:<8} {:<20} {seconds:>4} s  {}", stage.name, counts.total()));
        stopped = counts.failed > 0 && (stage.vital || !keep_going);
        sum = sum + counts;
    }
    println!("\n{}\n\n{sum}", report.join("\n"));
    // The sum is the last line of this program, so a failure says no more than its exit code.
    if sum.failed > 0 { std::process::exit(1) } else { Ok(()) }
}

fn gate(outcome: Fallible<()>) -> Fallible<Counts> {
    outcome.map(|()| Counts::default())
}

fn format(workspace: &Workspace) -> Fallible<Counts> {
    gate(process::watch(&mut workspace.cargo(&["fmt", "--all", "--check"])))
}

fn lints(workspace: &Workspace) -> Fallible<Counts> {
    let args = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    gate(process::watch(&mut workspace.cargo(&args)))
}

fn dependencies(workspace: &Workspace) -> Fallible<Counts> {
    if !deny::is_there() {
        println!("cargo-deny is not installed");
        return Ok(Counts { skipped: 1, ..Counts::default() });
    }
    gate(deny::run(workspace, &[]))
}

/// Before the tests, because the JavaScript tests start the binary and an example, and Rust ones
/// may.
fn build(workspace: &Workspace) -> Fallible<Counts> {
    let args = ["build", "--locked", "--workspace", "--bins", "--examples"];
    process::watch(&mut workspace.cargo(&args))?;
    let clients = ["build", "--locked", "--bins", "--manifest-path", FIELD_CLIENTS, "--target-dir"];
    gate(process::watch(workspace.cargo(&clients).arg(workspace.target.join("field"))))
}

fn tests(workspace: &Workspace) -> Fallible<Counts> {
    if process::works("cargo", &["nextest", "--version"]) {
        let args = ["nextest", "run", "--locked", "--workspace", "--no-fail-fast"];
        let heard = process::listen(&mut workspace.cargo(&args))?;
        return Ok(Counts::of_nextest(&heard.output).or_failure(heard.success));
    }
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    let args = ["test", "--locked", "--workspace", "--no-fail-fast"];
    let heard = process::listen(workspace.cargo(&args).args(targets))?;
    Ok(Counts::of_cargo(&heard.output).or_failure(heard.success))
}

fn doc_tests(workspace: &Workspace) -> Fallible<Counts> {
    let args = ["test", "--locked", "--workspace", "--no-fail-fast", "--doc"];
    let heard = process::listen(&mut workspace.cargo(&args))?;
    Ok(Counts::of_cargo(&heard.output).or_failure(heard.success))
}

fn simulation(workspace: &Workspace) -> Fallible<Counts> {
    if !sim::is_there(workspace) {
        println!("the simulator has no binary yet");
        return Ok(Counts { skipped: 1, ..Counts::default() });
    }
    gate(sim::run(workspace, &[]))
}

/// Each target is a test.
fn fuzz_targets(workspace: &Workspace) -> Fallible<Counts> {
    let targets = fuzz::targets(workspace)?;
    let all = u64::try_from(targets.len())?;
    if !fuzz::is_there() {
        println!("cargo-fuzz is not installed");
        return Ok(Counts { skipped: all, ..Counts::default() });
    }
    let failed = u64::try_from(fuzz::run_all(workspace, &targets, fuzz::CI_SECONDS)?)?;
    Ok(Counts { passed: all - failed, failed, skipped: 0 })
}

/// Node's own runner over every `*.test.mjs`. The files are named one by one, because what a
/// directory means to `node --test` changed between versions.
fn web(workspace: &Workspace) -> Fallible<Counts> {
    let prefix = format!("{WEB_TESTS}/");
    let files = workspace.files_with("test.mjs").filter_map(|file| file.strip_prefix(&prefix));
    let mut command = std::process::Command::new("node");
    command
        .current_dir(workspace.root.join(WEB_TESTS))
        .args(["--test", "--test-reporter=spec", "--test-timeout=120000"])
        // Two servers and a browser are enough for the two cores that ci is given.
        .arg("--test-concurrency=2")
        .args(files)
        .stdin(std::process::Stdio::null());
    let heard = process::listen(&mut command)?;
    Ok(Counts::of_node(&heard.output).or_failure(heard.success))
}
