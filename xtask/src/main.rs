//! Tool of the project: checks, measures and breaks Instep from outside.
//!
//! One file per command; `cargo xtask --help` lists them. Start reading at [`COMMANDS`].
#![allow(clippy::print_stdout, reason = "a tool for the terminal speaks on stdout")]

mod bench;
mod ci;
mod crash;
mod deny;
mod fuzz;
mod index;
mod markdown;
mod process;
mod requirements;
mod sim;
mod soak;
mod source;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

/// Result of a tool: its error is shown to a person, never matched on.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Command {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    run: fn(&Workspace, &[String]) -> Fallible<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "check",
        usage: "",
        about: "the quick half of ci: format, tidy, lints",
        run: ci::check,
    },
    Command {
        name: "ci",
        usage: "[--keep-going]",
        about: "everything ./test runs; the last line is `N passed, N failed`",
        run: ci::run,
    },
    Command {
        name: "tidy",
        usage: "",
        about: "the rules of the house; also a test (`cargo test -p xtask`)",
        run: tidy::run,
    },
    Command {
        name: "requirements",
        usage: "",
        about: "docs/requirements.md against the tests it names, with a count per state",
        run: requirements::run,
    },
    Command {
        name: "index",
        usage: "[I8 | law5 | SMQ-17 …]",
        about: "each law, invariant and row, and the tests that hold it",
        run: index::run,
    },
    Command {
        name: "deny",
        usage: "",
        about: "bans, licences, sources and advisories of the dependencies, as deny.toml says",
        run: deny::run,
    },
    Command {
        name: "sim",
        usage: "[--seed N] [--seeds N]",
        about: "the seeded simulation; --seed repeats one failure, --seeds tries many",
        run: sim::run,
    },
    Command {
        name: "fuzz",
        usage: "[--seconds N] [target…]",
        about: "replay the seeds of every decoder and session, then look for more, N seconds each",
        run: fuzz::run,
    },
    Command {
        name: "bench",
        usage: "<name> [args]",
        about: "one measurement, release build; without a name: the list",
        run: bench::run,
    },
    Command {
        name: "crash",
        usage: "[--sites] [--rounds N]",
        about: "kill -9 the built server under load, N times, and check what it promised",
        run: crash::run,
    },
    Command {
        name: "soak",
        usage: "[--seconds N]",
        about: "one of 1,000 readers stops reading for N seconds; a million messages end",
        run: soak::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        print_help();
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print_help();
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("xtask: no command `{name}`; `cargo xtask --help` lists them");
        return ExitCode::from(2);
    };
    let outcome = Workspace::open().and_then(|workspace| (command.run)(&workspace, rest));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask {name}: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn print_help() {
    println!("cargo xtask <command>\n");
    for command in COMMANDS {
        let call = format!("{} {}", command.name, command.usage);
        println!("  {call:<30} {}", command.about);
    }
    println!("\nbenches: {}", bench::names().join(", "));
}
