//! Shutdown of a server, and crowds that come and go at once.

mod answers;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream as TokioStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::metrics::{Page, wait_for};
use crate::running::{CONFIG, PATIENCE, Server, hold_time};

type Socket = WebSocketStream<MaybeTlsStream<TokioStream>>;

const SOCKETS: &str = "instep_connections{door=\"websocket\"}";

async fn open(server: &Server) -> Socket {
    let url = format!("ws://{}/socket/websocket?vsn=2.0.0", server.address());
    tokio_tungstenite::connect_async(url).await.unwrap().0
}

async fn open_many(server: &Server, count: usize) -> Vec<Socket> {
    let opening = futures_util::stream::iter(0..count).map(|_| open(server));
    opening.buffer_unordered(100).collect().await
}

/// Waits for the close of a socket; its code.
async fn closed(mut socket: Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a close comes") {
            Some(Ok(Message::Close(frame))) => return frame.unwrap().code.into(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Sends a part of a request; the rest is sent later.
fn begin(server: &Server, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Begins a request, and waits until the server asks for its body.
fn wait_for_body(server: &Server, head: &str, bytes: usize) -> TcpStream {
    let rest = format!("content-length: {bytes}\r\nexpect: 100-continue\r\n\r\n");
    let mut stream = begin(server, &format!("{head}{rest}"));
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

fn finish(mut stream: TcpStream, rest: &str) -> String {
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the server refuses connections.
fn wait_until_closed(server: &Server) {
    let begun = Instant::now();
    while TcpStream::connect(server.address()).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "the server still listens");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_pull_that_waits_is_answered_when_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    assert_eq!(server.request("PUT", "/v1/datasets/d/queues/q").0, 204);
    let mut pull = server.begin_to_pull("d", "7");

    assert_eq!(server.signal("-TERM"), Some(0));

    let mut answer = String::new();
    pull.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"messages\":[]"), "{answer}");
}

#[test]
fn requests_in_flight_are_finished_and_streams_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let head = |line: &str| {
        let key = key.trim();
        format!("{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n")
    };
    let ops = json!({"ops": [{"op": "put", "table": "t", "key": "late", "row": {}}]}).to_string();
    let commit = head("POST /v1/datasets/d/commits");
    let commit = wait_for_body(&server, &commit, ops.len());
    let changes = format!("{}\r\n", head("GET /v1/datasets/d/changes?follow=true"));
    let mut changes = begin(&server, &changes);
    let mut first = [0; 512];
    assert!(changes.read(&mut first).unwrap() > 0, "the feed has begun");
    let (_, session) = server.request("GET", "/socket/longpoll?vsn=2.0.0");
    let session: serde_json::Value = serde_json::from_str(&session).unwrap();
    let token = session["token"].as_str().unwrap();
    let poll = format!("GET /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\nhost: x\r\n\r\n");
    let poll = begin(&server, &poll);
    let socket = Runtime::new().unwrap();
    let opened = socket.block_on(open(&server));

    server.tell("-TERM");
    wait_until_closed(&server);

    assert_eq!(socket.block_on(closed(opened)), 1012);
    let acknowledged = finish(commit, &ops);
    assert!(acknowledged.starts_with("HTTP/1.1 200"), "{acknowledged}");
    let last = finish(changes, "");
    assert!(last.ends_with("\r\n0\r\n\r\n"), "the feed ends in order: {last}");
    assert!(finish(poll, "").starts_with("HTTP/1.1 200"));
    assert_eq!(server.ended(), Some(0));
    server.start_again();
    server.must(&["table", "get", "d", "t", "late"]);
}

/// A request whose head is not complete is not in flight, and a client that says nothing is not
/// waited for.
#[test]
fn neither_half_a_head_nor_a_silent_socket_holds_up_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("drain_ms = 600000\nhandshake_ms = 600000\n{CONFIG}");
    let mut server = Server::serve_with(directory.path(), &config);
    let half = begin(&server, "GET /readyz HTTP/1.1\r\nhost: x\r\n");
    let runtime = Runtime::new().unwrap();
    let silent = runtime.block_on(open(&server));

    let began = Instant::now();
    assert_eq!(server.signal("-TERM"), Some(0));

    hold_time("a stop beside silent clients", began.elapsed(), Duration::from_secs(4));
    assert_eq!(finish(half, ""), "");
    drop(silent);
}

