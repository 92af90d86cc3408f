//! SQL of a journal, beside `psql` with the same statements.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::Plan;
use crate::cluster::{Cluster, binaries};
use crate::instep::{Agent, PATIENCE, Server};
use crate::rows::SETTINGS;
use crate::turns::{Found, Side, Wanted, take};

/// Statements of one commit.
const TOGETHER: usize = 10;
const TABLE: &str = "CREATE TABLE ledger (id bigint PRIMARY KEY, owner text, amount numeric)";
const DIGEST: &str = "SELECT count(*) || ' ' ||
    md5(string_agg(ledger::text, ' ' ORDER BY id)) FROM ledger";
/// Row of the last statement.
const END: &str = "SELECT count(*) FROM ledger WHERE id = -1";

/// The time of an agent from its start until everything is applied, and that of `psql`.
pub(crate) fn measure(plan: &Plan) -> Vec<Found> {
    let cluster = Cluster::start_with(SETTINGS);
    let server = Server::start();
    let statements = statements(20_000 / plan.part);
    server.write(&json!([{"op": "create_journal", "journal": "j"}]));
    for some in statements.chunks(1_000) {
        append(&server, some);
    }
    let mut script = tempfile::NamedTempFile::new().expect("a file");
    writeln!(script, "{}", statements.join("\n")).expect("room on the disk");
    let (instep, reference) = take(plan.rounds, "journal", |side, round| {
        let database = format!("{side:?}{round}").to_lowercase();
        cluster.execute("postgres", &format!("CREATE DATABASE {database}"));
        cluster.execute(&database, TABLE);
        cluster.execute(&database, "CHECKPOINT");
        let url = cluster.url(&database);
        let begun = Instant::now();
        match side {
            Side::Instep => {
                let arguments = ["--journal", "j=sql", "--start", "beginning"];
                let _agent = Agent::run(&server, &database, &url, &arguments);
                // The connection is made while the agent starts.
                let client = cluster.connect(&database);
                let count = || cluster.runtime.block_on(client.query_one(END, &[]));
                while count().expect("a query").get::<_, i64>(0) == 0 {
                    assert!(begun.elapsed() < PATIENCE, "the agent does not apply everything");
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                let taken = begun.elapsed();
                statements.len() as f64 / taken.as_secs_f64()
            }
            Side::Reference => {
                let mut psql = Command::new(binaries().join("psql"));
                psql.args(["--no-psqlrc", "--quiet", "--single-transaction"]);
                psql.args(["--set", "ON_ERROR_STOP=1", "--file"]).arg(script.path()).arg(&url);
                assert!(psql.stdin(Stdio::null()).status().expect("psql starts").success());
                statements.len() as f64 / begun.elapsed().as_secs_f64()
            }
        }
    });
    for round in 1..=plan.rounds {
        let [ours, theirs] = [format!("instep{round}"), format!("reference{round}")];
        assert_eq!(cluster.text(&ours, DIGEST), cluster.text(&theirs, DIGEST), "round {round}");
    }
    vec![Found {
        name: "SQL of a journal, one site",
        goal: "SQL of a journal, against psql --single-transaction, at least",
        unit: "statements/s",
        wanted: Wanted::AtLeast(0.8),
        instep,
        reference,
    }]
}

fn statements(number: usize) -> Vec<String> {
    let mut all: Vec<String> = (0..number - 1)
        .map(|at| match at % 2 {
            0 => format!("INSERT INTO ledger VALUES ({at}, 'owner of {at}', {at}.25);"),
            _ => format!("UPDATE ledger SET amount = amount + 1 WHERE id = {};", at / 4 * 2),
        })
        .collect();
    all.push("INSERT INTO ledger VALUES (-1, 'end', 0);".into());
    all
}

/// Appends statements by small commits, several on their way at once.
fn append(server: &Server, statements: &[String]) {
    let operation = |text: &String| json!({"op": "append", "journal": "j", "text": text});
    for some in statements.chunks(TOGETHER) {
        server.write(&some.iter().map(operation).collect::<Value>());
    }
}
