//! Sites over HTTP, as an agent of any language would be one.

mod backlog;
mod crowd;
mod refusals;

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::running::{PATIENCE, Server, http};

const D: &str = "/v1/datasets/d";

/// Of history little is kept, and little held.
const CONFIG: &str = "
[[dataset]]
name = 'd'

[log]
segment_bytes = 65536
keep_bytes = 65536
snapshot_after_bytes = 65536
hold_bytes = 4000000
";

/// A server and its administrator.
struct Sites {
    server: Server,
    key: String,
    _directory: Option<tempfile::TempDir>,
}

impl Sites {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sites = Self::on(directory.path(), config);
        Self { _directory: Some(directory), ..sites }
    }

    /// A server on the data in a directory, which stays.
    fn on(directory: &Path, config: &str) -> Self {
        let server = Server::serve_with(directory, config);
        server.wait_until_ready();
        let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
        let sites = Self { server, key: key.trim().to_owned(), _directory: None };
        sites.commit(&[
            json!({"op": "create_table", "table": "t"}),
            json!({"op": "create_table", "table": "other"}),
            json!({"op": "create_journal", "journal": "j"}),
        ]);
        sites
    }

    fn send(&self, method: Method, path: &str, body: reqwest::Body, head: Option<&str>) -> Answer {
        let url = format!("{}{D}{path}", self.server.url);
        let mut request = http().request(method, url).bearer_auth(&self.key).body(body);
        if let Some(digest) = head {
            request = request.header("instep-sha256", digest);
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let status = answer.status();
            let digest = answer.headers().get("instep-sha256");
            let digest = digest.map(|digest| digest.to_str().unwrap().to_owned());
            Answer { status, digest, bytes: answer.bytes().await.unwrap().to_vec() }
        })
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string().into(), None)
    }

    fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "".into(), None)
    }

    fn commit(&self, operations: &[Value]) -> String {
        let answer = self.post("/commits", &json!({"ops": operations})).json();
        answer["position"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn register(&self, site: &str, start: &Value) -> Answer {
        self.post(&format!("/sites/{site}"), start)
    }

    fn site(&self, name: &str) -> Value {
        let all = self.get("/sites").json();
        let found = all["sites"].as_array().unwrap().iter().find(|site| site["site"] == name);
        found.cloned().unwrap_or_default()
    }

    /// Lines of a site's feed, until `enough`, or its end.
    fn feed(&self, site: &str, generation: &Value, enough: impl Fn(&Value) -> bool) -> Vec<Value> {
        let query = format!("site={site}&generation={generation}&follow=true");
        let url = format!("{}{D}/changes?{query}", self.server.url);
        let request = http().get(url).bearer_auth(&self.key);
        let read = async {
            let mut answer = request.send().await.unwrap();
            let (mut lines, mut rest) = (vec![], vec![]);
            while let Some(chunk) = answer.chunk().await.unwrap() {
                rest.extend_from_slice(&chunk);
                while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=at).collect();
                    lines.push(serde_json::from_slice(&line).unwrap());
                    if enough(lines.last().unwrap()) {
                        return lines;
                    }
                }
            }
            if !rest.is_empty() {
                lines.push(serde_json::from_slice(&rest).unwrap());
            }
            lines
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, read).await.expect("no line") })
    }

    /// Follows the log as a site until `work` is done.
    fn while_online<T: Send>(
        &self,
        site: &str,
        generation: &Value,
        work: impl FnOnce() -> T + Send,
    ) -> T {
        let query = format!("site={site}&generation={generation}&follow=true");
        let url = format!("{}{D}/changes?{query}", self.server.url);
        let request = http().get(url).bearer_auth(&self.key);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let feed = runtime.block_on(async { request.send().await.unwrap() });
        assert_eq!(feed.status(), 200);
        let done = std::thread::scope(|scope| scope.spawn(work).join());
        drop(feed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn put_chunk(&self, dump: &Value, at: usize, query: &str, bytes: &'static [u8]) -> Answer {
        let path = format!("/dumps/{}/chunks/{at}?{query}", dump.as_str().unwrap());
        self.send(Method::PUT, &path, bytes.into(), Some(&sha256(bytes)))
    }

    fn chunk(&self, dump: &Value, at: usize) -> Answer {
        self.get(&format!("/dumps/{}/chunks/{at}", dump.as_str().unwrap()))
    }
}

struct Answer {
    status: StatusCode,
    digest: Option<String>,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    fn must(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.json());
        self.json()
    }

    fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn put(table: &str, key: &str) -> Value {
    json!({"op": "put", "table": table, "key": key, "row": {"n": 1}})
}

#[test]
fn pol_13_a_site_is_told_its_tables_in_order_and_never_the_records_of_sites() {
    let sites = Sites::new(CONFIG);
    let start = json!({"start": "beginning", "tables": ["t"], "journals": []});
    let site = sites.register("node1", &start).must();
    sites.commit(&[put("t", "a"), put("other", "b")]);
    let last = sites.commit(&[put("t", "c")]);

    let told = sites.feed("node1", &site["generation"], |line| line["position"] == last.as_str());

    let records: Vec<_> =
        told.iter().flat_map(|line| line["records"].as_array().unwrap()).collect();
    let row = |key: &str| json!({"put": {"table": "t", "key": key, "row": {"n": 1}}});
    let table = json!({"create_table": {"table": "t", "public": false}});
    assert_eq!(records, [&table, &row("a"), &row("c")]);
}

#[test]
fn i29_a_site_that_follows_nothing_new_still_advances_and_an_idle_one_moves_no_log() {
    let sites = Sites::new(CONFIG);
    let start = json!({"start": "head", "tables": ["t"], "journals": []});
    let generation = sites.register("node1", &start).must()["generation"].clone();
    let passed = sites.commit(&[put("other", "b")]);
    let bookmark = |line: &Value| line["bookmark"] == passed.as_str();
    sites.feed("node1", &generation, bookmark);

    let ack = json!({"generation": generation, "position": passed});
    sites.post("/sites/node1/ack", &ack).must();
    let acknowledged = sites.get("/sites").must()["position"].clone();
    let idle = sites.feed("node1", &generation, |line| line.get("bookmark").is_some());

    // What it told was the position that it acknowledged, not that of the acknowledgement.
    assert_eq!(idle, [json!({"bookmark": passed})]);
    sites.post("/sites/node1/ack", &ack).must();
    assert_eq!(sites.get("/sites").must()["position"], acknowledged, "the log has grown");
}

#[test]
fn pol_20_a_site_that_registers_anew_ends_the_feed_and_the_words_of_the_one_before() {
    let sites = Sites::new(CONFIG);
    let first = sites.register("node1", &json!({"start": "head"})).must();
    let (generation, position) = (first["generation"].clone(), first["cursor"].clone());

    let told = std::thread::scope(|scope| {
        let feed = scope.spawn(|| sites.feed("node1", &generation, |_| false));
        let begun = Instant::now();
        while sites.site("node1")["online"] != true {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(10));
        }
        sites.register("node1", &json!({"start": "resume", "position": position})).must();
        feed.join().unwrap()
    });

    assert_eq!(told.last().unwrap()["error"]["code"], "fenced", "{told:?}");
    let ack = json!({"generation": generation, "position": position});
    assert_eq!(sites.post("/sites/node1/ack", &ack).refused(), code(409, "fenced"));
}

