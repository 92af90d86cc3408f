//! Cost of giving messages to a server, by the messages that are looked at.

use instep_client::NewMessage;
use serde_json::{Value, json};

use super::local::Fixture;

/// Messages that were looked at to find those to give, and those given.
async fn counters(house: &Fixture) -> [u64; 2] {
    let mail = house.client.mail("mail").await.unwrap();
    ["looked_at", "given"].map(|name| mail[name].as_u64().unwrap())
}

/// Sends a message to each of so many endpoints in turn, `count` in all.
async fn send_round(house: &Fixture, first: u64, endpoints: u64, count: u64) {
    let letter = |n: u64| {
        let to = format!("org/{}", first + n % endpoints);
        NewMessage { to, body: json!({"n": n}), ..NewMessage::default() }
    };
    let letters: Vec<NewMessage> = (0..count).map(letter).collect();
    for letters in letters.chunks(1_000) {
        house.client.send_mail("mail", "mail", letters).await.unwrap();
    }
}

async fn route_round(house: &Fixture, first: u64, endpoints: u64, server: &str) {
    let routes = (first..first + endpoints).map(|org| {
        json!({"op": "put", "table": "directory", "key": format!("org/{org}"),
               "row": {"server": server, "generation": 1}})
    });
    let routes: Vec<Value> = routes.collect();
    for routes in routes.chunks(1_000) {
        house.client.commit("mail", routes, None).await.unwrap();
    }
}

// SMQ-R1, I47: what once ate the database; `cargo xtask bench mail` measures it at ten million.
// 20,000 messages wait for others, a thousand for a server with 5,000 endpoints, as many for one
// with a single endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn smq_06_only_given_messages_are_looked_at_however_many_wait_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    route_round(&house, 1, 5_000, "7").await;
    route_round(&house, 10_000, 1, "8").await;
    route_round(&house, 20_000, 100, "9").await;
    send_round(&house, 20_000, 100, 10_000).await;
    send_round(&house, 1, 5_000, 1_000).await;
    send_round(&house, 10_000, 1, 1_000).await;
    send_round(&house, 20_000, 100, 10_000).await;

    for (server, credit) in [("7", 1_024), ("8", 1_024)] {
        let before = counters(&house).await;
        let mut local = house.register_with(server, json!({"credit": credit})).await.unwrap();
        assert_eq!(local.greeting["pending"], 1_000);
        let taken = local.take(1_000).await;
        let behind = counters(&house).await;

        assert!(taken.iter().all(|message| message.attempt == 1));
        let cost = [behind[0] - before[0], behind[1] - before[1]];
        assert_eq!(cost, [1_000, 1_000], "server {server}: looked at, and given");
    }
    // The same with a window that opens by and by.
    let before = counters(&house).await;
    let mut local = house.register_with("9", json!({"credit": 64})).await.unwrap();
    for _ in 0..2_000 / 16 {
        let taken = local.take(16).await;
        local.ack(&super::local::seqs(&taken)).await;
    }
    let behind = counters(&house).await;
    let [looked_at, given] = [behind[0] - before[0], behind[1] - before[1]];
    assert!(given >= 2_000, "{given}");
    assert!(looked_at <= given + given / 8, "{looked_at} looked at, {given} given");
}
