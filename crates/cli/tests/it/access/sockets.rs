//! Access over sockets: the rights to connect, join and publish, and the end of each.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Guarded, seconds_from_now, token};
use crate::running::{PATIENCE, http, stderr};

type Headers<'a> = &'a [(&'static str, &'a str)];

/// A socket of Channels.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(super) sent: u32,
}

impl Socket {
    /// Opens one; in `Err` the status and the body of the refusal.
    pub(super) async fn open(
        guarded: &Guarded,
        query: &str,
        headers: Headers<'_>,
    ) -> Result<Self, (u16, String)> {
        let address = guarded.server.address();
        let url = format!("ws://{address}/socket/websocket?vsn=2.0.0{query}");
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Self { stream, sent: 0 }),
            Err(Error::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                Err((answer.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.stream.next()).await;
        match next.expect("a frame comes").unwrap().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Sends, and answers the status and the response.
    pub(super) async fn ask(
        &mut self,
        join_ref: &str,
        topic: &str,
        event: &str,
        payload: Value,
    ) -> (String, Value) {
        self.sent += 1;
        let reference = self.sent.to_string();
        let join_ref = if join_ref.is_empty() { reference.clone() } else { join_ref.to_owned() };
        let frame = json!([join_ref, reference, topic, event, payload]).to_string();
        self.stream.send(Message::text(frame)).await.unwrap();
        loop {
            let frame = self.next().await;
            if frame[1] == json!(reference) && frame[3] == "phx_reply" {
                let status = frame[4]["status"].as_str().unwrap().to_owned();
                return (status, frame[4]["response"].clone());
            }
        }
    }

    /// Joins; `ok`, or the reason why not.
    pub(super) async fn join(&mut self, topic: &str, params: Value) -> String {
        match self.ask("", topic, "phx_join", params).await {
            (status, _) if status == "ok" => status,
            (_, response) => response["reason"].as_str().unwrap().to_owned(),
        }
    }

    pub(super) async fn heartbeat(&mut self) {
        let (status, _) = self.ask("", "phoenix", "heartbeat", json!({})).await;
        assert_eq!(status, "ok");
    }
}

#[test]
fn a_dead_token_and_a_foreign_page_stay_outside() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let good = token(json!({"sub": "ann"}));
    let dead = token(json!({"sub": "ann", "exp": 1}));
    // In the middle of the signature, where every bit counts.
    let (kept, last) = good.split_at(good.len() - 8);
    let forged = format!("{kept}{}{}", if last.starts_with('A') { "B" } else { "A" }, &last[1..]);
    let (good, dead, forged) =
        (format!("&token={good}"), format!("&token={dead}"), format!("&token={forged}"));
    let host = format!("http://{}", guarded.server.address());
    let long_poll = |headers: Headers<'_>, query: &str| {
        let url = format!("{}/socket/longpoll?vsn=2.0.0{query}", guarded.server.url);
        guarded.runtime.block_on(async {
            let mut request = http().get(url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.send().await.unwrap().json::<Value>().await.unwrap()["status"].clone()
        })
    };
    let cases: &[(&str, Headers<'_>, Option<&str>)] = &[
        ("", &[], None),
        ("&token=", &[], None),
        ("&token=undefined", &[], None),
        (&good, &[], None),
        (&good, &[("origin", &host)], None),
        (&good, &[("origin", "https://pages.example")], None),
        (&dead, &[], Some("token_expired")),
        (&forged, &[], Some("token_invalid")),
        ("&token=instep_a_b", &[], Some("wrong_key")),
        ("", &[("authorization", "Bearer nonsense")], Some("wrong_key")),
        (&good, &[("origin", "https://evil.example")], Some("origin_refused")),
        ("", &[("origin", "null")], Some("origin_refused")),
    ];

    for (query, headers, expected) in cases {
        let opened = guarded.runtime.block_on(Socket::open(&guarded, query, headers));
        match (opened, expected) {
            (Ok(_), None) => assert_eq!(long_poll(headers, query), 410, "{query} {headers:?}"),
            (Err((status, body)), Some(code)) => {
                assert!(status == 403 && body.starts_with(code), "{query} {headers:?}: {body}");
                assert_eq!(long_poll(headers, query), 403, "{query} {headers:?}");
            }
            (opened, _) => panic!("{query} {headers:?}: {:?}", opened.err()),
        }
    }
    let dead = dead.strip_prefix("&token=").unwrap();
    assert_eq!(long_poll(&[("x-phoenix-authtoken", dead)], ""), 403);
}

#[test]
fn sockets_join_and_publish_as_rights_say() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    guarded.runtime.block_on(async {
        let ann = format!("&token={}", token(json!({"sub": "ann"})));
        let mut anonymous = Socket::open(&guarded, "", &[]).await.unwrap();
        let mut ann = Socket::open(&guarded, &ann, &[]).await.unwrap();

        assert_eq!(anonymous.join("room:ann", json!({})).await, "key_required");
        assert_eq!(
            anonymous.join("table:shop/items", json!({})).await,
            "ok",
            "every client reads it"
        );
        assert_eq!(anonymous.join("nowhere", json!({})).await, "key_required");
        assert_eq!(ann.join("vip", json!({})).await, "forbidden");
        for (topic, expected) in [("room:ann", "ok"), ("room:bob", "error")] {
            assert_eq!(ann.join(topic, json!({})).await, "ok");
            let join_ref = ann.sent.to_string();
            let (status, response) = ann.ask(&join_ref, topic, "hello", json!({})).await;
            assert_eq!(status, expected, "{topic}: {response}");
        }
        // An anonymous client gets an identity, with a join or on a channel.
        let brought = json!({"access_token": token(json!({"sub": "bob", "role": "vip"}))});
        assert_eq!(anonymous.join("vip", brought).await, "ok");
    });
}

/// I24: a right lost while subscribed ends the subscription.
#[test]
fn i24_channels_are_closed_once_when_the_token_ends_and_the_socket_stays() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    guarded.runtime.block_on(async {
        let brief = token(json!({"sub": "ann", "exp": seconds_from_now(2)}));
        let mut socket = Socket::open(&guarded, &format!("&token={brief}"), &[]).await.unwrap();
        assert_eq!(socket.join("room:1", json!({})).await, "ok");
        let join_ref = json!(socket.sent.to_string());

        let (told, closed) = (socket.next().await, socket.next().await);

        assert_eq!((&told[0], &told[3]), (&join_ref, &json!("access_ended")));
        assert_eq!(told[4]["reason"], "token_expired");
        assert_eq!(closed, json!([join_ref, join_ref, "room:1", "phx_close", {}]));
        socket.heartbeat().await;
        assert_eq!(socket.join("room:1", json!({})).await, "token_expired");
        let other = json!({"access_token": token(json!({"sub": "bob"}))});
        assert_eq!(socket.join("room:1", other).await, "other_subject");
        let renewed = json!({"access_token": token(json!({"sub": "ann"}))});
        assert_eq!(socket.join("room:1", renewed).await, "ok");
    });
}

