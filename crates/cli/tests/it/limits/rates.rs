//! Rate limits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Limited, push};
use crate::running::{PATIENCE, http};

/// Asks over a connection of its own; answers the status, `Retry-After` and the body.
async fn ask(url: &str, bearer: &str) -> (u16, Option<u64>, String) {
    read(&http(), url, bearer).await
}

async fn read(client: &reqwest::Client, url: &str, bearer: &str) -> (u16, Option<u64>, String) {
    let asked = client.get(url);
    let asked = if bearer.is_empty() { asked } else { asked.bearer_auth(bearer) };
    let asked = asked.send().await.unwrap();
    let retry = asked.headers().get("retry-after");
    let retry = retry.map(|value| value.to_str().unwrap().parse().unwrap());
    (asked.status().as_u16(), retry, asked.text().await.unwrap())
}

#[test]
fn an_address_that_connects_too_often_is_told_when_to_come_back() {
    let limited = Limited::start(
        "[rate]\nloopback = true\nconnections = 1\nconnections_burst = 20\nrequests = 0",
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("{}/healthz", limited.server.url);

    let answers: Vec<_> = runtime
        .block_on(async { futures_util::future::join_all((0..40).map(|_| ask(&url, ""))).await });
    let refused: Vec<_> = answers.iter().filter(|(status, ..)| *status == 429).collect();
    assert!(refused.len() >= 15, "{}", refused.len());
    for (_, retry, body) in &refused {
        assert!(retry.is_some_and(|seconds| (1..=30).contains(&seconds)), "{retry:?}");
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&"rate_limited".into(), &429.into()));
    }
    let told = (0..10).find_map(|_| {
        let mut client = limited.connect();
        client.send(&json!([null, "1", "phoenix", "heartbeat", {}]));
        client.next().filter(|heard| heard[3] == "close")
    });
    let expected = json!({"code": 1008, "reason": "rate_limited"});
    assert_eq!(told.expect("the same over TCP")[4], expected);
    // The allowance comes back with time.
    let begun = Instant::now();
    while runtime.block_on(ask(&url, "")).0 != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is never let in again");
        std::thread::sleep(Duration::from_millis(200));
    }
    let begun = Instant::now();
    loop {
        let (status, page) = limited.server.request("GET", "/metrics");
        if status == 200 {
            let name = "instep_rate_limited_total{what=\"connections\"} ";
            let count = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            return assert!(count.parse::<usize>().unwrap() > refused.len(), "{count}");
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn requests_beyond_the_rate_of_a_connection_are_answered_429() {
    let limited = Limited::start("[rate]\nloopback = true\nrequests = 1\nrequests_burst = 10");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("{}/healthz", limited.server.url);
    let client = http();

    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for _ in 0..40 {
        let (status, retry, _) = runtime.block_on(read(&client, &url, ""));
        assert_eq!(retry.is_some(), status == 429);
        *counts.entry(status).or_default() += 1;
    }

    assert!(counts[&200] >= 10 && counts[&429] >= 15, "{counts:?}");
    assert_eq!(runtime.block_on(ask(&url, "")).0, 200, "another connection has its own");
    assert!(limited.metric("instep_rate_limited_total{what=\"requests\"}") >= 15);
}

#[test]
fn a_message_too_many_is_refused_by_name_and_the_socket_stays() {
    let limited = Limited::start(
        "[rate]\nloopback = true\nmessages = 2\nmessages_burst = 10\nrefusals = 100",
    );
    let mut client = limited.connect();
    assert_eq!(client.join("room:1", 1).0, "ok");

    let answers: Vec<_> = (2..32).map(|number| client.ask(push(number, String::new()))).collect();

    let refused: Vec<_> = answers.iter().filter(|(status, _)| status == "error").collect();
    assert!(refused.len() >= 15, "{}", refused.len());
    assert!(refused.iter().all(|(_, told)| *told == json!({"reason": "rate_limited"})));
    client.heartbeat();
    let (status, told) = client.join("room:2", 90);
    assert_eq!((status.as_str(), &told["reason"]), ("error", &"rate_limited".into()));
    std::thread::sleep(Duration::from_millis(1_600));
    assert_eq!(client.ask(push(91, String::new())).0, "ok", "it may again");
    assert!(limited.metric("instep_rate_limited_total{what=\"messages\"}") >= 15);
    assert_eq!(limited.connect().join("room:1", 1).0, "ok", "others have their own");
}

#[test]
fn a_client_that_ignores_the_rate_is_closed_with_a_code() {
    let limited =
        Limited::start("[rate]\nloopback = true\nmessages = 1\nmessages_burst = 5\nrefusals = 50");
    let mut client = limited.connect();
    assert_eq!(client.join("room:1", 1).0, "ok");

    for number in 2..200 {
        client.send(&json!(push(number, String::new())));
    }

    assert_eq!(client.close_code(), json!({"code": 1008, "reason": "rate_limited"}));
}

#[test]
fn bad_credentials_are_limited_and_good_ones_of_the_same_address_are_not_locked_out() {
    let limited = Limited::start("[rate]\nloopback = true\nfailures = 30\nfailures_burst = 5");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("{}/v1/datasets", limited.server.url);
    let key = std::fs::read_to_string(limited.server.data.join("admin.key")).unwrap();
    let code = |bearer: &str| {
        let (status, retry, body) = runtime.block_on(ask(&url, bearer));
        let problem: Value = serde_json::from_str(&body).unwrap();
        (status, retry, problem["code"].as_str().unwrap_or("ok").to_owned())
    };

    for number in 0..5 {
        assert_eq!(code(&format!("instep_x_{number}")).2, "wrong_key");
    }
    assert_eq!(code("instep_x_6").2, "wrong_key", "told once more what it is");
    let (status, retry, refused) = code("instep_x_7");
    assert_eq!((status, refused.as_str()), (429, "rate_limited"));
    assert!(retry.is_some_and(|seconds| (1..=2).contains(&seconds)), "{retry:?}");
    assert_eq!(code(key.trim()).2, "ok", "bad ones of the same address lock no client out");
    assert_eq!(code("").2, "key_required", "who shows nothing is answered as always");
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(code(key.trim()).2, "ok");
    assert!(limited.metric("instep_rate_limited_total{what=\"proofs\"}") >= 1);
}

#[test]
fn sockets_of_one_address_are_limited_and_others_are_told_why() {
    let limited = Limited::start("sockets_per_address = 2\n[rate]\nloopback = true");
    // The connection that asked whether the server is ready may be there for a moment.
    let (one, _two) = (limited.connect_served(), limited.connect_served());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("{}/v1/topics/room:1/events", limited.server.url);
    let join = || runtime.block_on(async { http().get(&url).send().await.unwrap() });

    let refused = join();
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()),
        (429, &b"10"[..])
    );
    let problem: Value = runtime.block_on(refused.json()).unwrap();
    assert_eq!(problem["code"], "too_many_sockets");
    let told = limited.connect().next().expect("it is told why before it is closed");
    let why = json!({"code": 1013, "reason": "too_many_sockets"});
    assert_eq!(told, json!([null, null, "phoenix", "close", why]));
    drop(one);
    let begun = Instant::now();
    while join().status() != 200 {
        assert!(begun.elapsed() < PATIENCE, "the place does not become free");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Without a word in the configuration, this machine may do as it likes: `instep bench` does.
#[test]
fn this_machine_is_exempt_unless_it_is_told_otherwise() {
    let limited = Limited::start(
        "[rate]\nconnections = 1\nconnections_burst = 1\nmessages = 1\nmessages_burst = 1",
    );
    let mut clients: Vec<_> = (0..20).map(|_| limited.connect()).collect();

    for client in &mut clients {
        assert_eq!(client.join("room:1", 1).0, "ok");
        assert_eq!(client.ask(push(2, String::new())).0, "ok");
    }
}