#[test]
fn pol_04_pol_06_a_new_site_needs_a_dump_and_its_source_must_be_able_to_give_one() {
    let sites = Sites::new(CONFIG);
    let refused = |start: Value| sites.register("node1", &start).refused();
    let dump = |source: &str| json!({"start": "dump", "source": source});

    assert_eq!(refused(json!({"start": "resume"})), code(409, "dump_required"));
    assert_eq!(refused(dump("unknown")), code(409, "bad_source"));
    assert_eq!(refused(dump("node1")), code(409, "bad_source"));
    assert_eq!(refused(json!({"start": "dump"})), code(400, "bad_json"));
    assert_eq!(refused(json!({"start": "head", "source": "server"})), code(400, "bad_json"));
    assert_eq!(refused(json!({"start": "later"})), code(400, "bad_json"));
    let named = sites.register("server", &json!({"start": "head"}));
    assert_eq!(named.refused(), code(400, "reserved_name"));
    assert_eq!(sites.register("Node", &json!({"start": "head"})).refused(), code(400, "bad_name"));
    assert_eq!(sites.site("node1"), Value::Null, "no refusal has left anything");
}

#[test]
fn only_the_server_writes_the_table_of_sites() {
    let sites = Sites::new(CONFIG);
    sites.register("node1", &json!({"start": "head"})).must();

    for operation in [
        json!({"op": "create_table", "table": "instep-mine"}),
        json!({"op": "create_journal", "journal": "instep-mine"}),
        json!({"op": "create_queue", "queue": "instep-mine"}),
        json!({"op": "put", "table": "instep-sites", "key": "node1", "row": {}}),
        json!({"op": "delete", "table": "instep-sites", "key": "node1"}),
        json!({"op": "drop_table", "table": "instep-sites"}),
    ] {
        let refused = sites.post("/commits", &json!({"ops": [operation]}));
        assert_eq!(refused.refused(), code(400, "reserved_name"), "{operation}");
    }
    let row = sites.get("/tables/instep-sites/rows/node1").must();
    assert_eq!(row["row"]["state"], "live", "it can be read like any other: {row}");
}

