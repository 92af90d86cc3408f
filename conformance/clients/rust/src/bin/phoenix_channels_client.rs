//! phoenix_channels_client, of LiveView Native: it leaves with null.

use std::time::Duration;

use field_clients::{ANSWER, address, restart};
use phoenix_channels_client::{Client, Config};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

async fn connected() -> Client {
    let mut client = Client::new(Config::new(address().as_str()).unwrap()).unwrap();
    client.connect().await.unwrap();
    client
}

#[tokio::main]
async fn main() {
    let client = connected().await;
    // It waits for a join_ref, which a refusal has none of.
    assert!(client.join("undeclared:topic", Some(Duration::from_secs(1))).await.is_err());
    let channel = client.join("room:rs", Some(ANSWER)).await.unwrap();
    let (heard, mut hears) = mpsc::unbounded_channel();
    let said = move |_, payload: &_| drop(heard.send(format!("{payload}")));
    channel.on("said", said).await.unwrap();

    channel.send_with_timeout("said", json!({"n": 1}), Some(ANSWER)).await.unwrap();
    timeout(ANSWER, hears.recv()).await.unwrap().unwrap();
    channel.leave().await;
    let left = async {
        let soon = Some(Duration::from_millis(500));
        while channel.send_with_timeout("said", json!({"n": 2}), soon).await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(ANSWER, left).await.unwrap();
    client.join("room:rs", Some(ANSWER)).await.unwrap();

    tokio::task::block_in_place(restart);
    connected().await.join("room:rs", Some(ANSWER)).await.unwrap();
}
