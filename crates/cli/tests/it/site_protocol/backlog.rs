//! History behind sites: idle ones, absent ones, and what is recycled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{CONFIG, Sites, code, put};
use crate::running::{PATIENCE, hold_time};

/// A number of the environment, as `cargo xtask soak` sets it.
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

impl Sites {
    /// CPU time of the server, in milliseconds.
    fn cpu_ms(&self) -> u64 {
        let stat = format!("/proc/{}/stat", self.server.process());
        let stat = std::fs::read_to_string(stat).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        // Ticks of 10 ms in user and system mode: fields 14 and 15.
        let ticks = fields.split(' ').skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() * 10
    }

    /// Files of the log, the oldest first, and their bytes.
    fn segments(&self) -> BTreeMap<String, u64> {
        let files = std::fs::read_dir(self.server.data.join("datasets/d")).unwrap();
        let named = files.map(Result::unwrap).filter_map(|file| {
            let bytes = file.metadata().ok()?.len();
            Some((file.file_name().into_string().unwrap(), bytes))
        });
        named.filter(|(name, _)| name.ends_with(".segment")).collect()
    }
}

// POL-14: three sites that wait cost nothing, and are told what is written at once.
#[test]
fn sites_with_nothing_to_read_wait_without_cost_and_are_told_a_write_at_once() {
    let sites = Sites::new(CONFIG);
    let names = ["node1", "node2", "node3"];
    let generations = names
        .map(|name| sites.register(name, &json!({"start": "head"})).must()["generation"].clone());
    let told = std::thread::scope(|scope| {
        let feeds: Vec<_> = names
            .iter()
            .zip(&generations)
            .map(|(name, generation)| {
                let of = &sites;
                scope.spawn(move || {
                    let last = of.feed(name, generation, |line| line["position"].is_string());
                    (Instant::now(), last)
                })
            })
            .collect();
        let begun = Instant::now();
        while names.iter().any(|name| sites.site(name)["online"] != true) {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(10));
        }
        let (log, cpu) = (sites.segments(), sites.cpu_ms());
        let position = sites.get("/sites").must()["position"].clone();
        let idle = Duration::from_secs(number("SOAK_SECONDS", 2));
        std::thread::sleep(idle);
        let used = Duration::from_millis(sites.cpu_ms() - cpu);
        hold_time("CPU of a server whose sites wait", used, idle / 50);
        assert_eq!(sites.segments(), log, "an idle log does not grow");
        assert_eq!(sites.get("/sites").must()["position"], position);

        let written = Instant::now();
        sites.commit(&[put("t", "a")]);
        feeds
            .into_iter()
            .map(|feed| feed.join().unwrap())
            .map(|(at, lines)| {
                hold_time("a write reaches a site", at - written, Duration::from_millis(100));
                lines
            })
            .collect::<Vec<_>>()
    });

    for lines in told {
        let records = &lines.last().unwrap()["records"];
        assert_eq!(records[0]["put"]["key"], "a", "{lines:?}");
    }
}

// POL-25: what is written while a site is away lies on the disk, and in no memory.
#[test]
fn a_site_that_is_away_costs_disk_and_no_memory() {
    const OF_ONE_COMMIT: u64 = 1_000;
    let commits = number("SITE_BACKLOG", 60_000) / OF_ONE_COMMIT;
    let sites = Sites::new("[[dataset]]\nname = 'd'\n");
    let site = sites.register("node1", &json!({"start": "head"})).must();
    let records: Vec<_> = (0..OF_ONE_COMMIT)
        .map(|n| json!({"op": "append", "journal": "j", "text": format!("record {n:064}")}))
        .collect();
    let write = |commits: u64| (0..commits).fold(String::new(), |_, _| sites.commit(&records));
    write(commits / 2);
    let half = sites.server.resident_kib();

    let last = write(commits - commits / 2);

    let grown = sites.server.resident_kib().saturating_sub(half);
    assert!(grown < 16 * 1024, "{grown} KiB for {commits} commits");
    let told = sites.feed("node1", &site["generation"], |line| line["position"] == last.as_str());
    let told: usize = told.iter().map(|line| line["records"].as_array().unwrap().len()).sum();
    assert_eq!(told as u64, commits * OF_ONE_COMMIT, "nothing is missing");
}

