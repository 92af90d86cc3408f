//! The Rust client comes back from every refusal that passes, and misses nothing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use instep_client::{Changes, Channel, ChannelError, ChannelEvent, Channels};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{client_of, next, next_records, put};
use crate::running::{PATIENCE, Server};

const TABLE: &str = "[[table]]\ndataset = \"d\"\nname = \"t\"\npublic = true\n";

/// A feed and a topic that are told of every commit.
struct Readers {
    feed: Changes,
    topic: Channel,
}

impl Readers {
    async fn of(server: &Server) -> (Self, Channels) {
        let channels = Channels::connect(&server.url).await.unwrap();
        let (_, topic) = channels.join("table:d/t", json!({})).await.unwrap();
        (Self { feed: client_of(server).changes("d", None, true), topic }, channels)
    }

    /// Both are told of this row next, whatever lies between.
    async fn hear(&mut self, key: &str) {
        let records = loop {
            let records = next_records(&mut self.feed).await;
            if records.iter().any(|record| record.get("put").is_some()) {
                break records;
            }
        };
        assert_eq!(records, [json!({"put": {"table": "t", "key": key, "row": {"key": key}}})]);
        loop {
            match next(&mut self.topic).await {
                ChannelEvent::Event { event, payload } if event == "row" => {
                    return assert_eq!(payload["key"], key);
                }
                ChannelEvent::Event { .. } | ChannelEvent::Lost => {}
                ChannelEvent::Joined(reply) => assert_eq!(reply["mode"], "resume"),
                other @ (ChannelEvent::Ended(_)
                | ChannelEvent::Bytes { .. }
                | ChannelEvent::Unreadable { .. }) => panic!("{other:?}"),
            }
        }
    }
}

async fn commit(server: &Server, key: &str) {
    client_of(server).commit("d", &[put(key, json!({"key": key}))], None).await.unwrap();
}

/// Answers like a proxy whose server is away, until it is dropped.
struct Proxy {
    is_over: Arc<AtomicBool>,
    answered: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Proxy {
    fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let answered = std::thread::spawn(move || {
            let mut paths = Vec::new();
            while !ends.load(Ordering::Relaxed) || !is_enough(&paths) {
                match listener.accept() {
                    Ok((stream, _)) => paths.push(answer_502(stream)),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            paths
        });
        Self { is_over, answered: Some(answered) }
    }

    /// Ends when the feed and the socket have asked.
    fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.answered.take().unwrap().join().unwrap();
    }
}

fn is_enough(paths: &[String]) -> bool {
    ["/changes", "/websocket"].iter().all(|path| paths.iter().any(|asked| asked.contains(path)))
}

fn answer_502(mut stream: TcpStream) -> String {
    stream.set_nonblocking(false).unwrap();
    let mut head = [0; 4096];
    let read = stream.read(&mut head).unwrap_or(0);
    let page = "<html><body>502 Bad Gateway</body></html>";
    let length = page.len();
    let answer = format!(
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{page}"
    );
    // A client that has gone is not answered.
    let _ = stream.write_all(answer.as_bytes());
    String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_answers_for_a_server_that_is_away_ends_neither_feeds_nor_topics() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), TABLE);
    let (mut readers, _channels) = Readers::of(&server).await;
    commit(&server, "before").await;
    readers.hear("before").await;

    let reading = tokio::spawn(async move { readers.hear("after").await });
    server.signal("-KILL");
    let proxy = Proxy::at(server.address());
    tokio::task::spawn_blocking(move || proxy.end()).await.unwrap();
    server.start_again();
    commit(&server, "after").await;

    reading.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_too_often_ends_neither_feeds_nor_topics() {
    let directory = tempfile::tempdir().unwrap();
    let rates = "[rate]\nloopback = true\nconnections = 5\nconnections_burst = 100\n";
    let mut server = Server::serve_with(directory.path(), &format!("{TABLE}{rates}"));
    let (mut readers, _channels) = Readers::of(&server).await;
    commit(&server, "before").await;
    readers.hear("before").await;

    let reading = tokio::spawn(async move { readers.hear("after").await });
    server.signal("-KILL");
    server.start_again();
    // Every client is one too many for a while, and the two come within a tenth of a second.
    let address = server.address().to_owned();
    let crowd = tokio::task::spawn_blocking(move || {
        for _ in 0..600 {
            drop(TcpStream::connect(&address));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    crowd.await.unwrap();
    let refused = loop {
        if let Err(refused) = Channels::connect(&server.url).await {
            break refused;
        }
    };
    assert!(refused.to_string().starts_with("rate_limited: "), "{refused}");
    commit(&server, "after").await;

    reading.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_joined_again_all_at_once_are_all_joined_in_the_end() {
    const TOPICS: usize = 12;
    let directory = tempfile::tempdir().unwrap();
    let rates = "[[live]]\ntopic = \"room:*\"\nanyone_publishes = true\n\
                 [rate]\nloopback = true\nmessages = 20\nmessages_burst = 5\n";
    let mut server = Server::serve_with(directory.path(), rates);
    let channels = Channels::connect(&server.url).await.unwrap();
    let mut topics = Vec::new();
    while topics.len() < TOPICS {
        let name = format!("room:{}", topics.len());
        match channels.join(&name, json!({})).await {
            Ok((_, topic)) => topics.push(topic),
            Err(ChannelError::Refused(why)) => assert_eq!(why["reason"], "rate_limited"),
            Err(error) => panic!("{error}"),
        }
    }

    server.signal("-KILL");
    server.start_again();

    for topic in &mut topics {
        assert_eq!(next(topic).await, ChannelEvent::Lost);
        let ChannelEvent::Joined(reply) = next(topic).await else { panic!("not joined again") };
        assert_eq!(reply["mode"], Value::from("resume"));
    }
    let joined = timeout(PATIENCE, topics[TOPICS - 1].push("say", json!({}))).await.unwrap();
    assert_eq!(joined, Ok(json!({})));
}
