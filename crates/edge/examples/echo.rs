//! A WebSocket server that says back what it hears, on the shards that serve Channels.
//!
//! `cargo run -p instep-edge --example echo -- 127.0.0.1:9001`: the conformance suites of RFC 6455
//! want such a server, with messages of up to 16 MiB.

use axum::Router;
use bytes::Bytes;
use instep_access::Gate;
use instep_edge::websocket::{self, RawMessage};
use instep_edge::{Door, DoorOptions};
use instep_model::ring::RingLimits;
use instep_node::Node;
use instep_protocol::encode::Frame;

const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let address = address.parse().map_err(std::io::Error::other)?;
    let node = Node::new(vec![], RingLimits::default())?;
    let door = Door::open(node, Gate::default(), vec![], DoorOptions::default())?;
    let echo = |message: RawMessage<'_>| {
        Some(match message {
            RawMessage::Text(text) => Frame::Text(Bytes::copy_from_slice(text.as_bytes())),
            RawMessage::Binary(bytes) => Frame::Binary(Bytes::copy_from_slice(bytes)),
        })
    };
    let router = Router::new().route("/", websocket::raw(door.http().clone(), MESSAGE_BYTES, echo));
    let listener = tokio::net::TcpListener::from_std(instep_edge::listen(address)?)?;
    eprintln!("listening ws://{}", listener.local_addr()?);
    axum::serve(listener, router).await
}
