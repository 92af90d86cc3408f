//! A door on a node with a live topic and a table, in memory.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use instep_access::Gate;
use instep_edge::{Counts, Door, DoorOptions, websocket};
use instep_model::commit::Operation;
use instep_model::name::{Key, Name};
use instep_model::position::Incarnation;
use instep_model::ring::{Payload, RingLimits};
use instep_node::dataset::Options;
use instep_node::engine::Engine;
use instep_node::{Dataset, LivePattern, Node};
use serde_json::json;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::client::Client;

/// Timeout of what only has to happen at some time.
pub(crate) const LIVENESS: Duration = Duration::from_secs(60);
pub(crate) const TABLE_TOPIC: &str = "table:d/t";

pub(crate) struct Fixture {
    runtime: Runtime,
    node: Node,
    door: Door,
    address: SocketAddr,
    http: SocketAddr,
}

impl Fixture {
    pub(crate) fn open(rings: RingLimits, options: DoorOptions) -> Self {
        let runtime = Runtime::new().unwrap();
        let live = LivePattern {
            topic: "room:*".into(),
            anyone_publishes: true,
            ..LivePattern::default()
        };
        let node = Node::new(vec![live], rings).unwrap();
        let dataset = dataset(&node);
        node.add(dataset).unwrap();
        node.set_ready();
        let _inside = runtime.enter();
        let door = Door::open(node.clone(), Gate::default(), vec![], options).unwrap();
        let address = door.listen_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let http = serve_http(&runtime, &door);
        let fixture = Self { runtime, node, door, address, http };
        fixture.commit(Operation::CreateTable { table: name("t"), public: true });
        fixture
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Address of WebSockets: `/channels`, and `/panics` for what a bug would do.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// A client that has joined.
    pub(crate) fn join(&self, topic: &str) -> Client {
        let mut client = self.connect();
        client.join(topic);
        client
    }

    pub(crate) fn publish(&self, number: usize, filling: &str) {
        let payload = json!({"n": number, "filling": filling}).to_string();
        let payload = Payload::Json(Bytes::from(payload));
        self.node.publish("room:1", "tick", payload).unwrap();
    }

    pub(crate) fn put(&self, key: &str, number: usize, filling: &str) {
        let row = json!({"n": number, "filling": filling}).as_object().cloned().unwrap();
        self.commit(Operation::Put { table: name("t"), key: Key::new(key).unwrap(), row });
    }

    fn commit(&self, operation: Operation) {
        let dataset = self.node.dataset("d").unwrap();
        self.runtime.block_on(dataset.commit(vec![operation].into())).unwrap();
    }

    /// Sum of a counter over all shards.
    pub(crate) fn count(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.door.counts().iter().map(of).sum()
    }

    pub(crate) fn connections(&self) -> usize {
        self.door.connections()
    }

    /// The most that waits for one socket.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let states = self.runtime.block_on(self.door.furthest(1_000));
        states.iter().map(|state| state.waiting_bytes).max().unwrap_or(0)
    }

    pub(crate) fn topics_joined(&self) -> usize {
        self.node.topics().all().len()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.node.close();
    }
}

/// Asks until it is true.
pub(crate) fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_true() {
        assert!(began.elapsed() < LIVENESS, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn serve_http(runtime: &Runtime, door: &Door) -> SocketAddr {
    let panics =
        websocket::raw(door.http().clone(), 1_000, |_| panic!("a bug that the test put here"));
    let router = axum::Router::new()
        .route("/channels", axum::routing::get(websocket::upgrade).with_state(door.clone()))
        .route("/panics", panics);
    let listener = instep_edge::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async { axum::serve(listener, router).await });
    address
}

fn dataset(node: &Node) -> Dataset {
    let engine = Engine::memory(Incarnation(Uuid::from_u128(1)));
    let options = Options::new(name("d"), Uuid::from_u128(2));
    Dataset::open(engine, options, node.topics().clone(), node.pools()).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
