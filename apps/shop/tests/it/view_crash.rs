//! SNK-22: the part of a node that keeps what pages see may crash; it begins anew from memory, and
//! sockets stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use instep::model::commit::{Operation, TableOptions};
use instep::model::name::Name;
use instep::model::view::{RowContext, View, Visible};
use instep::{App, Config, Dataset, Server};
use serde_json::json;

use crate::inventory_crash::{join, next};

#[tokio::test(flavor = "multi_thread")]
async fn snk_22_when_a_view_panics_the_feed_begins_anew_and_sockets_stay_and_miss_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let panics = Arc::new(AtomicBool::new(false));
    let mut config = Config::in_directory(directory.path());
    config.http = ([127, 0, 0, 1], 0).into();
    let mut server = Server::start(config, app(Arc::clone(&panics))).await.unwrap();
    server.ready().await.unwrap();
    let dataset = server.node().dataset("store").unwrap();
    put(&dataset, "a", 1).await;
    let mut socket = join(&server, "product:1").await;

    panics.store(true, Ordering::SeqCst);
    put(&dataset, "a", 2).await;

    // The entry in which it panicked is not missed: the subscriber starts over with what is there.
    let lagged = next(&mut socket, "lagged").await;
    assert_eq!(lagged["mode"], "reset");
    assert_eq!(next(&mut socket, "seen").await["n"], 2);
    assert!(!panics.load(Ordering::SeqCst), "it panicked once");
    put(&dataset, "b", 3).await;
    assert_eq!(next(&mut socket, "seen").await["n"], 3);
    server.stop().await.unwrap();
}

fn app(panics: Arc<AtomicBool>) -> App {
    let (store, items) = (Name::new("store").unwrap(), Name::new("items").unwrap());
    let view = View::native(items.clone(), items.clone(), "product:{product}", "seen", {
        move |row: &RowContext<'_>| {
            assert!(!panics.swap(false, Ordering::SeqCst), "the test wants it");
            Some(Visible { topic: "product:1".into(), fields: row.fields.clone() })
        }
    });
    App::default().table(&store, &items, TableOptions::default()).view(&store, view.unwrap())
}

async fn put(dataset: &Dataset, key: &str, n: i64) {
    let put = json!([{"op": "put", "table": "items", "key": key, "row": {"n": n}}]);
    let operations: Vec<Operation> = serde_json::from_value(put).unwrap();
    dataset.commit(operations.into()).await.unwrap();
}
