//! Kill -9 under load, against the built binary on a real disk.
//!
//! Writers buy at full speed and ask again, under the same id, until they know the outcome;
//! subscribers keep a copy of the table over WebSocket and resume by position; a changefeed is
//! read again and again with an overlap. The server is killed at random moments.
//! `INSTEP_CRASH_ROUNDS` says how often (`cargo xtask crash --rounds N`).

mod process;
mod readers;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use process::ServerProcess;
use readers::{Copy, Overlap};
use writers::Purchase;

const ITEMS: u64 = 4;
const STOCK: i64 = 1_000_000_000;
const WRITERS: usize = 8;
const SUBSCRIBERS: usize = 4;
const ROUNDS: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_rounds_lose_no_acknowledged_commit_and_count_each_purchase_once() {
    let rounds = std::env::var("INSTEP_CRASH_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().unwrap());
    let mut server = ServerProcess::start().await;
    seed(&server).await;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(writers::buy(server.face(), writer, Arc::clone(&done))))
        .collect();
    let copies: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| tokio::spawn(Copy::keep(server.face(), Arc::clone(&done))))
        .collect();
    let overlap = tokio::spawn(Overlap::read(server.face(), Arc::clone(&done)));

    for round in 0..rounds {
        // Spread over everything that a server does: starting, serving, rolling, snapshots.
        let pause = 40 + (round * 7_919 + u64::from(std::process::id())) % 500;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill_and_restart().await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    done.store(true, Ordering::SeqCst);

    let mut purchases = Vec::new();
    for writer in writers {
        purchases.extend(writer.await.unwrap());
    }
    // The revision that the copies must reach: all writers have ended.
    let last = rows(&server, "items").await;
    for copy in copies {
        let copy = copy.await.unwrap();
        assert_eq!(copy.rows, last, "a subscriber's view is not the table");
        assert!(copy.joins > 1, "a subscriber was never cut off");
    }
    let overlap = overlap.await.unwrap();
    assert!(overlap.compared > 0, "no commit was read twice");
    judge(&server, &purchases).await;
    server.kill_and_restart().await;
    assert_eq!(rows(&server, "items").await, last, "a last kill changed the table");
    judge(&server, &purchases).await;
    eprintln!(
        "{rounds} rounds: {} purchases, {} of them asked for again, {} commits compared",
        purchases.len(),
        purchases.iter().filter(|purchase| purchase.attempts > 1).count(),
        overlap.compared
    );
}

async fn seed(server: &ServerProcess) {
    let puts: Vec<Value> = (0..ITEMS)
        .map(|item| {
            let key = item.to_string();
            json!({"op": "put", "table": "items", "key": key, "row": {"n": STOCK}})
        })
        .collect();
    let (status, _) = server.face().commit(None, &json!(puts)).await.unwrap();
    assert_eq!(status, 200);
}

/// Every acknowledged purchase is there, once, and nothing else took from the stock.
async fn judge(server: &ServerProcess, purchases: &[Purchase]) {
    let orders = rows(server, "orders").await;
    let mut sold: BTreeMap<String, i64> = BTreeMap::new();
    for purchase in purchases {
        let order = orders.get(&purchase.order).unwrap_or_else(|| {
            panic!("acknowledged purchase {} is lost", purchase.order);
        });
        assert_eq!(order["item"], purchase.item, "{}", purchase.order);
        *sold.entry(purchase.item.clone()).or_default() += 1;
    }
    assert_eq!(orders.len(), purchases.len(), "orders without a purchase");
    for (item, row) in rows(server, "items").await {
        let left = row["n"].as_i64().unwrap();
        assert_eq!(STOCK - left, sold.get(&item).copied().unwrap_or(0), "stock of item {item}");
    }
    let numbers: std::collections::BTreeSet<_> =
        purchases.iter().map(|purchase| (&purchase.item, purchase.left)).collect();
    assert_eq!(numbers.len(), purchases.len(), "two purchases took the same unit");
}

/// All rows of a table.
async fn rows(server: &ServerProcess, table: &str) -> BTreeMap<String, Value> {
    let text = server.face().get(&format!("/tables/{table}/snapshot")).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.last().unwrap().get("bookmark").is_some(), "the snapshot is cut off");
    let rows = &lines[1..lines.len() - 1];
    rows.iter()
        .map(|line| (line["key"].as_str().unwrap().to_owned(), line["row"].clone()))
        .collect()
}
