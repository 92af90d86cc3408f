//! Dumps from site to site, beside `pg_dump | psql`.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Plan;
use crate::cluster::{Cluster, binaries};
use crate::instep::{Agent, Server};
use crate::print_line;
use crate::rows::SETTINGS;
use crate::turns::{Found, Side, Wanted, take};
use crate::writers::fill;

/// Site that gives the dumps.
const SOURCE: &str = "source";
const DIGEST: &str = "SELECT count(*) || ' ' || md5(string_agg(md5(key || \"row\"::text), ''
    ORDER BY key COLLATE \"C\")) FROM items";

/// A dump of one site to another, and to two at once.
pub(crate) fn measure(plan: &Plan) -> Vec<Found> {
    let mut bench = Bench::start(plan);
    let (instep, reference) = take(plan.rounds, "dump", |side, round| match side {
        Side::Instep => bench.by_instep(&[&format!("a{round}")]),
        Side::Reference => bench.by_programs(&format!("b{round}")),
    });
    let to_speed = |seconds: Vec<f64>| -> Vec<f64> {
        seconds.iter().map(|seconds| plan.dump_mb as f64 / seconds).collect()
    };
    let one = Found {
        name: "dump of a site to a site",
        goal: "dump of a site to a site, against pg_dump | psql, at least",
        unit: "MB/s",
        wanted: Wanted::AtLeast(0.85),
        instep: to_speed(instep),
        reference: to_speed(reference),
    };
    let (instep, reference) = take(plan.rounds, "second requester", |side, round| match side {
        Side::Instep => bench.by_instep(&[&format!("c{round}"), &format!("d{round}")]),
        Side::Reference => bench.by_instep(&[&format!("e{round}")]),
    });
    let two = Found {
        name: "dump for two sites at once, until both have it",
        goal: "dump for two sites at once, against one, at most",
        unit: "s",
        wanted: Wanted::AtMost(1.1),
        instep,
        reference,
    };
    vec![one, two]
}

struct Bench {
    cluster: Cluster,
    server: Server,
    _source: Agent,
    digest: String,
}

impl Bench {
    fn start(plan: &Plan) -> Self {
        let cluster = Cluster::start_with(SETTINGS);
        let server = Server::start();
        fill(&server, plan.dump_mb * 1_000_000);
        cluster.execute("postgres", &format!("CREATE DATABASE {SOURCE}"));
        let source = Agent::run(&server, SOURCE, &cluster.url(SOURCE), &[]);
        source.until("registered");
        let digest = cluster.text(SOURCE, DIGEST);
        print_line(&format!("dump: {digest}"));
        Self { cluster, server, _source: source, digest }
    }

    /// Seconds until all of these new sites have a dump.
    fn by_instep(&mut self, sites: &[&str]) -> f64 {
        // No dump of an earlier round is shared.
        self.server.restart(SOURCE);
        self.make(sites);
        let begun = Instant::now();
        let from = ["--dump-from", SOURCE];
        let run = |site: &&str| Agent::run(&self.server, site, &self.cluster.url(site), &from);
        let agents: Vec<Agent> = sites.iter().map(run).collect();
        let last = agents.iter().map(|agent| agent.until("restored")).max().expect("a site");
        let taken = last - begun;
        drop(agents);
        self.check_and_drop(sites);
        taken.as_secs_f64()
    }

    /// Seconds of `pg_dump | psql`.
    fn by_programs(&self, database: &str) -> f64 {
        self.make(&[database]);
        let begun = Instant::now();
        let mut dump = Command::new(binaries().join("pg_dump"));
        dump.arg(self.cluster.url(SOURCE)).stdout(Stdio::piped());
        let mut dump = dump.spawn().expect("pg_dump starts");
        let mut psql = Command::new(binaries().join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]);
        psql.arg(self.cluster.url(database)).stdout(Stdio::null());
        psql.stdin(dump.stdout.take().expect("it was asked for"));
        assert!(psql.status().expect("psql starts").success());
        assert!(dump.wait().expect("it was started").success());
        let taken = begun.elapsed();
        self.check_and_drop(&[database]);
        taken.as_secs_f64()
    }

    fn make(&self, databases: &[&str]) {
        for database in databases {
            self.cluster.execute("postgres", &format!("CREATE DATABASE {database}"));
        }
        self.cluster.execute("postgres", "CHECKPOINT");
    }

    fn check_and_drop(&self, databases: &[&str]) {
        for database in databases {
            assert_eq!(self.cluster.text(database, DIGEST), self.digest, "{database}");
            let drop = format!("DROP DATABASE {database} WITH (FORCE)");
            self.cluster.execute("postgres", &drop);
        }
    }
}
