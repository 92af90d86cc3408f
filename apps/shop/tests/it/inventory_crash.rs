//! SNK-22: the shop's own task may crash; connections and data do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use instep::{Config, Dataset, Server};
use instep_shop::domain::cart::{self, CartChange};
use instep_shop::domain::ids::{CartId, ItemId, ProductId};
use instep_shop::domain::{release, seed, stock};
use instep_shop::{DATASET, Secret, Shop};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const DEADLINE: Duration = Duration::from_secs(20);
const ITEM: ItemId = ItemId(101);

#[tokio::test(flavor = "multi_thread")]
async fn snk_22_when_the_inventory_task_panics_it_begins_again_and_sockets_stay() {
    let directory = tempfile::tempdir().unwrap();
    let panics = Arc::new(Panics::default());
    let (server, dataset) = open(directory.path(), Arc::clone(&panics)).await;
    let holder = CartId::from_random([1; 32]);
    cart::change(&dataset, &holder, CartChange::Add(ITEM), now_ms()).await.unwrap();
    let mut socket = join(&server, "product:1").await;

    panics.wanted.store(3, Ordering::SeqCst);
    stock::set_count(&dataset, ITEM, 0).await.unwrap();

    let told = next(&mut socket, "stock_change").await;
    assert_eq!((&told["item_id"], &told["level"]), (&json!(101), &json!("out")));
    until(|| noted(&dataset, &holder)).await;
    assert_eq!(panics.happened.load(Ordering::SeqCst), 3);
    stock::set_count(&dataset, ITEM, 500).await.unwrap();
    assert_eq!(next(&mut socket, "stock_change").await["level"], "high");
    until(|| !noted(&dataset, &holder)).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn snk_u4_a_note_that_a_stopped_server_left_undone_is_written_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let panics = Arc::new(Panics::default());
    let (server, dataset) = open(directory.path(), Arc::clone(&panics)).await;
    let holder = CartId::from_random([1; 32]);
    cart::change(&dataset, &holder, CartChange::Add(ITEM), now_ms()).await.unwrap();
    panics.wanted.store(usize::MAX, Ordering::SeqCst);
    stock::set_count(&dataset, ITEM, 0).await.unwrap();
    drop(dataset);
    server.stop().await.unwrap();

    let (server, dataset) = open(directory.path(), Arc::new(Panics::default())).await;

    until(|| noted(&dataset, &holder)).await;
    drop(dataset);
    server.stop().await.unwrap();
}

/// Panics that the task is to have, and those that it has had.
#[derive(Default)]
struct Panics {
    wanted: AtomicUsize,
    happened: AtomicUsize,
}

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(directory: &std::path::Path, panics: Arc<Panics>) -> (Server, Dataset) {
    let mut config = Config::in_directory(directory);
    config.http = ([127, 0, 0, 1], 0).into();
    let shop = Shop::new(Secret::new([1; 32])).before_look(Arc::new(move || {
        let take = |wanted: usize| wanted.checked_sub(1);
        if panics.wanted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            panics.happened.fetch_add(1, Ordering::SeqCst);
            panic!("the test wants it");
        }
    }));
    let mut server = Server::start(config, shop.app().unwrap()).await.unwrap();
    server.ready().await.unwrap();
    let dataset = server.node().dataset(DATASET).unwrap();
    seed::seed(&dataset, &seed::catalogue(), 500).await.unwrap();
    release::release(&dataset, ProductId(1)).await.unwrap();
    (server, dataset)
}

pub(super) async fn join(server: &Server, topic: &str) -> Socket {
    let url = format!("ws://{}/socket/websocket?vsn=2.0.0", server.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let join = json!(["1", "1", topic, "phx_join", {}]).to_string();
    socket.send(Message::text(join)).await.unwrap();
    let reply = next(&mut socket, "phx_reply").await;
    assert_eq!(reply["status"], "ok");
    socket
}

/// The payload of the next frame of this event; the end of the connection is a failure.
pub(super) async fn next(socket: &mut Socket, event: &str) -> Value {
    let wait = async {
        loop {
            let message = socket.next().await.expect("the socket stays").unwrap();
            let Message::Text(text) = message else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame[3] == event {
                return frame[4].clone();
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the frame comes in time")
}

fn noted(dataset: &Dataset, holder: &CartId) -> bool {
    let cart = cart::cart(&dataset.state().tables, holder);
    cart.items.iter().any(|held| held.id == ITEM && held.sold_out)
}

async fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}