/// I24
#[test]
fn i24_a_new_token_moves_the_end_and_closes_what_it_does_not_allow() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    guarded.runtime.block_on(async {
        let ends = seconds_from_now(2);
        let brief = token(json!({"sub": "ann", "exp": ends, "role": "vip"}));
        let mut socket = Socket::open(&guarded, &format!("&token={brief}"), &[]).await.unwrap();
        assert_eq!(socket.join("vip", json!({})).await, "ok");
        let vip = json!(socket.sent.to_string());
        assert_eq!(socket.join("room:1", json!({})).await, "ok");
        let room = socket.sent.to_string();

        let dead = json!({"access_token": token(json!({"sub": "ann", "exp": 1}))});
        let (status, response) = socket.ask(&room, "room:1", "access_token", dead).await;
        assert_eq!((status.as_str(), &response["reason"]), ("error", &json!("token_expired")));
        let renewed = json!({"access_token": token(json!({"sub": "ann"}))});
        socket.sent += 1;
        let reference = socket.sent.to_string();
        let frame = json!([room, reference, "room:1", "access_token", renewed]).to_string();
        socket.stream.send(Message::text(frame)).await.unwrap();
        let mut frames = vec![];
        while frames.len() < 3 {
            frames.push(socket.next().await);
        }

        let told = frames.iter().find(|frame| frame[3] == "access_ended").unwrap();
        assert_eq!((&told[0], &told[4]["reason"]), (&vip, &json!("forbidden")));
        let closed = frames.iter().find(|frame| frame[3] == "phx_close").unwrap();
        assert_eq!(closed[2], "vip");
        let reply = frames.iter().find(|frame| frame[3] == "phx_reply").unwrap();
        assert_eq!((&reply[1], &reply[4]["status"]), (&json!(reference), &json!("ok")));
        while seconds_from_now(0) <= ends {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        socket.heartbeat().await;
        assert_eq!(socket.join("room:2", json!({})).await, "ok", "the old end has passed");
    });
}

#[test]
fn the_command_line_shows_its_token_on_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let refused = |shown: &str, topic: &str| {
        let output = guarded.server.instep(&["subscribe", topic, "--token", shown]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        stderr(&output)
    };

    let dead = refused(&token(json!({"sub": "ann", "exp": 1})), "room:1");
    assert!(dead.contains("token_expired"), "{dead}");
    let other = refused(&token(json!({"sub": "ann"})), "vip");
    assert!(other.contains("forbidden"), "{other}");
}
