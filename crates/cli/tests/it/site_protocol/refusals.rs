//! Refusals of what a site may not say: for the site that says it, and no other notices.

use serde_json::{Value, json};

use super::{CONFIG, D, Sites, code, put};
use crate::mail::disk::Disk;
use crate::running::http;

/// A position of the same history, so many entries ahead.
fn ahead(position: &str, entries: u64) -> String {
    let (incarnation, place) = position.split_once('-').unwrap();
    let (revision, index) = place.split_once('-').unwrap();
    let revision = revision.parse::<u64>().unwrap() + entries;
    format!("{incarnation}-{revision:020}-{index}")
}

/// The same place in another history.
fn elsewhere(position: &str) -> String {
    let (incarnation, place) = position.split_once('-').unwrap();
    format!("{}-{place}", incarnation.chars().rev().collect::<String>())
}

// POL-24, POL-R5, POL-R7: a number too high, too low, of another history, of an old registration; a
// name too long; an unknown word.
#[test]
fn what_a_site_says_wrongly_is_an_error_for_it_and_for_no_other() {
    let sites = Sites::new(CONFIG);
    let old = sites.register("node1", &json!({"start": "head"})).must();
    let generation =
        sites.register("node1", &json!({"start": "resume"})).must()["generation"].clone();
    let other = sites.register("other", &json!({"start": "head"})).must();
    let first = sites.commit(&[put("t", "a")]);
    let second = sites.commit(&[put("t", "b")]);
    let ack = |generation: &Value, position: &str| {
        sites.post("/sites/node1/ack", &json!({"generation": generation, "position": position}))
    };
    ack(&generation, &second).must();

    assert_eq!(ack(&generation, &ahead(&second, 5)).refused(), code(409, "position_ahead"));
    assert_eq!(ack(&generation, &elsewhere(&second)).refused(), code(409, "other_history"));
    assert_eq!(ack(&old["generation"], &second).refused(), code(409, "fenced"));
    assert_eq!(ack(&json!(99_999), &second).refused(), code(409, "fenced"));
    assert_eq!(ack(&generation, "later").refused(), code(400, "bad_json"));
    ack(&generation, &first).must();
    assert_eq!(sites.site("node1")["cursor"], second.as_str(), "it never goes back");
    let long = "n".repeat(65);
    let named = |name: &str| sites.register(name, &json!({"start": "head"})).refused();
    assert_eq!(named(&long), code(400, "bad_name"));
    assert_eq!(named("node%001"), code(400, "bad_name"));
    let dump = json!({"start": "dump", "source": long});
    assert_eq!(sites.register("node2", &dump).refused(), code(400, "bad_json"));
    let unknown = json!({"start": "head", "offset": 7});
    assert_eq!(sites.register("node2", &unknown).refused(), code(400, "bad_json"));
    assert_eq!(sites.post("/sites/node1/rewind", &json!({})).refused().0, 404);
    let ahead_of_it = json!({"start": "resume", "position": ahead(&second, 5)});
    assert_eq!(sites.register("node1", &ahead_of_it).refused(), code(409, "position_ahead"));
    let of_another = json!({"start": "resume", "position": elsewhere(&second)});
    assert_eq!(sites.register("node1", &of_another).refused(), code(409, "other_history"));

    let last = sites.commit(&[put("t", "c")]);
    for (site, generation) in [("node1", &generation), ("other", &other["generation"])] {
        let told = sites.feed(site, generation, |line| line["position"] == last.as_str());
        assert!(told.iter().all(|line| line.get("error").is_none()), "{told:?}");
    }
    let known = sites.get("/sites").must()["sites"].as_array().unwrap().len();
    assert_eq!(known, 2, "no refusal has left a site");
}

