//! Buyers: one purchase after the other, each asked for until its outcome is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::ITEMS;
use super::process::Face;

/// A purchase that was acknowledged.
pub(super) struct Purchase {
    pub(super) order: String,
    pub(super) item: String,
    /// Remaining count, as the reply stated it.
    pub(super) left: i64,
    pub(super) attempts: u32,
}

pub(super) async fn buy(face: Face, writer: usize, done: Arc<AtomicBool>) -> Vec<Purchase> {
    let mut purchases = Vec::new();
    for number in 0_u64.. {
        if done.load(Ordering::SeqCst) {
            break;
        }
        let order = format!("{writer}-{number}");
        let item = (number % ITEMS).to_string();
        let ops = json!([
            {"op": "add", "table": "items", "key": item, "field": "n", "by": -1, "min": 0},
            {"op": "put", "table": "orders", "key": order, "row": {"item": item}},
        ]);
        let id = Uuid::now_v7();
        let mut attempts = 0;
        let left = loop {
            attempts += 1;
            match face.commit(Some(id), &ops).await {
                Ok((200, reply)) => break reply["results"][0].as_i64().unwrap(),
                // Loading, stopped, or cut off: the outcome is asked for again.
                Ok((503, _)) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok((status, reply)) => panic!("purchase {order}: {status} {reply}"),
            }
        };
        purchases.push(Purchase { order, item, left, attempts });
    }
    purchases
}
