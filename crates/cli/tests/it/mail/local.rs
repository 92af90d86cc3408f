//! A fake local server on a real socket, and the house that it registers at.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use instep_client::{Channel, ChannelError, ChannelEvent, Channels, Client, NewMessage, Sent, Seq};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::running::{PATIENCE, Server};

pub(crate) const CONFIG: &str = "
[[mail]]
dataset = 'mail'
";

/// A server with mail, and the admin's client of it.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) client: Client,
}

/// A local server that has registered.
pub(crate) struct Local {
    pub(crate) channel: Channel,
    pub(crate) greeting: Value,
    /// Messages that it was given, and would say that it has.
    seen: BTreeSet<Seq>,
    _socket: Channels,
}

/// A message as a local server gets it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Got {
    pub(crate) seq: Seq,
    pub(crate) id: String,
    pub(crate) to: String,
    pub(crate) attempt: u64,
    pub(crate) body: Value,
}

impl Fixture {
    pub(crate) fn open(directory: &Path) -> Self {
        Self::open_with(directory, CONFIG)
    }

    pub(crate) fn open_with(directory: &Path, config: &str) -> Self {
        let server = Server::serve_with(directory, config);
        let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
        let client = Client::new(&server.url, Some(key.trim().to_owned())).unwrap();
        Self { server, client }
    }

    pub(crate) fn key(&self) -> String {
        std::fs::read_to_string(self.server.data.join("admin.key")).unwrap().trim().to_owned()
    }

    /// Routes endpoints: `("org/1", "7")`.
    pub(crate) async fn route(&self, routes: &[(&str, &str)]) {
        for (endpoint, server) in routes {
            self.client.move_endpoint("mail", endpoint, server, None).await.unwrap();
        }
    }

    /// Sends a body to an endpoint.
    pub(crate) async fn send(&self, to: &str, body: Value) -> Sent {
        let letter = NewMessage { to: to.into(), body, ..NewMessage::default() };
        self.client.send_mail("mail", "mail", &[letter]).await.unwrap().remove(0)
    }

    /// Sends `count` bodies `0..count` to an endpoint, together.
    pub(crate) async fn send_many(&self, to: &str, count: u64) -> Vec<Sent> {
        let letter =
            |n: u64| NewMessage { to: to.into(), body: json!({"n": n}), ..NewMessage::default() };
        let letters: Vec<NewMessage> = (0..count).map(letter).collect();
        let mut sent = vec![];
        for letters in letters.chunks(500) {
            sent.extend(self.client.send_mail("mail", "mail", letters).await.unwrap());
        }
        sent
    }

    pub(crate) async fn register(&self, id: &str) -> Local {
        self.register_with(id, json!({})).await.unwrap()
    }

    pub(crate) async fn register_with(
        &self,
        id: &str,
        params: Value,
    ) -> Result<Local, ChannelError> {
        let socket = Channels::connect_with(&self.server.url, Some(self.key())).await?;
        let (greeting, channel) = socket.join(&format!("server:{id}"), params).await?;
        Ok(Local { channel, greeting, seen: BTreeSet::new(), _socket: socket })
    }

    /// A message by its number.
    pub(crate) async fn message(&self, seq: Seq) -> Value {
        self.client.message("mail", "mail", &seq.to_string()).await.unwrap()
    }

