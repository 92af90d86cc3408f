//! phyllo: joins without parameters (null), beats with null, hears, and joins again by itself.
//!
//! Its pushes name a join that it has not made, and Phoenix drops those, too.

use std::time::Duration;

use field_clients::{ANSWER, SILENCE, address, ask, restart};
use phyllo::channel::ChannelBuilder;
use phyllo::socket::SocketBuilder;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use url::Url;

fn publish(n: u64) {
    let payload = json!({"n": n});
    ask(&json!({"do": "publish", "topic": "room:rs", "event": "said", "payload": payload}));
}

#[tokio::main]
async fn main() {
    let url = Url::parse(&address()).unwrap();
    let beat = Duration::from_millis(300);
    let mut socket = SocketBuilder::new(url).heartbeat(beat).build::<String>().await;
    let room = ChannelBuilder::new("room:rs".to_owned());
    let (_channel, mut heard) = socket.channel::<String, Value, Value>(room).await.unwrap();

    // The channel is there before it has joined.
    let joined = async {
        while timeout(Duration::from_millis(300), heard.recv()).await.is_err() {
            block_in_place(|| publish(1));
        }
    };
    timeout(ANSWER, joined).await.unwrap();
    sleep(SILENCE).await;
    while timeout(Duration::from_millis(10), heard.recv()).await.is_ok() {}
    block_in_place(|| publish(2));
    timeout(ANSWER, heard.recv()).await.unwrap().unwrap();

    block_in_place(restart);
    let again = async {
        while timeout(Duration::from_millis(300), heard.recv()).await.is_err() {
            block_in_place(|| publish(3));
        }
    };
    timeout(ANSWER, again).await.unwrap();
}
