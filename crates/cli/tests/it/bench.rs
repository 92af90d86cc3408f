//! `instep bench` against a running server.

use serde_json::Value;

use crate::running::{Server, stderr, stdout};

const SHORT: [&str; 5] = ["--bots=20", "--seconds=1", "--warm-up=0", "--rate=50", "--json"];

/// JAN-U6: bots, a barrier, counts of good and bad, least and longest, steps of 500 ms. JAN-R10:
/// the set-up is apart.
#[test]
fn jan_u6_bots_subscribe_and_what_arrives_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let page = directory.path().join("report.html");
    let html = format!("--html={}", page.display());

    let report = server.json(&[&["bench", &html], &SHORT[..4]].concat());

    let measured = &report["measured"];
    let count = |name: &str| measured[name].as_u64().unwrap();
    assert_eq!(report["set_up"]["connections"], 21);
    assert!(report["set_up"]["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!([count("lost"), count("wrong"), count("late")], [0, 0, 0]);
    assert_eq!(count("measured"), count("published") * 20);
    // However busy the machine is: what was due and left late is not left out.
    assert_eq!(count("published"), 50, "{measured}");
    let steps = measured["coarse"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap());
    assert_eq!(steps.sum::<u64>(), count("measured"));
    let latency = |name: &str| measured["latency"][name].as_f64().unwrap();
    assert!(latency("min_us") > 0.0 && latency("min_us") <= latency("max_us"));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("20 subscribers over WebSocket"));
    let made = &report["made"];
    assert_eq!(made["version"], env!("CARGO_PKG_VERSION"));
    assert!(made["machine"]["cores"].as_u64().unwrap() > 0, "{made}");
    let day = &made["at"].as_str().unwrap()[..10];
    let version = format!("instep {}", env!("CARGO_PKG_VERSION"));
    for told in [day, &version, "GiB", "p50", "p99"] {
        assert!(page.contains(told), "{told}: when, by what and where");
    }
    assert!(!page.contains("://"), "the page needs something from elsewhere");
}

/// JAN-U6: a program can ask for limits to be held.
#[test]
fn a_missed_limit_has_an_exit_code_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    let held = server.instep(&[&["bench", "--max-bad=0"], &SHORT[..]].concat());
    let missed = server.instep(&[&["bench", "--max-ms=0"], &SHORT[..]].concat());

    assert_eq!(held.status.code(), Some(0), "{}", stderr(&held));
    assert_eq!(missed.status.code(), Some(8), "{}", stderr(&missed));
    let problem: Value = serde_json::from_str(&stderr(&missed)).unwrap();
    assert_eq!(problem["code"], "missed");
    let report: Value = serde_json::from_str(&stdout(&missed)).unwrap();
    assert_eq!(report["missed"].as_array().unwrap().len(), 1);
}

#[test]
fn a_topic_that_no_client_may_join_is_refused_with_the_servers_words() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    let refused = server.instep(&[&["bench", "nowhere"], &SHORT[..]].concat());

    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("unmatched topic"), "{}", stderr(&refused));
}