#[test]
fn i8_a_dump_of_the_server_and_the_changes_behind_it_are_the_tables() {
    let sites = Sites::new(CONFIG);
    let keys: Vec<Value> = (0..500).map(|number| put("t", &format!("k{number:03}"))).collect();
    sites.commit(&keys);
    let site = sites.register("node1", &json!({"start": "dump", "source": "server"})).must();
    assert_eq!(site["state"], "reserved");
    let later = sites.commit(&[put("t", "later")]);

    let chunk = sites.chunk(&site["dump"], 0);
    assert_eq!(chunk.digest, Some(sha256(&chunk.bytes)));
    let lines: Vec<Value> = chunk
        .bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 502, "a head, the rows, and the end");
    assert_eq!(lines.last().unwrap(), &json!({"complete": 500}));
    assert_eq!(lines[1], json!({"table": "t", "key": "k000", "row": {"n": 1}}).clone(), "of t");
    assert_eq!(sites.chunk(&site["dump"], 1).refused(), code(416, "no_such_chunk"));

    let generation = site["generation"].clone();
    sites.post(&format!("/sites/node1/dumping?generation={generation}"), &json!(null)).must();
    let resume = json!({"start": "resume", "position": lines[0]["position"]});
    let site = sites.register("node1", &resume).must();
    let told = sites.feed("node1", &site["generation"], |line| line["position"] == later.as_str());
    let puts: Vec<_> = told.iter().flat_map(|line| line["records"].as_array().unwrap()).collect();
    assert_eq!(puts, [&json!({"put": {"table": "t", "key": "later", "row": {"n": 1}}})]);
}

#[test]
fn pol_12_sites_that_ask_for_a_dump_of_one_source_share_it_while_it_grows() {
    let sites = Sites::new(CONFIG);
    let master = sites.register("master", &json!({"start": "beginning"})).must();
    let generation = master["generation"].clone();
    let dump = json!({"start": "dump", "source": "master"});
    assert_eq!(sites.register("node1", &dump).refused(), code(409, "bad_source"), "it is offline");
    let ask = || sites.register("node1", &dump).must();
    let first = sites.while_online("master", &generation, ask);
    let asked = sites.feed("master", &generation, |line| line.get("dump").is_some());
    assert_eq!(asked.last().unwrap()["dump"]["id"], first["dump"]);

    let source = format!("generation={generation}&kind=sqlite");
    sites.put_chunk(&first["dump"], 0, &source, b"some").must();
    let second = sites.register("node2", &dump).must();
    assert_eq!(second["dump"], first["dump"]);
    sites.put_chunk(&first["dump"], 0, &source, b"some").must();
    let refused = sites.put_chunk(&first["dump"], 2, &source, b"gap").refused();
    assert_eq!(refused, code(409, "bad_chunk"));
    let refused = sites.put_chunk(&first["dump"], 1, "generation=1&kind=sqlite", b"x").refused();
    assert_eq!(refused, code(409, "fenced"));
    let refused = sites.put_chunk(&first["dump"], 1, &source.replace("sqlite", "x"), b"x");
    assert_eq!(refused.refused(), code(409, "bad_chunk"));
    let refused = sites.put_chunk(&first["dump"], 1, &source.replace("sqlite", "S%00"), b"x");
    assert_eq!(refused.refused(), code(400, "bad_query"), "the kind is a name");
    let chunks = format!("/dumps/{}/chunks", first["dump"].as_str().unwrap());
    for no_number in ["-1", "x", "999999999999999999999999"] {
        let refused = sites.get(&format!("{chunks}/{no_number}")).refused();
        assert_eq!(refused, code(400, "bad_query"), "{no_number}");
    }
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sites.chunk(&first["dump"], 1).bytes);
        sites.put_chunk(&first["dump"], 1, &source, b" more").must();
        waiting.join().unwrap()
    });
    assert_eq!(waiting, b" more");
    let position = sites.get("/sites").must()["position"].clone();
    let end =
        json!({"position": position, "chunks": 2, "bytes": 9, "sha256": sha256(b"some more")});
    let ended =
        format!("/dumps/{}/complete?generation={generation}", first["dump"].as_str().unwrap());
    sites.post(&ended, &end).must();
    let shown = sites.get(&format!("/dumps/{}", first["dump"].as_str().unwrap())).must();
    assert_eq!((&shown["state"], &shown["kind"]), (&json!("complete"), &json!("sqlite")));
    for site in ["node1", "node2"] {
        sites.register(site, &json!({"start": "resume", "position": position})).must();
    }
}

