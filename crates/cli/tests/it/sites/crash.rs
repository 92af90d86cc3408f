//! Kill -9 under load: writers at full speed, three sites, and a fourth that clones one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use instep_client::{Client, Uuid};
use serde_json::{Value, json};

use super::agent::{Database, Site};
use super::{CONFIG, commit, put};
use crate::running::Server;

/// Writers, and the keys of each.
const WRITERS: u64 = 4;
const KEYS: u64 = 40;
const ROUNDS: u64 = 10;

/// Commits until it is told to end, each until it is acknowledged. Returns the last rows.
async fn write(client: Client, writer: u64, done: Arc<AtomicBool>) -> (u64, BTreeMap<String, u64>) {
    let (mut n, mut last) = (0, BTreeMap::new());
    while !done.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("w{writer}-{}", n % KEYS);
        let operations = [
            json!({"op": "put", "table": "items", "key": key, "row": {"n": n}}),
            json!({"op": "append", "journal": "trail", "text": key}),
        ];
        let id = Uuid::now_v7();
        while client.commit("shop", &operations, Some(id)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        last.insert(key, n);
    }
    (n, last)
}

// POL-15, POL-16, POL-17, I9, I31: every acknowledged commit is at every site, in order and once.
#[test]
fn i31_sites_that_follow_writers_at_full_speed_through_kills_equal_the_fold() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let database = |site: &str| Database::in_directory(directory.path(), site);
    let databases = ["node1", "node2", "node3", "node4"].map(database);
    commit(&server, &json!([{"op": "create_journal", "journal": "trail"}]));
    let begins = ["--start", "beginning"];
    let run = |server: &Server, at: usize| {
        let arguments = if at == 3 { &["--dump-from", "node2"] } else { &begins };
        Site::run(server, &databases[at], arguments)
    };
    let mut sites: Vec<Site> = (0..3).map(|at| run(&server, at)).collect();
    sites.iter().for_each(|site| drop(site.until_told("registered")));
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let client = Client::new(&server.url, Some(key.trim().to_owned())).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| runtime.spawn(write(client.clone(), writer, Arc::clone(&done))))
        .collect();

    for round in 0..ROUNDS {
        // Spread over everything that agents and servers do.
        let pause = 50 + (round * 7_919 + u64::from(std::process::id())) % 400;
        std::thread::sleep(Duration::from_millis(pause));
        let at = (pause % sites.len() as u64) as usize;
        sites[at].kill();
        if round % 3 == 1 {
            server.signal("-KILL");
            server.start_again();
        }
        sites[at] = run(&server, at);
        if round == 4 {
            // Of one that catches up: it was away, and the writers were not.
            sites[1].kill();
            std::thread::sleep(Duration::from_millis(300));
            sites[1] = run(&server, 1);
            sites[1].until_told("registered");
            let cloning = run(&server, 3);
            cloning.until_told("restored");
            sites.push(cloning);
        }
    }
    done.store(true, Ordering::Relaxed);
    let (mut commits, mut expected) = (0, BTreeMap::new());
    for writer in writers {
        let (n, last) = runtime.block_on(writer).unwrap();
        commits += n;
        expected.extend(last.into_iter().map(|(key, n)| (key, json!({"n": n}).to_string())));
    }
    let last = put(&server, "last", &Value::Object(serde_json::Map::new()));
    expected.insert("last".into(), "{}".into());

    for database in &databases {
        database.until_at(&last);
        assert_eq!(database.items(), expected, "{}", database.site);
        let trail = database.number("SELECT count(*) FROM trail");
        assert_eq!(u64::try_from(trail), Ok(commits), "{}", database.site);
        let numbered = database.number("SELECT max(ordinal) FROM trail");
        assert_eq!(numbered, trail, "{}", database.site);
    }
    assert!(commits > 100, "{commits} commits");
}