    /// Waits until a message is in a state.
    pub(crate) async fn until_state(&self, seq: Seq, state: &str) -> Value {
        let mut seen = Value::Null;
        for _ in 0..400 {
            seen = self.message(seq).await;
            if seen["state"] == state {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("message {seq} never became {state}: {seen}");
    }
}

impl Local {
    /// The next thing that happens on the channel.
    pub(crate) async fn next_event(&mut self) -> (String, Value) {
        loop {
            let happening = timeout(PATIENCE, self.channel.next()).await.expect("an event");
            match happening.expect("an open channel") {
                ChannelEvent::Event { event, payload } => return (event, payload),
                ChannelEvent::Lost | ChannelEvent::Joined(_) => {}
                ChannelEvent::Ended(reason) => panic!("the channel ended: {reason}"),
                told @ (ChannelEvent::Bytes { .. } | ChannelEvent::Unreadable { .. }) => {
                    panic!("no message of mail: {told:?}")
                }
            }
        }
    }

    /// The next message. A question is answered by what it was given; anything else is a failure.
    pub(crate) async fn next(&mut self) -> Got {
        loop {
            let (event, payload) = self.next_event().await;
            if event == "ask" {
                let asked =
                    payload["seqs"].as_array().unwrap().iter().filter_map(Value::as_u64).map(Seq);
                let (have, not): (Vec<Seq>, Vec<Seq>) =
                    asked.partition(|seq| self.seen.contains(seq));
                let answer = json!({"have": have, "not": not});
                self.channel.push("answer", answer).await.unwrap();
                continue;
            }
            assert_eq!(event, "message", "{payload}");
            let got = got(&payload);
            self.seen.insert(got.seq);
            return got;
        }
    }

    pub(crate) async fn take(&mut self, count: usize) -> Vec<Got> {
        let mut all = vec![];
        for _ in 0..count {
            all.push(self.next().await);
        }
        all
    }

    /// Nothing comes for a while.
    pub(crate) async fn is_quiet(&mut self, ms: u64) {
        if let Ok(happening) = timeout(Duration::from_millis(ms), self.channel.next()).await {
            panic!("nothing was expected: {happening:?}");
        }
    }

    pub(crate) async fn ack(&self, seqs: &[Seq]) -> Value {
        self.channel.push("ack", json!({"seqs": seqs})).await.unwrap()
    }

    /// Confirms everything that it was given since it last did.
    pub(crate) async fn ack_all(&mut self) {
        let seqs: Vec<Seq> = std::mem::take(&mut self.seen).into_iter().collect();
        self.ack(&seqs).await;
    }

    pub(crate) async fn push(&self, event: &str, payload: Value) -> Result<Value, ChannelError> {
        self.channel.push(event, payload).await
    }

    /// Waits for the end of the channel and returns its reason.
    pub(crate) async fn end(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.channel.next()).await.expect("an end") {
                Some(ChannelEvent::Ended(reason)) => return reason,
                Some(_) => {}
                None => return Value::Null,
            }
        }
    }
}

pub(crate) fn got(payload: &Value) -> Got {
    Got {
        seq: Seq(payload["seq"].as_u64().unwrap()),
        id: payload["id"].as_str().unwrap().to_owned(),
        to: payload["to"].as_str().unwrap().to_owned(),
        attempt: payload["attempt"].as_u64().unwrap(),
        body: payload["body"].clone(),
    }
}

/// The numbers of messages.
pub(crate) fn seqs(messages: &[Got]) -> Vec<Seq> {
    messages.iter().map(|message| message.seq).collect()
}

/// The bodies of an endpoint's messages, in the order in which they came.
pub(crate) fn of(messages: &[Got], to: &str) -> Vec<Value> {
    messages.iter().filter(|message| message.to == to).map(|message| message.body.clone()).collect()
}

impl Fixture {
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.server.url);
        let http = crate::running::http();
        http.get(url).bearer_auth(self.key()).send().await.unwrap().text().await.unwrap()
    }
}

impl Local {
    /// The next message of an endpoint, if one comes within a moment.
    pub(crate) async fn next_message_of(&mut self, to: &str) -> Option<Seq> {
        loop {
            let moment = Duration::from_millis(200);
            match timeout(moment, self.channel.next()).await {
                Ok(Some(ChannelEvent::Event { event, payload })) if event == "message" => {
                    if payload["to"] == to {
                        return payload["seq"].as_u64().map(Seq);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// A server that joins and reads nothing any more.
pub(crate) struct Deaf(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Deaf {
    pub(crate) async fn join(house: &Fixture, id: &str) -> Self {
        use futures_util::SinkExt as _;
        use tokio_tungstenite::tungstenite::Message;
        let address = house.server.address();
        let url = format!("ws://{address}/socket/websocket?vsn=2.0.0&token={}", house.key());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let join = json!(["1", "1", format!("server:{id}"), "phx_join", {}]).to_string();
        socket.send(Message::Text(join.into())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        Self(socket)
    }

    /// It is still connected.
    pub(crate) async fn is_there(&mut self) {
        use futures_util::StreamExt as _;
        let first = timeout(PATIENCE, self.0.next()).await.expect("the answer to the join");
        assert!(first.unwrap().unwrap().to_text().unwrap().contains("\"ok\""));
    }
}