#[test]
fn pol_10_a_dump_that_its_source_cannot_give_or_that_is_not_whole_fails_for_all_that_wait() {
    let sites = Sites::new(CONFIG);
    let generation =
        sites.register("master", &json!({"start": "head"})).must()["generation"].clone();
    let ask = || {
        let start = json!({"start": "dump", "source": "master"});
        let ask = || sites.register("node1", &start).must()["dump"].clone();
        sites.while_online("master", &generation, ask)
    };
    let path = |dump: &Value, what: &str| {
        format!("/dumps/{}/{what}?generation={generation}", dump.as_str().unwrap())
    };

    let dump = ask();
    let reason = json!({"reason": "pg_dump: error"});
    sites.post(&path(&dump, "failure"), &reason).must();
    let refused = sites.chunk(&dump, 0);
    assert_eq!(refused.refused(), code(410, "dump_failed"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("pg_dump: error"));

    let dump = ask();
    sites.put_chunk(&dump, 0, &format!("generation={generation}&kind=x"), b"half").must();
    let position = sites.get("/sites").must()["position"].clone();
    let end = json!({"position": position, "chunks": 1, "bytes": 4, "sha256": sha256(b"whole")});
    assert_eq!(sites.post(&path(&dump, "complete"), &end).refused(), code(409, "bad_chunk"));
    assert_eq!(sites.chunk(&dump, 1).refused(), code(410, "dump_failed"));
    let unknown = json!("0192f0c1a2b37c4d8e5f60718293a4b5");
    assert_eq!(sites.chunk(&unknown, 0).refused(), code(404, "unknown_dump"));
}

#[test]
fn i25_history_is_held_for_a_site_up_to_a_bound_and_one_beyond_it_is_evicted_with_a_reason() {
    let sites = Sites::new(CONFIG);
    let site = sites.register("node1", &json!({"start": "head"})).must();
    sites.register("gone", &json!({"start": "head"})).must();
    let large = json!({"op": "append", "journal": "j", "text": "x".repeat(200_000)});
    let append = || sites.commit(std::slice::from_ref(&large));
    for _ in 0..10 {
        append();
    }
    // Two megabytes: far more than is kept for readers, less than is held for sites.
    let position = sites.get("/sites").must()["position"].clone();
    let told = sites.feed("node1", &site["generation"], |line| {
        line["position"].as_str() >= position.as_str() || line.get("error").is_some()
    });
    assert_eq!(told.len(), 10, "nothing is missing");

    let begun = Instant::now();
    while sites.site("gone")["state"] != "evicted" {
        assert!(begun.elapsed() < PATIENCE, "{}", sites.site("gone"));
        let newest = append();
        let ack = json!({"generation": site["generation"], "position": newest});
        sites.post("/sites/node1/ack", &ack).must();
    }
    let reason = sites.site("gone")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("bytes of history behind, 4000000 are held"), "{reason}");
    let refused = sites.register("gone", &json!({"start": "resume"}));
    assert_eq!(refused.refused(), code(409, "dump_required"));
    assert_eq!(sites.site("node1")["state"], "live", "one that keeps up is not concerned");
}

#[test]
fn a_paused_site_is_told_nothing_until_it_goes_on() {
    let sites = Sites::new(CONFIG);
    let site = sites.register("node1", &json!({"start": "head"})).must();
    sites.post("/sites/node1/pause", &json!(null)).must();
    let position = sites.commit(&[put("t", "a")]);

    let told = std::thread::scope(|scope| {
        let feed = scope.spawn(|| {
            sites.feed("node1", &site["generation"], |line| line["position"] == position.as_str())
        });
        let begun = Instant::now();
        while sites.site("node1")["sent"] == Value::Null {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(10));
        }
        sites.commit(&[put("t", "b")]);
        assert!(sites.site("node1")["sent"].as_str() < Some(position.as_str()));
        sites.post("/sites/node1/resume", &json!(null)).must();
        feed.join().unwrap()
    });

    let commits = told.iter().filter(|line| line.get("records").is_some()).count();
    assert_eq!(commits, 1, "{told:?}");
}

