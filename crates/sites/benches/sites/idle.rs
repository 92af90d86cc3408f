//! An idle dataset: the time from a write until it is applied, beside what it is made of: a commit
//! of the server and one of the database.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::Plan;
use crate::cluster::Cluster;
use crate::instep::{Agent, PATIENCE, Server};
use crate::load::{HttpClient, on_one_thread};
use crate::print_line;
use crate::rows::SETTINGS;
use crate::turns::{Found, Side, Wanted, take};
use crate::writers::{TABLE, connect};

/// Pause between two writes.
const PAUSE: Duration = Duration::from_millis(5);
const ARGUMENTS: &[&str] = &["--start", "head"];

/// The p99 of writes until they are applied, against the sum of both commits' p99.
pub(crate) fn measure(plan: &Plan) -> Vec<Found> {
    let cluster = Cluster::start_with(SETTINGS);
    let server = Server::start();
    for database in ["site", "local"] {
        cluster.execute("postgres", &format!("CREATE DATABASE {database}"));
        cluster.execute(database, TABLE);
    }
    cluster.execute("local", "INSERT INTO items VALUES ('hot', 0, 'local', 1, '')");
    let agent = Agent::run(&server, "site", &cluster.url("site"), ARGUMENTS);
    agent.until("registered");
    let samples = 1_000 / plan.part;
    let (instep, reference) = take(plan.rounds, "idle", |side, round| match side {
        Side::Instep => {
            let (p50, p99) = quantiles(applied(&server, &cluster.url("site"), samples, round));
            print_line(&format!("  until applied: p50 {p50:.2} ms, p99 {p99:.2} ms"));
            p99
        }
        Side::Reference => {
            let commit = quantiles(committed(&server, samples, round));
            let local = quantiles(locally(&cluster.url("local"), samples));
            print_line(&format!(
                "  commit: p50 {:.2} ms, p99 {:.2} ms; local: p50 {:.2} ms, p99 {:.2} ms",
                commit.0, commit.1, local.0, local.1
            ));
            commit.1 + local.1
        }
    });
    vec![Found {
        name: "idle, write to applied, p99",
        goal: "idle, p99 of write to applied against the two commits' p99, at most",
        unit: "ms",
        wanted: Wanted::AtMost(3.0),
        instep,
        reference,
    }]
}

/// Times from a write until the site's database has it.
fn applied(server: &Server, url: &str, samples: usize, round: usize) -> Vec<Duration> {
    on_one_thread(async {
        let mut client = HttpClient::connect(server.address()).await;
        let database = connect(url).await;
        let query = "SELECT FROM items WHERE key = 'hot' AND n = $1";
        let query = database.prepare(query).await.expect("a statement");
        let mut taken = vec![];
        for sample in 0..samples {
            let n = i64::try_from(round * 1_000_000 + sample).expect("a small number");
            let commit = server.commit(&put(n));
            let begun = Instant::now();
            client.ask(&commit).await;
            while database.query_opt(&query, &[&n]).await.expect("a query").is_none() {
                assert!(begun.elapsed() < PATIENCE, "the site does not get the row");
            }
            taken.push(begun.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        taken
    })
}

/// Times of commits of the server alone.
fn committed(server: &Server, samples: usize, round: usize) -> Vec<Duration> {
    on_one_thread(async {
        let mut client = HttpClient::connect(server.address()).await;
        let mut taken = vec![];
        for sample in 0..samples {
            let n = i64::try_from(round * 1_000_000 + 500_000 + sample).expect("a small number");
            let commit = server.commit(&put(n));
            let begun = Instant::now();
            client.ask(&commit).await;
            taken.push(begun.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        taken
    })
}

/// Times of commits of the database alone.
fn locally(url: &str, samples: usize) -> Vec<Duration> {
    on_one_thread(async {
        let database = connect(url).await;
        let update = "UPDATE items SET n = n + 1 WHERE key = 'hot'";
        let update = database.prepare(update).await.expect("a statement");
        let mut taken = vec![];
        for _ in 0..samples {
            let begun = Instant::now();
            assert_eq!(database.execute(&update, &[]).await.expect("an update"), 1);
            taken.push(begun.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        taken
    })
}

fn put(n: i64) -> serde_json::Value {
    let row = json!({"n": n, "name": "hot", "price": 1, "note": null});
    json!([{"op": "put", "table": "items", "key": "hot", "row": row}])
}

/// Median and p99, in milliseconds.
fn quantiles(mut taken: Vec<Duration>) -> (f64, f64) {
    taken.sort_unstable();
    let at = |part: f64| taken[(taken.len() as f64 * part) as usize].as_secs_f64() * 1_000.0;
    (at(0.5), at(0.99))
}
