//! Readers: a copy of a table over WebSocket, and a changefeed that is read with an overlap.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::process::Face;

/// Time without news after which a reader that is done believes that nothing more comes.
const QUIET: Duration = Duration::from_millis(1_500);

/// A subscriber's copy of the table `items`, kept as a page keeps one.
#[derive(Default)]
pub(super) struct Copy {
    pub(super) rows: BTreeMap<String, Value>,
    pub(super) joins: u32,
    position: Option<String>,
}

impl Copy {
    pub(super) async fn keep(face: Face, done: Arc<AtomicBool>) -> Self {
        let mut copy = Self::default();
        loop {
            // A lost connection is nothing: the position is kept.
            if copy.follow(&face, &done).await.is_some() {
                return copy;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Follows one connection. Some: all writers have ended, and nothing new came for a while.
    async fn follow(&mut self, face: &Face, done: &AtomicBool) -> Option<()> {
        let url = format!("ws://{}/socket/websocket?vsn=2.0.0", face.address);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.ok()?;
        let params = json!({"since": self.position});
        let join = json!(["1", "1", "table:store/items", "phx_join", params]);
        socket.send(Message::text(join.to_string())).await.ok()?;
        loop {
            let Ok(message) = tokio::time::timeout(QUIET, socket.next()).await else {
                if done.load(Ordering::SeqCst) {
                    return Some(());
                }
                continue;
            };
            let Message::Text(text) = message?.ok()? else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            self.take(frame[3].as_str().unwrap(), &frame[4]);
        }
    }

    fn take(&mut self, event: &str, payload: &Value) {
        match event {
            "phx_reply" => {
                assert_eq!(payload["status"], "ok", "{payload}");
                self.joins += 1;
                let reply = &payload["response"];
                if reply["mode"] != "resume" {
                    assert_ne!((self.joins > 1, &reply["mode"]), (true, &json!("snapshot")));
                    self.rows.clear();
                    for row in reply["rows"].as_array().unwrap() {
                        self.put(&row["payload"]);
                    }
                }
                self.reach(&reply["position"]);
            }
            "row" => {
                self.put(payload);
                self.reach(&payload["position"]);
            }
            "bookmark" => self.reach(&payload["position"]),
            "lagged" if payload["mode"] == "reset" => self.rows.clear(),
            "lagged" => {}
            other => panic!("{other}: {payload}"),
        }
    }

    fn put(&mut self, payload: &Value) {
        self.rows.insert(payload["key"].as_str().unwrap().to_owned(), payload["row"].clone());
    }

    fn reach(&mut self, position: &Value) {
        let Some(position) = position.as_str() else { return };
        let newer = self.position.as_deref().is_none_or(|before| before <= position);
        assert!(newer, "a position went back: {position} after {:?}", self.position);
        self.position = Some(position.to_owned());
    }
}

/// A changefeed that goes back a little at every look: a position keeps its content.
#[derive(Default)]
pub(super) struct Overlap {
    pub(super) compared: u64,
    seen: BTreeMap<String, String>,
}

impl Overlap {
    pub(super) async fn read(face: Face, done: Arc<AtomicBool>) -> Self {
        let mut overlap = Self::default();
        loop {
            let last = done.load(Ordering::SeqCst);
            let since = overlap.seen.keys().rev().nth(200).cloned();
            let path = since.map_or("/changes".into(), |since| format!("/changes?since={since}"));
            if let Ok(answer) = face.request(&path).send().await {
                match answer.status().as_u16() {
                    200 => overlap.take(&answer.text().await.unwrap_or_default()),
                    // Trimmed below what was seen: begin at the floor.
                    410 => overlap.seen.clear(),
                    503 => {}
                    status => panic!("{path}: {status}"),
                }
            }
            if last {
                return overlap;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    fn take(&mut self, text: &str) {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let commit: Value = serde_json::from_str(line).unwrap();
            let Some(position) = commit["position"].as_str() else { continue };
            match self.seen.get(position) {
                Some(before) => {
                    assert_eq!(before, line, "a revision has two contents");
                    self.compared += 1;
                }
                None => drop(self.seen.insert(position.to_owned(), line.to_owned())),
            }
        }
    }
}
