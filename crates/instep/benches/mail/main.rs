//! Bench of mail: the cost of a push to one server, by the backlog of all servers.
//!
//! A server with 5,000 endpoints registers, and 1,000 messages wait for it among 10 thousand, one
//! million, ten million. Beside it a real PostgreSQL on the same disk in the same run answers the
//! two queries of the system that mail comes from, and does what job queues do: claim with SKIP
//! LOCKED, work, delete. There the servers have one core and the load the other; with `--shared`
//! both have both. `--quick` stops at one million, `--pending N` measures 10 thousand and N.
//! Without PostgreSQL only Instep runs.

use std::path::Path;
use std::time::Duration;

use backlog::Backlog;
use cores::on_core;
use load::{Figures, Span};
use local::Push;
use memory::Folded;
use postgres::{Postgres, Query};
use server::ServerProcess;

mod backlog;
#[path = "../common/postgres.rs"]
mod cluster;
#[path = "../common/cores.rs"]
mod cores;
#[path = "../common/goal.rs"]
mod goal;
#[path = "../common/load.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod load;
mod local;
#[path = "../common/machine.rs"]
#[allow(dead_code, reason = "each bench asks for other things")]
mod machine;
mod memory;
mod postgres;
#[path = "../common/program.rs"]
mod program;
mod report;
mod server;

const CLIENTS: [usize; 3] = [1, 64, 1024];
const LITTLE: usize = 10_000;
const MUCH: usize = 1_000_000;
const MOST: usize = 10_000_000;
/// The argument that makes this program the server.
const SERVE: &str = "serve";

struct Plan {
    pending: Vec<usize>,
    /// Pushes of each backlog, of which the fastest counts.
    pushes: usize,
    /// Rounds of the cycles.
    rounds: usize,
    span: Span,
    /// Servers and load of the cycles have all cores together.
    shared: bool,
}

/// Figures of the pushes of one backlog.
struct Pushed {
    pending: usize,
    instep: Push,
    /// Messages looked at, and given.
    looked_at: (u64, u64),
    /// Messages a second while the backlog was sent, a thousand to a request.
    filled: f64,
    /// Bytes of the server's process for each of them.
    resident: f64,
    /// By the list of endpoints, and by the server.
    postgres: Option<[Push; 2]>,
}

/// Figures of the cycles with so many clients, each side in its best round.
#[derive(Default)]
struct Cycled {
    clients: usize,
    instep: Figures,
    postgres: Option<Figures>,
}

struct Results {
    pushed: Vec<Pushed>,
    cycled: Vec<Cycled>,
    shared: bool,
    folded: Folded,
    postgres: Option<String>,
    load: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [mode, directory] if mode == SERVE => return server::serve(Path::new(directory)),
        [mode, ids, pending] if mode == memory::FOLD => return memory::fold(ids, pending),
        _ => {}
    }
    let is_there = |flag| args.iter().any(|argument| argument == flag);
    let (quick, shared) = (is_there("--quick"), is_there("--shared"));
    let span = |warm_up, measured| Span {
        warm_up: Duration::from_millis(warm_up),
        measured: Duration::from_millis(measured),
    };
    let (pushes, rounds, span, mut pending) = if quick {
        (3, 1, span(500, 1_000), vec![MUCH])
    } else {
        (5, 3, span(1_000, 5_000), vec![MUCH, MOST])
    };
    if let Some(only) = args.iter().skip_while(|argument| *argument != "--pending").nth(1) {
        pending = vec![only.parse().expect("--pending takes a number")];
    }
    pending.insert(0, LITTLE);
    let plan = Plan { pending, pushes, rounds, span, shared };
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let facts = machine::facts(root.path());
    let results = measure(root.path(), &plan);
    report::print(&results, &facts);
}

fn measure(root: &Path, plan: &Plan) -> Results {
    let cycled = cycle(root, plan);
    let postgres = Postgres::start(&root.join("postgres"));
    let mut load = machine::load();
    let mut pushed = vec![];
    for pending in &plan.pending {
        pushed.push(push(
            &root.join("instep"),
            postgres.as_ref(),
            Backlog { pending: *pending },
            plan,
        ));
        load = load.max(machine::load());
    }
    // What each takes does not change with more of them.
    let folded = memory::folded(Backlog { pending: MUCH });
    let postgres = postgres.map(|postgres| postgres.version().to_owned());
    Results { pushed, cycled, shared: plan.shared, folded, postgres, load }
}

/// Both sides take turns, so that what else happens on the machine falls on both.
fn cycle(root: &Path, plan: &Plan) -> Vec<Cycled> {
    let (at_server, at_load) =
        if plan.shared { (None, None) } else { (Some(cores::SERVER), Some(cores::LOAD)) };
    let server = on_core(at_server, || ServerProcess::start(&root.join("cycled")));
    let postgres = on_core(at_server, || Postgres::start(&root.join("cycled-postgres")));
    let mut cycled = CLIENTS.map(|clients| Cycled { clients, ..Cycled::default() });
    on_core(at_load, || {
        for _ in 0..plan.rounds {
            for Cycled { clients, instep, postgres: theirs } in &mut cycled {
                *instep = better(*instep, server.send_and_ack(*clients, plan.span));
                if let Some(postgres) = &postgres {
                    let found = postgres.send_and_ack(*clients, plan.span);
                    *theirs = Some(theirs.map_or(found, |best| better(best, found)));
                }
            }
        }
    });
    cycled.into()
}

fn push(directory: &Path, postgres: Option<&Postgres>, backlog: Backlog, plan: &Plan) -> Pushed {
    let server = ServerProcess::start(directory);
    server.route_all();
    server.settle();
    let before = server.resident_bytes();
    let filled = server.fill(backlog);
    server.settle();
    let resident = server.resident_bytes().saturating_sub(before) as f64 / backlog.pending as f64;
    let instep = fastest(plan.pushes, || server.push());
    let overview = server.overview();
    assert_eq!(overview["pending"], backlog.pending, "all wait, and are waited for");
    let count = |name| overview[name].as_u64().expect("a counter");
    let looked_at = (count("looked_at"), count("given"));
    drop(server);
    std::fs::remove_dir_all(directory).expect("our own directory");
    let postgres = postgres.map(|postgres| {
        postgres.fill(backlog);
        [Query::Dynamic, Query::Static].map(|query| fastest(plan.pushes, || postgres.push(query)))
    });
    Pushed { pending: backlog.pending, instep, looked_at, filled, resident, postgres }
}

fn better(one: Figures, other: Figures) -> Figures {
    if other.per_second > one.per_second { other } else { one }
}

fn fastest(times: usize, push: impl Fn() -> Push) -> Push {
    let all: Vec<Push> = (0..times.max(1)).map(|_| push()).collect();
    let least = |of: fn(&Push) -> Duration| all.iter().map(of).min().unwrap_or_default();
    Push { first: least(|push| push.first), all: least(|push| push.all) }
}
