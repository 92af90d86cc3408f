//! Rows to three sites, beside a publication with three subscriptions.

use std::time::{Duration, Instant};

use crate::Plan;
use crate::cluster::Cluster;
use crate::instep::{Agent, PATIENCE, Server};
use crate::print_line;
use crate::turns::{Found, Side, Wanted, take};
use crate::writers::{DIGEST, Load, TABLE, until_everywhere, write_to_instep, write_to_postgres};

/// Settings of all clusters: durable as PostgreSQL is by default.
pub(crate) const SETTINGS: &[&str] = &[
    "shared_buffers=256MB",
    "max_wal_size=4GB",
    "max_connections=200",
    "fsync=on",
    "synchronous_commit=on",
    "wal_level=logical",
    "max_replication_slots=20",
    "max_wal_senders=20",
    "max_worker_processes=24",
    "max_logical_replication_workers=12",
];
const SITES: [&str; 3] = ["site1", "site2", "site3"];
const SUBSCRIPTIONS: [&str; 3] = ["sub1", "sub2", "sub3"];
const PUBLISHER: &str = "postgres";

/// One row per commit.
pub(crate) fn one(plan: &Plan) -> Vec<Found> {
    let load = Load { commits: 24_000 / plan.part, rows: 1, writers: 32, keys: 500, round: 0 };
    vec![Found {
        name: "one row per commit, three sites",
        goal: "one row per commit, against logical replication, at least",
        wanted: Wanted::AtLeast(2.0),
        ..measure(plan, load, "row")
    }]
}

/// A thousand rows per commit.
pub(crate) fn thousand(plan: &Plan) -> Vec<Found> {
    let load = Load { commits: 200 / plan.part, rows: 1_000, writers: 4, keys: 5_000, round: 0 };
    vec![Found {
        name: "1,000 rows per commit, three sites",
        goal: "1,000 rows per commit, against logical replication, at least",
        wanted: Wanted::AtLeast(1.0),
        ..measure(plan, load, "rows")
    }]
}

fn measure(plan: &Plan, load: Load, name: &str) -> Found {
    let (publisher, copies) = (Cluster::start_with(SETTINGS), Cluster::start_with(SETTINGS));
    let server = Server::start();
    for database in SITES.iter().chain(&SUBSCRIPTIONS) {
        copies.execute("postgres", &format!("CREATE DATABASE {database}"));
        copies.execute(database, TABLE);
    }
    let site = |site: &&str| Agent::run(&server, site, &copies.url(site), &["--start", "head"]);
    let agents: Vec<Agent> = SITES.iter().map(site).collect();
    for agent in &agents {
        agent.until("registered");
    }
    publish(&publisher, &copies);
    let urls = |of: [&str; 3]| of.map(|database| copies.url(database));
    let (instep, reference) = take(plan.rounds, name, |side, round| {
        let load = Load { round, ..load };
        let begun = Instant::now();
        let written = match side {
            Side::Instep => write_to_instep(&server, load),
            Side::Reference => write_to_postgres(&publisher.url(PUBLISHER), load),
        };
        until_everywhere(&urls(if side == Side::Instep { SITES } else { SUBSCRIPTIONS }), load);
        let taken = begun.elapsed();
        print_line(&format!("  {side:?}: written in {written:.2?}, everywhere in {taken:.2?}"));
        // Both sides have written the same rows by the end of a round.
        if (side == Side::Reference) == (round % 2 == 1) {
            let expected = publisher.text(PUBLISHER, DIGEST);
            let all = SITES.iter().chain(&SUBSCRIPTIONS);
            all.for_each(|of| assert_eq!(copies.text(of, DIGEST), expected, "{of}"));
        }
        load.all_rows() as f64 / taken.as_secs_f64()
    });
    let (name, unit) = ("", "rows/s");
    Found { name, goal: "", unit, wanted: Wanted::AtLeast(0.0), instep, reference }
}

/// A publication of the table, and a subscription in each database.
fn publish(publisher: &Cluster, copies: &Cluster) {
    publisher.execute(PUBLISHER, TABLE);
    publisher.execute(PUBLISHER, "CREATE PUBLICATION items FOR TABLE items");
    for subscription in SUBSCRIPTIONS {
        let from = publisher.url(PUBLISHER);
        let subscribe = format!(
            "CREATE SUBSCRIPTION {subscription} CONNECTION '{from}'
             PUBLICATION items"
        );
        copies.execute(subscription, &subscribe);
    }
    let begun = Instant::now();
    let ready = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'";
    for subscription in SUBSCRIPTIONS {
        while copies.text(subscription, ready) != "1" {
            assert!(begun.elapsed() < PATIENCE, "{subscription} does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