// POL-06: a source that does not apply the log by its state, though it is online.
#[test]
fn a_source_that_is_paused_failed_or_takes_a_dump_itself_gives_none() {
    let sites = Sites::new(CONFIG);
    let master = sites.register("master", &json!({"start": "head"})).must()["generation"].clone();
    let ask = |source: &str| {
        let start = json!({"start": "dump", "source": source});
        sites.register("node1", &start).json()["detail"].as_str().unwrap_or_default().to_owned()
    };

    sites.while_online("master", &master, || {
        sites.post("/sites/master/pause", &json!(null)).must();
        assert!(ask("master").contains("it is paused"), "{}", ask("master"));
        sites.post("/sites/master/resume", &json!(null)).must();
        let failure = json!({"generation": master, "reason": "no column"});
        sites.post("/sites/master/failure", &failure).must();
        assert!(ask("master").contains("it is failed"), "{}", ask("master"));
    });
    sites.register("young", &json!({"start": "dump", "source": "server"})).must();
    assert!(ask("young").contains("it is reserved"), "{}", ask("young"));

    assert_eq!(sites.site("node1"), Value::Null);
}

// POL-U1: a body that is too large is refused before it is read.
#[test]
fn a_record_has_a_size_limit_and_an_answer_with_its_position() {
    let sites = Sites::new(CONFIG);
    let append = |bytes: usize| {
        let url = format!("{}{D}/journals/j/records", sites.server.url);
        let request = http().post(url).bearer_auth(&sites.key).body(vec![b'x'; bytes]);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        })
    };

    let (status, largest) = append(256 * 1024);
    assert_eq!((status, &largest["ordinal"]), (200, &json!(super::number(1))));
    let (status, refused) = append(256 * 1024 + 1);
    assert_eq!((status, &refused["code"]), (413, &json!("body_too_large")));
    let (_, next) = append(1);

    assert_eq!(next["ordinal"], super::number(2), "what was refused has no number");
    assert_eq!(sites.get("/sites").must()["position"], next["position"]);
}

// POL-23, POL-R8: no "ok" for what is not durable, and what was answered is there after a kill.
#[test]
fn a_write_is_answered_when_it_is_durable_and_refused_when_it_cannot_be() {
    let Some(disk) = Disk::mount() else { return };
    let mut sites = Sites::on(disk.path(), CONFIG);
    let site = sites.register("node1", &json!({"start": "head"})).must();
    let append = |sites: &Sites, bytes: usize| {
        let operation = json!({"op": "append", "journal": "j", "text": "x".repeat(bytes)});
        sites.post("/commits", &json!({"ops": [operation]}))
    };
    let kept = append(&sites, 10).must()["position"].clone();
    disk.fill();
    // What is laid out for the log is written before it finds no room.
    let mut refused = append(&sites, 200_000);
    while refused.status == 200 {
        refused = append(&sites, 200_000);
    }
    assert_eq!(refused.refused(), code(507, "storage_full"));
    disk.empty();
    let last = append(&sites, 20).must()["position"].clone();

    sites.server.signal("-KILL");
    sites.server.start_again();

    let told = sites.feed("node1", &site["generation"], |line| line["position"] == last);
    let records: Vec<usize> = told
        .iter()
        .flat_map(|line| line["records"].as_array().unwrap())
        .map(|record| record["append"]["text"].as_str().unwrap().len())
        .collect();
    assert_eq!((records[0], records[records.len() - 1]), (10, 20), "{kept}");
    assert!(records[1..records.len() - 1].iter().all(|bytes| *bytes == 200_000), "{records:?}");
}

// A dump that finds no room fails with a reason for all that wait, and commits go on.
#[test]
fn a_dump_that_finds_no_room_at_the_server_fails_and_costs_no_commit() {
    let sites = Sites::new(&format!("spool_bytes = 1048576\n{CONFIG}"));
    for key in 0..20 {
        let row = json!({"x": "x".repeat(100_000)});
        sites.commit(&[json!({"op": "put", "table": "t", "key": key.to_string(), "row": row})]);
    }

    let site = sites.register("node1", &json!({"start": "dump", "source": "server"})).must();
    let mut answer = sites.chunk(&site["dump"], 0);
    for chunk in 1..3 {
        if answer.status == 200 {
            answer = sites.chunk(&site["dump"], chunk);
        }
    }

    assert_eq!(answer.refused(), code(410, "dump_failed"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("spool"), "{}", answer.json());
    sites.commit(&[put("t", "a")]);
}
