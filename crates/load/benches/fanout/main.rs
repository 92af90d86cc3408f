//! Bench of fan-out: deliveries for each second of one core, and their latency.
//!
//! Each server runs alone on one core, the load (publisher and all subscribers, one thread) on the
//! other. Each does each scenario three times, and its best counts. `--rounds N` takes as many,
//! where the machine is not quiet, `--quick` one; `--scenario X` and `--server X` choose, `--churn`
//! measures bursts of connections only. Servers that are not installed are left out.

mod churn;
mod crowd;
mod floor;
mod goals;
mod rivals;
mod scenarios;
mod scrape;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::rivals::{Rival, Served};
use crate::scenarios::{Outcome, Scenario};

/// The core that the load runs on.
const CORE: &str = "1";

/// Results of each scenario, by server.
pub(crate) type Results = BTreeMap<&'static str, BTreeMap<Rival, Outcome>>;

struct Choice {
    quick: bool,
    rounds: Option<usize>,
    scenarios: Vec<String>,
    servers: Vec<String>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, kind, port] = &args[..]
        && mode == "floor"
    {
        let port = port.parse().expect("a port");
        return floor::serve(kind == "coalescing", port).expect("the floor's sockets");
    }
    if crowd::serve(&args) {
        return;
    }
    let values = |name: &str| -> Vec<String> {
        let pairs = args.windows(2).filter(|pair| pair[0] == name);
        pairs.map(|pair| pair[1].replace('-', " ")).collect()
    };
    let quick = args.iter().any(|argument| argument == "--quick");
    let rounds = values("--rounds").pop().map(|rounds| rounds.parse().expect("a number"));
    let choice = Choice {
        quick,
        rounds: rounds.or(quick.then_some(1)),
        scenarios: values("--scenario"),
        servers: values("--server"),
    };
    stay_on(CORE);
    let facts = facts();
    print_line(&facts.to_string());
    if !args.iter().any(|argument| argument == "--churn") {
        let results = measure(&choice);
        report(&results, &facts);
    }
    if choice.scenarios.is_empty() || args.iter().any(|argument| argument == "--churn") {
        churn::run(&choice.servers, choice.quick);
    }
}

/// Moves this process to one core. Where that is not possible the figures say so by themselves.
fn stay_on(core: &str) {
    let process = std::process::id().to_string();
    let taskset = std::process::Command::new("taskset").args(["-cp", core, &process]).output();
    if !taskset.is_ok_and(|output| output.status.success()) {
        print_line("taskset: not on a core of its own");
    }
}

fn measure(choice: &Choice) -> Results {
    let mut results = Results::new();
    for scenario in scenarios::ALL {
        let name = scenario.name.replace('-', " ");
        if !choice.scenarios.is_empty() && !choice.scenarios.contains(&name) {
            continue;
        }
        print_line(&format!("\n{}: {}", scenario.name, scenario.words));
        print_line(HEADING);
        let outcomes = results.entry(scenario.name).or_default();
        // Servers take turns, so that other load of the machine falls on all of them.
        for _ in 0..choice.rounds.unwrap_or(scenario.rounds()) {
            for rival in rivals::ALL {
                let named = choice.servers.iter().any(|server| rival.name().starts_with(&**server));
                if named || choice.servers.is_empty() {
                    one(&scenario, rival, outcomes);
                }
            }
        }
        for (rival, outcome) in outcomes {
            print_line(&row(*rival, outcome));
        }
    }
    results
}

/// Of each server the best round counts.
fn one(scenario: &Scenario, rival: Rival, outcomes: &mut BTreeMap<Rival, Outcome>) {
    let Some(served) = Served::start(rival) else {
        return print_line(&format!("{:<17} not there", rival.name()));
    };
    match scenario.run(&served) {
        Ok(outcome) => {
            if outcomes.get(&rival).is_none_or(|best| outcome.is_better_than(best)) {
                outcomes.insert(rival, outcome);
            }
        }
        Err(error) => print_line(&format!("{:<17} {error}", rival.name())),
    }
}

const HEADING: &str = "server             deliv/s  per CPU-s   p50 ms   p99 ms   max ms  \
                       last ms    lost  dropped  connects/s  B/conn";

fn row(rival: Rival, outcome: &Outcome) -> String {
    let Outcome { set_up, measured, bytes_each } = outcome;
    let ms = |us: f64| us / 1e3;
    let figures = measured.as_ref().map_or_else(
        || format!("{:72}", ""),
        |measured| {
            let latency = &measured.latency;
            format!(
                "{:>8.0} {:>10.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>7} {:>8}",
                measured.per_second,
                measured.per_cpu_second.unwrap_or_default(),
                ms(latency.p50_us),
                ms(latency.p99_us),
                ms(latency.max_us),
                ms(measured.last_delivery.p50_us),
                measured.lost + measured.wrong,
                measured.dropped,
            )
        },
    );
    format!("{:<17} {figures} {:>11.0} {bytes_each:>7.0}", rival.name(), set_up.per_second)
}

fn report(results: &Results, facts: &Value) {
    let goals = goals::all(results);
    print_line("");
    for goals::Goal { name, found, wanted, met } in &goals {
        let outcome = if *met { "met" } else { "MISSED" };
        print_line(&format!("goal: {name}: {found:.2}, wanted {wanted}: {outcome}"));
    }
    let results: BTreeMap<_, BTreeMap<_, _>> = results
        .iter()
        .map(|(scenario, outcomes)| {
            let outcomes = outcomes.iter().map(|(rival, outcome)| (rival.name(), outcome.json()));
            (scenario, outcomes.collect())
        })
        .collect();
    let goals: Vec<Value> = goals.iter().map(goals::Goal::json).collect();
    let line = json!({ "bench": "fanout", "machine": facts, "results": results, "goals": goals });
    print_line(&line.to_string());
}

/// Facts about the machine that a reader of the figures needs.
fn facts() -> Value {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpuinfo = text("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    json!({
        "cpu": cpu.unwrap_or_default().trim_start_matches(['\t', ':', ' ']),
        "cores": cpuinfo.matches("processor\t").count(),
        "kernel": text("/proc/sys/kernel/osrelease"),
        "load": text("/proc/loadavg"),
        "instep": rivals::instep_binary(),
    })
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
pub(crate) fn print_line(line: &str) {
    println!("{line}");
    // Another process may read it line by line.
    let _ = std::io::Write::flush(&mut std::io::stdout());
}
