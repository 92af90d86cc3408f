//! Kill -9 under load: writers at full speed, three sites, and a fourth that clones one of them;
//! one is in PostgreSQL, which is killed as well. `INSTEP_CRASH_ROUNDS` says how often (`cargo
//! xtask crash --sites --rounds N`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use instep_client::{Client, Uuid};
use serde_json::{Value, json};

use super::agent::{Database, Site};
use super::cluster::Cluster;
use super::{CONFIG, commit, put, status};
use crate::running::Server;
use crate::shims::until;

/// Writers, and the keys of each.
const WRITERS: u64 = 4;
const KEYS: u64 = 40;
const ROUNDS: u64 = 10;
/// Rounds between two clones.
const CLONE_ROUNDS: u64 = 40;
/// Longest wait of a site for all that was written, beside that of any test, a round.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Rows that a table must have, and the texts of a journal, by their number.
type Rows = BTreeMap<String, String>;

/// Commits until it is told to end, each until it is acknowledged. Returns the last rows, and the
/// number of commits.
async fn write(client: Client, writer: u64, done: Arc<AtomicBool>) -> (u64, BTreeMap<String, u64>) {
    let (mut n, mut last) = (0, BTreeMap::new());
    while !done.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("w{writer}-{}", n % KEYS);
        let operations = [
            json!({"op": "put", "table": "items", "key": key, "row": {"n": n}}),
            json!({"op": "append", "journal": "trail", "text": format!("{writer} {n}")}),
        ];
        let id = Uuid::now_v7();
        while client.commit("shop", &operations, Some(id)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        last.insert(key, n);
    }
    (n, last)
}

/// A site of the test: the last one is in PostgreSQL.
struct Place<'a> {
    site: &'static str,
    database: Option<Database>,
    cluster: &'a Cluster,
}

impl<'a> Place<'a> {
    fn at(number: usize, directory: &tempfile::TempDir, cluster: &'a Cluster) -> Self {
        let site = ["node1", "node2", "node3", "node4"][number];
        let database = (number != 2).then(|| Database::in_directory(directory.path(), site));
        Self { site, database, cluster }
    }

    fn run(&self, server: &Server) -> Site {
        let arguments = match self.site {
            "node4" => ["--dump-from", "node2"],
            _ => ["--start", "beginning"],
        };
        match &self.database {
            Some(database) => Site::run(server, database, &arguments),
            None => Site::applying(server, self.site, &self.cluster.url(self.site), &arguments),
        }
    }

    fn until_at(&self, position: &str, rounds: u64) {
        let patience = crate::running::PATIENCE + CATCH_UP * u32::try_from(rounds).unwrap();
        let begun = std::time::Instant::now();
        loop {
            let at = match &self.database {
                Some(database) => database.try_text("SELECT position FROM instep_site"),
                None => self.cluster.try_text(self.site, "SELECT position FROM instep_site"),
            };
            if at.as_deref().is_some_and(|at| at >= position) {
                return;
            }
            assert!(begun.elapsed() < patience, "{} stands at {at:?}, not {position}", self.site);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its rows, and its journal as one text.
    fn content(&self) -> (Rows, String) {
        let Some(database) = &self.database else {
            let of = |query: &str| self.cluster.text(self.site, query);
            let items = of("SELECT json_object_agg(key, \"row\"::text)::text FROM items");
            let trail = of("SELECT string_agg(ordinal || ' ' || convert_from(record, 'UTF8'), ','
                ORDER BY ordinal) FROM trail");
            return (serde_json::from_str(&items).unwrap(), trail);
        };
        let trail = "SELECT group_concat(ordinal || ' ' || record, ',')
            FROM (SELECT * FROM trail ORDER BY ordinal)";
        (database.items(), database.try_text(trail).unwrap())
    }
}

// POL-15, POL-16, POL-17, POL-R2, POL-R3, POL-R9, I9, I31: every acknowledged commit is at every
// site, in order and once, no number has two contents, and who was not killed goes on by itself.
#[test]
fn crash_rounds_of_server_sites_and_databases_leave_every_site_equal_to_the_fold() {
    let rounds = std::env::var("INSTEP_CRASH_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let mut cluster = Cluster::start();
    cluster.execute("postgres", "CREATE DATABASE node3");
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let mut sites: Vec<Site> =
        (0..3).map(|at| Place::at(at, &directory, &cluster).run(&server)).collect();
    sites.iter().for_each(|site| drop(site.until_told("registered")));
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let client = Client::new(&server.url, Some(key.trim().to_owned())).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| runtime.spawn(write(client.clone(), writer, Arc::clone(&done))))
        .collect();

    for round in 0..rounds {
        // Spread over everything that agents and servers do.
        let pause = 50 + (round * 7_919 + u64::from(std::process::id())) % 400;
        std::thread::sleep(Duration::from_millis(pause));
        match round % 4 {
            1 => {
                server.signal("-KILL");
                server.start_again();
            }
            3 if round % 8 == 3 => cluster.kill_and_restart(),
            _ => {
                let at = (pause % sites.len() as u64) as usize;
                sites[at].kill();
                sites[at] = Place::at(at, &directory, &cluster).run(&server);
            }
        }
        if round % CLONE_ROUNDS == 4 {
            // Of one that catches up: it was away, and the writers were not.
            sites[1].kill();
            std::thread::sleep(Duration::from_millis(300));
            sites[1] = Place::at(1, &directory, &cluster).run(&server);
            sites[1].until_told("registered");
            until("its source is online", || status(&server, "node2")["online"] == true);
            // Begins anew with nothing.
            drop(sites.drain(3..));
            let fourth = Place::at(3, &directory, &cluster);
            fourth.database.iter().for_each(Database::remove);
            let cloning = fourth.run(&server);
            cloning.until_told("restored");
            sites.push(cloning);
        }
    }
    done.store(true, Ordering::Relaxed);
    let (mut commits, mut expected) = (0, Rows::new());
    for writer in writers {
        let (n, last) = runtime.block_on(writer).unwrap();
        commits += n;
        expected.extend(last.into_iter().map(|(key, n)| (key, json!({"n": n}).to_string())));
    }
    let last = put(&server, "last", &Value::Object(serde_json::Map::new()));
    expected.insert("last".into(), "{}".into());

    let mut trails = vec![];
    for at in 0..sites.len() {
        let place = Place::at(at, &directory, &cluster);
        place.until_at(&last, rounds);
        let (items, trail) = place.content();
        assert_eq!(items, expected, "{}", place.site);
        trails.push(trail);
    }
    judge(&trails[0], commits);
    trails.iter().for_each(|trail| assert!(*trail == trails[0], "a number has two contents"));
    eprintln!("{rounds} rounds: {commits} commits at {} sites", sites.len());
}

/// Each commit of each writer is there once, in its order, and numbers have no gap.
fn judge(trail: &str, commits: u64) {
    let mut newest = BTreeMap::<&str, u64>::new();
    for (at, record) in (1_u64..).zip(trail.split(',')) {
        let parts: Vec<&str> = record.split(' ').collect();
        let [ordinal, writer, n] = parts[..] else { panic!("{record}") };
        assert_eq!(ordinal.parse(), Ok(at), "{record}");
        let before = newest.insert(writer, n.parse().unwrap()).unwrap_or_default();
        assert_eq!(n.parse(), Ok(before + 1), "of writer {writer}");
    }
    assert_eq!(newest.values().sum::<u64>(), commits);
    assert!(commits > 100, "{commits} commits");
}
