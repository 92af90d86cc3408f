//! One question, one number: each bench is a `[[bench]]` of the crate it measures.
//!
//! A new one is a file `benches/<target>.rs` in that crate (`harness = false`) and a line in
//! [`BENCHES`].

use crate::workspace::Workspace;
use crate::{Fallible, process};

struct Bench {
    name: &'static str,
    package: &'static str,
    target: &'static str,
    question: &'static str,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "commit",
        package: "instep",
        target: "commit",
        question: "how long does a commit take until it is durable, by clients at once?",
    },
    Bench {
        name: "datasets",
        package: "instep",
        target: "datasets",
        question: "what do a thousand idle datasets cost, and a commit to one of them?",
    },
    Bench {
        name: "mirror",
        package: "instep",
        target: "mirror",
        question: "how fast is a table in memory after a start, how large, how fast read out?",
    },
    Bench {
        name: "mail",
        package: "instep",
        target: "mail",
        question: "what does a push to one server cost, by how much waits for all of them?",
    },
    Bench {
        name: "sites",
        package: "instep-sites",
        target: "sites",
        question: "how fast do sites apply the log, beside PostgreSQL's logical replication?",
    },
    Bench {
        name: "log",
        package: "instep-embedded",
        target: "append",
        question: "how many entries a second does the segmented log append and recover?",
    },
    Bench {
        name: "fanout",
        package: "instep-load",
        target: "fanout",
        question: "how many deliveries does a second of one core make, and how late are they?",
    },
];

/// Benches that start the server as users do, and the program that they start.
const MEASURE_THE_BINARY: [&str; 2] = ["fanout", "sites"];
const BINARY: &str = "instep";

/// Runs one bench in the bench profile; without a name, lists them.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Fallible<()> {
    let Some((name, rest)) = args.split_first() else {
        for bench in BENCHES {
            println!("{:<8} {} ({})", bench.name, bench.question, bench.package);
        }
        return Ok(());
    };
    let bench = BENCHES.iter().find(|bench| bench.name == name);
    let Bench { package, target, .. } = bench.ok_or_else(|| format!("no bench `{name}`"))?;
    if !workspace.has_target(package, "bench", target) {
        return Err(format!("{package} has no benches/{target}.rs yet").into());
    }
    if MEASURE_THE_BINARY.contains(&&**name) {
        let args = ["build", "--locked", "--release", "--workspace", "--bin", BINARY];
        process::watch(&mut workspace.cargo(&args))?;
    }
    // As a part of the whole, so that all benches share what is built.
    let args = ["bench", "--locked", "--workspace", "--bench", target, "--"];
    process::watch(workspace.cargo(&args).args(rest))
}

/// The names, for the help.
pub(crate) fn names() -> Vec<&'static str> {
    BENCHES.iter().map(|bench| bench.name).collect()
}
