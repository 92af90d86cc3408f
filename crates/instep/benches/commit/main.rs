//! Bench of commits: the time until one is durable, by clients at once.
//!
//! Every client decrements one hot row, durably, and sends the next decrement when it has the
//! answer to the last: over HTTP and in process, and beside it a real PostgreSQL on the same disk
//! in the same run. `--quick` takes a tenth of the time, `--clients N` measures one number of them.
//! Without PostgreSQL only Instep runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use goal::Goal;
use load::{Figures, Span};
use postgres::Postgres;
use serde_json::{Value, json};
use server::ServerProcess;

#[path = "../common/postgres.rs"]
mod cluster;
#[path = "../common/goal.rs"]
mod goal;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/machine.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod machine;
mod postgres;
#[path = "../common/program.rs"]
mod program;
mod server;

/// Initial value of the hot row: more than any run takes away.
const START: i64 = 1_000_000_000;
const CLIENTS: [usize; 4] = [1, 8, 64, 1024];
const INSIDE: [usize; 3] = [1, 64, 1024];
/// The argument that makes this program the server.
const SERVE: &str = "serve";

struct Plan {
    rounds: usize,
    span: Span,
    only: Option<usize>,
}

/// The figures of one kind of run, by clients at once.
type Runs = BTreeMap<usize, Figures>;

struct Results {
    http: Runs,
    inside: Runs,
    postgres: Option<(String, Runs)>,
    load: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, directory] = &args[..]
        && mode == SERVE
    {
        server::serve(Path::new(directory));
        return;
    }
    let span = |warm_up, measured| Span {
        warm_up: Duration::from_millis(warm_up),
        measured: Duration::from_millis(measured),
    };
    let (rounds, span) = if args.iter().any(|argument| argument == "--quick") {
        (1, span(500, 1_000))
    } else {
        (3, span(1_000, 5_000))
    };
    let only = args.iter().skip_while(|argument| *argument != "--clients").nth(1);
    let only = only.map(|number| number.parse().expect("--clients takes a number"));
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let facts = machine::facts(root.path());
    let plan = Plan { rounds, span, only };
    let results = measure(root.path(), &plan);
    report(&results, &facts, rounds);
}

/// Both sides take turns, so that what else happens on the machine falls on both.
fn measure(root: &Path, plan: &Plan) -> Results {
    let Plan { rounds, span, only } = *plan;
    let directory = &root.join("instep");
    let postgres = Postgres::start(&root.join("postgres"));
    let [mut http, mut theirs, mut inside] = [Runs::new(), Runs::new(), Runs::new()];
    let wanted = |clients: &usize| only.is_none_or(|only| only == *clients);
    let mut load: f64 = 0.0;
    for _ in 0..rounds {
        let server = ServerProcess::start(directory);
        for clients in CLIENTS.into_iter().filter(wanted) {
            keep_better(&mut http, clients, server.load(clients, span));
            if let Some(postgres) = &postgres {
                keep_better(&mut theirs, clients, postgres.load(clients, span));
            }
            load = load.max(machine::load());
        }
        drop(server);
        for clients in INSIDE.into_iter().filter(wanted) {
            keep_better(&mut inside, clients, server::load_inside(directory, clients, span));
        }
    }
    let postgres = postgres.map(|postgres| (postgres.version().to_owned(), theirs));
    Results { http, inside, postgres, load }
}

/// Of each side the round with the most operations counts, and the least median.
fn keep_better(runs: &mut Runs, clients: usize, figures: Figures) {
    let best = runs.entry(clients).or_insert(figures);
    let p50 = best.p50.min(figures.p50);
    if figures.per_second > best.per_second {
        *best = figures;
    }
    best.p50 = p50;
}

/// Goals promised, with the figures found, as far as they were measured.
fn goals(http: &Runs, postgres: &Runs) -> Vec<Goal> {
    let mut goals = Vec::new();
    if let (Some(ours), Some(theirs)) = (http.get(&1024), postgres.get(&1024)) {
        let best = postgres.values().map(|figures| figures.per_second).fold(0.0, f64::max);
        let mut at_least = |name, found, wanted| goals.push(Goal::at_least(name, found, wanted));
        let same = ours.per_second / theirs.per_second;
        at_least("1,024 clients against PostgreSQL's 1,024 clients, at least", same, 20.0);
        at_least("1,024 clients against PostgreSQL's best, at least", ours.per_second / best, 5.0);
    }
    if let (Some(ours), Some(theirs)) = (http.get(&1), postgres.get(&1)) {
        let found = ours.p50.as_secs_f64() / theirs.p50.as_secs_f64();
        let name = "one client's p50 against PostgreSQL's, at most";
        goals.push(Goal::at_most(name, found, 1.0));
    }
    goals
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn report(results: &Results, facts: &Value, rounds: usize) {
    let Results { http, inside, postgres, load } = results;
    println!("{}\n{facts}", machine::command());
    println!("durable decrements of one hot row, closed loop, best of {rounds}, load up to {load}");
    println!("clients  what          ops/s        p50        p99   ratio   CPU/op: server, load");
    for (clients, ours) in http {
        let theirs = postgres.as_ref().and_then(|(_, runs)| runs.get(clients));
        let ratio = theirs.map(|theirs| ours.per_second / theirs.per_second);
        print_row(*clients, "instep", ours, ratio);
        if let Some(theirs) = theirs {
            print_row(*clients, "postgresql", theirs, None);
        }
    }
    for (clients, figures) in inside {
        print_row(*clients, "in process", figures, None);
    }
    let goals = postgres.as_ref().map(|(_, theirs)| goals(http, theirs)).unwrap_or_default();
    goals.iter().for_each(Goal::print);
    println!("{}", json_of(results, facts, &goals));
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn print_row(clients: usize, what: &str, figures: &Figures, ratio: Option<f64>) {
    let Figures { per_second, p50, p99, cpu_us, .. } = *figures;
    let [p50, p99] = [p50, p99].map(|taken| taken.as_micros());
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}x"));
    let cpu =
        cpu_us.map_or_else(String::new, |(server, load)| format!("{server:.1}, {load:.1} us"));
    println!(
        "{clients:>7}  {what:<10} {per_second:>8.0} {p50:>7} us {p99:>7} us {ratio:>7}   {cpu}"
    );
}

fn json_of(results: &Results, facts: &Value, goals: &[Goal]) -> Value {
    let Results { http, inside, postgres, load } = results;
    let of = |runs: &Runs| -> Vec<Value> {
        let rows = runs.iter().map(|(clients, figures)| {
            let mut row = figures.json();
            row["clients"] = json!(clients);
            row
        });
        rows.collect()
    };
    let postgres =
        postgres.as_ref().map(|(version, runs)| json!({ "version": version, "runs": of(runs) }));
    let goals = goals.iter().map(Goal::json);
    json!({
        "bench": "commit",
        "machine": facts,
        "load_1_min_at_most": load,
        "http": of(http),
        "in_process": of(inside),
        "postgresql": postgres,
        "goals": goals.collect::<Vec<_>>(),
    })
}