// POL-U4, POL-R12: what every site has applied is recycled, and one behind what is kept is told so.
#[test]
fn history_that_all_sites_have_applied_is_recycled() {
    let sites = Sites::new(CONFIG);
    let site = sites.register("node1", &json!({"start": "head"})).must();
    let large = json!({"op": "append", "journal": "j", "text": "x".repeat(200_000)});
    let append = || sites.commit(std::slice::from_ref(&large));
    let (first, ack) = (append(), |position: &str| {
        let ack = json!({"generation": site["generation"], "position": position});
        sites.post("/sites/node1/ack", &ack).must();
    });
    let mut last = String::new();
    (0..14).for_each(|_| last = append());
    let held = sites.segments();
    let bytes: u64 = held.values().sum();
    assert!(bytes > 2_500_000, "{bytes} bytes are held for the site");

    ack(&last);
    let begun = Instant::now();
    while sites.segments().keys().any(|name| held.contains_key(name)) {
        assert!(begun.elapsed() < PATIENCE, "{:?} of {held:?}", sites.segments());
        last = append();
        ack(&last);
        // The log is trimmed behind snapshots, which come by themselves.
        std::thread::sleep(Duration::from_millis(100));
    }

    let behind = json!({"start": "resume", "position": first});
    assert_eq!(sites.register("node1", &behind).refused(), code(409, "dump_required"));
    let feed = format!("/changes?since={first}");
    assert_eq!(sites.get(&feed).refused(), code(410, "position_trimmed"));
}

// I22: history that outruns a dump fails it at once, for all that wait and for its source, with
// both rates.
#[test]
fn i22_a_dump_that_history_outruns_fails_at_once_with_both_rates() {
    let sites = Sites::new(CONFIG);
    let master = sites.register("master", &json!({"start": "head"})).must()["generation"].clone();
    let start = json!({"start": "dump", "source": "master"});
    let asked = sites.while_online("master", &master, || {
        ["node1", "node2"].map(|site| sites.register(site, &start).must()["dump"].clone())
    });
    let dump = &asked[0];
    assert_eq!(asked[0], asked[1], "it is shared");
    let source = format!("generation={master}&kind=sqlite");
    sites.put_chunk(dump, 0, &source, b"the first chunk").must();
    assert_eq!(sites.chunk(dump, 0).bytes, b"the first chunk");

    let refused = std::thread::scope(|scope| {
        let waiting = ["node1", "node2"].map(|_| {
            scope.spawn(|| {
                loop {
                    let answer = sites.chunk(dump, 1);
                    if answer.status != 204 {
                        break answer;
                    }
                }
            })
        });
        let large = json!({"op": "append", "journal": "j", "text": "x".repeat(200_000)});
        let begun = Instant::now();
        while sites.site("node1")["state"] != "evicted" {
            assert!(begun.elapsed() < PATIENCE, "{}", sites.site("node1"));
            let position = sites.commit(std::slice::from_ref(&large));
            let ack = json!({"generation": master, "position": position});
            sites.post("/sites/master/ack", &ack).must();
        }
        waiting.map(|waiting| waiting.join().unwrap())
    });

    for refused in &refused {
        assert_eq!(refused.refused(), code(410, "dump_failed"));
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        let rates = detail.matches("bytes/s").count();
        assert_eq!(rates, 2, "{detail}");
        assert!(detail.contains("15 of 15 bytes"), "{detail}");
    }
    let late = sites.put_chunk(dump, 1, &source, b"too late");
    assert_eq!(late.refused(), code(410, "dump_failed"));
    let reason = sites.site("node2")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("history outran its dump: it grew by about"), "{reason}");
    assert_eq!(sites.site("master")["state"], "live");
}