/// Entries that views have not told need no telling: subscribers come back by their positions.
#[test]
fn a_stop_waits_for_no_view_that_is_behind() {
    let directory = tempfile::tempdir().unwrap();
    let view = "[[view]]\ndataset = 'd'\ntable = 't'\nname = 'v'\ntopic = 'hot:{n}'\nevent = 'e'";
    let filter = ["row.l.all(x, x > 0)"; 8].join(" && ");
    let config = format!("drain_ms = 600000\n{CONFIG}{view}\nfilter = '{filter}'\n");
    let mut server = Server::serve_with(directory.path(), &config);
    let row = json!({"n": 1, "l": vec![1; 4_000]});
    let put = |key| json!({"op": "put", "table": "t", "key": key, "row": row});
    let keys = (0..120).map(|key: u32| put(key.to_string()));
    let ops = json!({"ops": keys.collect::<Vec<_>>()}).to_string();
    for _ in 0..6 {
        let json = "content-type: application/json\r\n";
        let (status, answer) = server.post("/v1/datasets/d/commits", json, &ops);
        assert_eq!(status, 200, "{answer}");
    }

    assert_eq!(server.signal("-TERM"), Some(0));
}

#[test]
fn a_second_signal_ends_a_server_that_waits() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("drain_ms = 600000\n{CONFIG}");
    let mut server = Server::serve_with(directory.path(), &config);
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    let head = "POST /v1/datasets/d/commits HTTP/1.1\r\nhost: x\r\n";
    let head = format!("{head}authorization: Bearer {}\r\n", key.trim());
    let _unfinished = wait_for_body(&server, &head, 10);

    server.tell("-TERM");
    wait_until_closed(&server);

    assert_eq!(server.signal("-TERM"), Some(130));
}

#[test]
fn a_crowd_is_sent_away_one_after_the_other_and_every_client_is_told() {
    const CROWD: usize = 400;
    let directory = tempfile::tempdir().unwrap();
    let config = format!("drain_spread_ms = 2000\n{CONFIG}");
    let mut server = Server::serve_with(directory.path(), &config);
    let runtime = Runtime::new().unwrap();
    let crowd = runtime.block_on(open_many(&server, CROWD));
    wait_for(&server, SOCKETS, |now| now == CROWD as f64);

    let began = Instant::now();
    server.tell("-TERM");
    let told = runtime.block_on(async {
        let told = crowd.into_iter().map(async |socket| (closed(socket).await, Instant::now()));
        futures_util::future::join_all(told).await
    });

    assert!(told.iter().all(|(code, _)| *code == 1012), "{told:?}");
    let last = told.iter().map(|(_, at)| *at).max().unwrap();
    // They are spread over two seconds; that they hear of it late says nothing.
    assert!(last - began > Duration::from_millis(500), "they were sent away at once");
    assert_eq!(server.ended(), Some(0));
}

/// Crowds come at once, go at once, and are reset, while others talk.
#[test]
fn crowds_that_come_and_go_starve_no_client_and_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    // 2,000 where the system lets a process have that many.
    let descriptors = instep_load::process::descriptor_limit().unwrap();
    let crowd_size = usize::try_from(descriptors / 2).unwrap_or(usize::MAX).min(2_000);
    let runtime = Runtime::new().unwrap();
    let before = wait_for(&server, SOCKETS, |now| now == 0.0);
    let mut steady = runtime.block_on(open_many(&server, 50));
    let talk = async |steady: &mut Vec<Socket>| {
        for socket in steady {
            let heartbeat = r#"[null,"1","phoenix","heartbeat",{}]"#;
            socket.send(Message::text(heartbeat)).await.unwrap();
            let answer = tokio::time::timeout(PATIENCE, socket.next()).await;
            assert!(answer.expect("an answer to a heartbeat").unwrap().unwrap().is_text());
        }
    };

    for reset in [false, true] {
        let crowd = runtime.block_on(async {
            let (crowd, ()) = tokio::join!(open_many(&server, crowd_size), async {
                for _ in 0..10 {
                    talk(&mut steady).await;
                }
            });
            crowd
        });
        wait_for(&server, SOCKETS, |now| now == (crowd_size + 50) as f64);
        for socket in crowd {
            let MaybeTlsStream::Plain(stream) = socket.into_inner() else { unreachable!() };
            let stream = stream.into_std().unwrap();
            if reset {
                // What was never read makes the system answer with a reset.
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap()
            } else {
                stream.shutdown(Shutdown::Both).unwrap()
            }
        }
        runtime.block_on(talk(&mut steady));
        wait_for(&server, SOCKETS, |now| now == 50.0);
    }
    drop(steady);

    let after = wait_for(&server, SOCKETS, |now| now == 0.0);
    assert!(after.get("process_open_fds") <= before.get("process_open_fds") + 8.0);
    let names = ["instep_topics", "instep_subscriptions", "instep_waiting_bytes"];
    let gauges = |page: &Page| names.map(|name| page.get(name));
    assert_eq!(gauges(&after), gauges(&before));
}

/// Most of a crowd that connects at once says nothing for a while: it keeps no client out, and is
/// served when it speaks.
#[test]
fn a_crowd_that_says_nothing_keeps_no_client_out_and_is_heard_when_it_speaks() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(server.address()).unwrap()).collect();

    let runtime = Runtime::new().unwrap();
    let others = runtime.block_on(open_many(&server, 50));
    wait_for(&server, SOCKETS, |now| now == 50.0);

    for mut stream in silent {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(others);
}
