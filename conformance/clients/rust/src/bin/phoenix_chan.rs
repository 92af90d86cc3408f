//! phoenix-chan: a thin client, whose program reads every message itself.

use std::time::Duration;

use field_clients::{ANSWER, SILENCE, address, restart};
use phoenix_chan::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

async fn connected() -> Client {
    let builder = Client::builder(address().parse().unwrap()).unwrap();
    builder.heartbeat(Duration::from_millis(300)).connect().await.unwrap()
}

/// Reads until an event of this name comes; its payload.
async fn next(client: &Client, topic: &str, event: &str) -> Value {
    let reading = async {
        loop {
            // It takes answers to its pings for messages, too.
            let Ok(message) = client.recv::<Value>().await else {
                tokio::task::yield_now().await;
                continue;
            };
            if message.topic_name == topic && message.event_name == event {
                return message.payload;
            }
        }
    };
    timeout(ANSWER, reading).await.unwrap()
}

#[tokio::main]
async fn main() {
    let client = connected().await;
    client.join("undeclared:topic").await.unwrap();
    assert_eq!(next(&client, "undeclared:topic", "phx_reply").await["status"], "error");
    client.join("table:d/many").await.unwrap();
    let reply = next(&client, "table:d/many", "phx_reply").await;
    assert_eq!((&reply["status"], &reply["response"]["pending"]), (&json!("ok"), &json!(true)));
    let mut rows = reply["response"]["rows"].as_array().map_or(0, Vec::len);
    while rows < 600 {
        let part = next(&client, "table:d/many", "snapshot").await;
        rows += part["rows"].as_array().unwrap().len();
    }
    client.join("room:rs").await.unwrap();
    assert_eq!(next(&client, "room:rs", "phx_reply").await["status"], "ok");
    client.send("room:rs", "said", json!({"n": 1})).await.unwrap();
    assert_eq!(next(&client, "room:rs", "said").await, json!({"n": 1}));
    // It beats while it is read.
    let silent = timeout(SILENCE, next(&client, "room:rs", "said")).await;
    assert!(silent.is_err(), "nothing was published");
    client.send("room:rs", "said", json!({"n": 2})).await.unwrap();
    assert_eq!(next(&client, "room:rs", "said").await, json!({"n": 2}));
    client.leave("room:rs").await.unwrap();
    next(&client, "room:rs", "phx_close").await;

    tokio::task::block_in_place(restart);
    while client.recv::<Value>().await.is_ok() {}
    let client = connected().await;
    client.join("room:rs").await.unwrap();
    assert_eq!(next(&client, "room:rs", "phx_reply").await["status"], "ok");
}
