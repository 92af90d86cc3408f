//! Bench of sites: how fast they apply the log, beside PostgreSQL doing the same.
//!
//! Each scenario measures Instep and its reference in turns, the order turned in even rounds, and
//! says the ratio of the medians. In every round all databases must be equal. `--scenario NAME`
//! chooses (several times, if need be), `--rounds N` takes as many, `--dump-mb N` is the size of
//! the dumps, `--quick` makes everything smaller.

mod consumers;
mod dumps;
mod held;
mod idle;
mod instep;
mod journal;
mod rows;
mod turns;
mod writers;

use serde_json::{Value, json};

use self::goal::Goal;
use self::turns::Found;

#[path = "../../tests/it/cluster.rs"]
#[allow(dead_code, reason = "tests ask for other things")]
#[expect(clippy::unwrap_used, reason = "as the tests that share it")]
mod cluster;
#[path = "../../../instep/benches/common/goal.rs"]
mod goal;
#[path = "../../../instep/benches/common/load.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod load;
#[path = "../../../instep/benches/common/machine.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod machine;

/// Size of what is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    rounds: usize,
    /// Divisor of everything that is counted.
    part: usize,
    dump_mb: usize,
}

/// A scenario, by its name.
type Scenario = (&'static str, fn(&Plan) -> Vec<Found>);

const SCENARIOS: [Scenario; 7] = [
    ("row", rows::one),
    ("rows", rows::thousand),
    ("journal", journal::measure),
    ("idle", idle::measure),
    ("dump", dumps::measure),
    ("held", held::measure),
    ("consumers", consumers::measure),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let values = |name: &str| -> Vec<&str> {
        let pairs = args.windows(2).filter(|pair| pair[0] == name);
        pairs.map(|pair| pair[1].as_str()).collect()
    };
    let number = |name: &str| -> Option<usize> {
        values(name).pop().map(|number| number.parse().expect("a number"))
    };
    let is_quick = args.iter().any(|argument| argument == "--quick");
    let plan = Plan {
        rounds: number("--rounds").unwrap_or(if is_quick { 3 } else { 5 }),
        part: if is_quick { 6 } else { 1 },
        dump_mb: number("--dump-mb").unwrap_or(if is_quick { 25 } else { 100 }),
    };
    let chosen = values("--scenario");
    let directory = tempfile::tempdir().expect("a directory");
    let facts = machine::facts(directory.path());
    print_line(&format!("{}\n{facts}", machine::command()));
    let mut found = vec![];
    for (name, measure) in SCENARIOS {
        if chosen.is_empty() || chosen.contains(&name) {
            found.extend(measure(&plan));
        }
    }
    report(&found, &facts, &plan);
}

fn report(found: &[Found], facts: &Value, plan: &Plan) {
    print_line(
        "\nwhat                                            Instep  reference  ratio  spread",
    );
    found.iter().for_each(|found| print_line(&found.row()));
    let goals: Vec<Goal> = found.iter().map(Found::goal).collect();
    goals.iter().for_each(Goal::print);
    let json = json!({
        "bench": "sites",
        "machine": facts,
        "load_1_min": machine::load(),
        "rounds": plan.rounds,
        "dump_mb": plan.dump_mb,
        "found": found.iter().map(Found::json).collect::<Vec<_>>(),
        "goals": goals.iter().map(Goal::json).collect::<Vec<_>>(),
    });
    print_line(&json.to_string());
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
pub(crate) fn print_line(line: &str) {
    println!("{line}");
}