#[test]
fn pol_u8_a_site_that_has_all_it_was_sent_is_behind_no_entry_and_metrics_say_so() {
    let sites = Sites::new(CONFIG);
    let site = sites.register("node1", &json!({"start": "head"})).must();
    let position = sites.commit(&[put("t", "a")]);
    assert!(sites.site("node1")["behind_entries"].as_u64() > Some(0), "it has heard of nothing");

    std::thread::scope(|scope| {
        let feed = scope.spawn(|| {
            sites.feed("node1", &site["generation"], |line| line["bookmark"].is_string())
        });
        let begun = Instant::now();
        while sites.site("node1")["sent"] != position.as_str() {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(10));
        }
        let ack = json!({"generation": site["generation"], "position": position});
        sites.post("/sites/node1/ack", &ack).must();
        let shown = sites.site("node1");
        assert_eq!((&shown["behind_entries"], &shown["online"]), (&json!(0), &json!(true)));
        let (_, page) = sites.server.request("GET", "/metrics");
        for line in [
            "instep_sites{dataset=\"d\",state=\"live\"} 1",
            "instep_site_behind_entries{dataset=\"d\",site=\"node1\"} 0",
            "instep_site_online{dataset=\"d\",site=\"node1\"} 1",
        ] {
            assert!(page.contains(line), "{line}");
        }
        feed.join().unwrap();
    });
}

#[test]
fn pol_18_pol_23_a_body_of_any_bytes_becomes_a_record_once_and_is_told_as_it_was() {
    let sites = Sites::new(CONFIG);
    let site = sites.register("node1", &json!({"start": "head"})).must();
    let append = |body: &'static [u8], id: Option<&str>| {
        let url = format!("{}{D}/journals/j/records", sites.server.url);
        let mut request = http().post(url).bearer_auth(&sites.key).body(body);
        if let Some(id) = id {
            request = request.header("idempotency-key", id);
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { request.send().await.unwrap().json::<Value>().await.unwrap() })
    };
    let id = uuid::Uuid::now_v7().to_string();

    let first = append(b"BEGIN; -- \xc3\xa4", Some(&id));
    let again = append(b"BEGIN; -- \xc3\xa4", Some(&id));
    let other = append(b"another", Some(&id));
    let second = append(b"\x00\xff", None);
    let third = append(b"", None);

    assert_eq!((&first["ordinal"], &first["replayed"]), (&json!(number(1)), &json!(false)));
    assert_eq!((&again["position"], &again["replayed"]), (&first["position"], &json!(true)));
    assert_eq!(other["code"], "id_conflict");
    assert_eq!(second["ordinal"], number(2));
    let last = &third["position"];
    let told = sites.feed("node1", &site["generation"], |line| line["position"] == *last);
    let records: Vec<_> =
        told.iter().flat_map(|line| line["records"].as_array().unwrap()).collect();
    let append = |at, form: &str, body: &str| {
        let ordinal = number(at);
        json!({"append": {"journal": "j", "ordinal": ordinal, form: body}})
    };
    let expected =
        [append(1, "text", "BEGIN; -- ä"), append(2, "base64", "AP8="), append(3, "text", "")];
    assert_eq!(records, expected.iter().collect::<Vec<_>>());
}

fn number(ordinal: u64) -> String {
    format!("{ordinal:020}")
}

#[test]
fn pol_16_sites_are_what_they_were_after_the_server_is_killed() {
    let mut sites = Sites::new(CONFIG);
    let site = sites.register("node1", &json!({"start": "head"})).must();
    let position = sites.commit(&[put("t", "a")]);
    let ack = json!({"generation": site["generation"], "position": position});
    sites.post("/sites/node1/ack", &ack).must();
    sites.post("/sites/node1/pause", &json!(null)).must();
    let before = sites.site("node1");

    sites.server.signal("-KILL");
    sites.server.start_again();
    sites.server.wait_until_ready();

    let after = sites.site("node1");
    for field in ["state", "cursor", "generation", "tables", "journals"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    sites.post("/sites/node1/resume", &json!(null)).must();
    let behind = sites.commit(&[put("t", "b")]);
    let told = sites.feed("node1", &site["generation"], |line| line["position"] == behind.as_str());
    assert_eq!(told.iter().filter(|line| line.get("records").is_some()).count(), 1);
    sites.send(Method::DELETE, "/sites/node1", "".into(), None).must();
    assert_eq!(sites.site("node1"), Value::Null);
}
