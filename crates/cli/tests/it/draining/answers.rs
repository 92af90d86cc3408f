//! Answers at a stop: what a client has pushed is answered, or is not carried out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Socket, wait_until_closed};
use crate::hanging::Fixture;
use crate::limits::Client;
use crate::running::{PATIENCE, Server, free_address};
use crate::shims::until;

/// Pushes of each client.
const PUSHES: usize = 20;
const TOPIC: &str = "mail:mail/mail";

fn push(number: usize) -> Value {
    let message = json!({"to": "org/1", "body": number});
    json!(["1", number.to_string(), TOPIC, "send", message])
}

/// A join, with a key where none was shown before; its reference is that of no push.
fn join(key: Option<&str>) -> Value {
    let params = key.map_or(json!({}), |key| json!({"access_token": key}));
    json!(["1", "join", TOPIC, "phx_join", params])
}

/// True for the answer to a push that was carried out.
fn is_done(message: &Value) -> bool {
    let is_answer = message[3] == "phx_reply" && message[1] != "join";
    assert!(!is_answer || message[4]["status"] == "ok", "{message}");
    is_answer
}

fn stored(server: &Server) -> usize {
    let path = "/v1/datasets/mail/queues/mail/messages?limit=1000";
    let (status, page) = server.request("GET", path);
    assert_eq!(status, 200, "{page}");
    serde_json::from_str::<Value>(&page).unwrap()["messages"].as_array().unwrap().len()
}

/// A client on a WebSocket that has pushed.
async fn push_by_websocket(server: &Server, key: &str) -> Socket {
    let url = format!("ws://{}/socket/websocket?vsn=2.0.0&token={key}", server.address());
    let mut socket = tokio_tungstenite::connect_async(url).await.unwrap().0;
    socket.send(Message::text(join(None).to_string())).await.unwrap();
    socket.next().await.unwrap().unwrap();
    for number in 0..PUSHES {
        socket.send(Message::text(push(number).to_string())).await.unwrap();
    }
    socket
}

/// The pushes that were answered before the close, which comes in order.
async fn answers_of_websocket(mut socket: Socket) -> usize {
    let mut done = 0;
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a close comes") {
            Some(Ok(Message::Text(text))) => {
                done += usize::from(is_done(&serde_json::from_str(&text).unwrap()));
            }
            Some(Ok(Message::Close(frame))) => {
                assert_eq!(u16::from(frame.unwrap().code), 1012);
                return done;
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A client over plain TCP that has pushed.
fn push_by_tcp(address: SocketAddr, key: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(&join(Some(key)));
    assert_eq!(client.next().unwrap()[4]["status"], "ok");
    (0..PUSHES).for_each(|number| client.send(&push(number)));
    client
}

fn answers_of_tcp(mut client: Client) -> usize {
    let mut done = 0;
    while let Some(message) = client.next() {
        done += usize::from(is_done(&message));
        if message[3] == "close" {
            assert_eq!(message[4]["code"], 1012, "{message}");
            return done;
        }
    }
    panic!("the connection ended without a close");
}

/// A client of long-poll, with a connection for each kind of request, as a browser has them.
struct Poller {
    path: String,
    posts: BufReader<TcpStream>,
    polls: BufReader<TcpStream>,
}

impl Poller {
    fn open(server: &Server, key: &str) -> Self {
        let connect = || {
            let stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            BufReader::new(stream)
        };
        let (mut posts, polls) = (connect(), connect());
        let path = "/socket/longpoll?vsn=2.0.0".to_owned();
        ask(&mut posts, "GET", &format!("{path}&token={key}"), "");
        let token = answer(&mut posts).unwrap()["token"].as_str().unwrap().to_owned();
        Self { path: format!("{path}&token={token}"), posts, polls }
    }

    fn post(&mut self, messages: impl Iterator<Item = Value>) {
        let body: String = messages.map(|message| format!("{message}\n")).collect();
        ask(&mut self.posts, "POST", &self.path, &body);
        assert_eq!(answer(&mut self.posts).unwrap()["status"], 200);
    }

    fn begin_to_poll(&mut self) {
        ask(&mut self.polls, "GET", &self.path, "");
    }

    /// The pushes that were answered until the session is gone.
    fn answers(mut self) -> usize {
        let mut done = 0;
        while let Some(polled) = answer(&mut self.polls) {
            let Some(messages) = polled["messages"].as_array() else { break };
            let read = |text: &Value| serde_json::from_str(text.as_str().unwrap()).unwrap();
            done += messages.iter().map(read).filter(is_done).count();
            self.begin_to_poll();
        }
        done
    }
}

fn ask(connection: &mut BufReader<TcpStream>, method: &str, path: &str, body: &str) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {length}\r\n\r\n"
    );
    // A server that has ended is noticed when its answer is read.
    let _ = connection.get_mut().write_all(format!("{head}{body}").as_bytes());
}

/// The body of the next answer; none where the connection ends instead.
fn answer(connection: &mut BufReader<TcpStream>) -> Option<Value> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if connection.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    Some(serde_json::from_slice(&body).unwrap())
}

/// The Janus wire has no pushes that are answered later: it has no mail.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_before_a_stop_is_answered_or_is_not_carried_out_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    let tcp = free_address();
    let mut house =
        Fixture::open(directory.path(), &format!("tcp = '{tcp}'\n[[mail]]\ndataset = 'mail'\n"));
    let moved = house.server.post(
        "/v1/datasets/mail/moves",
        "content-type: application/json\r\n",
        r#"{"endpoint": "org/1", "to": "server/7"}"#,
    );
    assert_eq!(moved.0, 200, "{}", moved.1);
    let key = std::fs::read_to_string(house.server.data.join("admin.key")).unwrap();
    let key = key.trim();
    let mut poller = Poller::open(&house.server, key);
    poller.post([join(None)].into_iter());
    poller.begin_to_poll();
    let joined = answer(&mut poller.polls).unwrap();
    assert!(joined["messages"][0].as_str().unwrap().contains("\"ok\""), "{joined}");
    poller.begin_to_poll();

    // The answers are still awaited when the server is told to stop.
    house.hang();
    poller.post((0..PUSHES).map(push));
    let websocket = push_by_websocket(&house.server, key).await;
    let framed = push_by_tcp(tcp, key);
    until("the stall shows", || house.server.request("GET", "/readyz").0 == 503);
    house.server.tell("-TERM");
    wait_until_closed(&house.server);
    ask(&mut poller.posts, "GET", "/readyz", "");
    assert_eq!(answer(&mut poller.posts).unwrap()["code"], "draining");
    house.go_on();

    let polled = std::thread::spawn(move || poller.answers());
    let over_tcp = std::thread::spawn(move || answers_of_tcp(framed));
    let over_websocket = answers_of_websocket(websocket).await;
    let (polled, over_tcp) = (polled.join().unwrap(), over_tcp.join().unwrap());
    assert_eq!(house.server.ended(), Some(0));
    house.server.start_again();

    let told = [over_websocket, over_tcp, polled];
    assert_eq!(told.iter().sum::<usize>(), stored(&house.server), "answers: {told:?}");
    assert!(told[2] > 0, "what was posted was answered 200 before the stop");
}
