//! Shares of one address in what goes on: registrations for mail, pulls that wait, presences.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};

use serde_json::{Value, json};

use super::strangers::{STRANGER, connect_from, status_of, until};
use super::{Client, Limited};

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Limited {
    fn shared(sockets_per_address: usize) -> Self {
        Self::start(&format!(
            "sockets_per_address = {sockets_per_address}\n[rate]\nloopback = true\n\
             [[mail]]\ndataset = 'm'\n[[live]]\ntopic = 'who:*'\npresence = 'list'"
        ))
    }

    fn client_from(&self, source: IpAddr) -> Client {
        Client(connect_from(source, self.tcp))
    }

    /// Asks for the mail of a server; the answer comes when it has waited.
    fn pull(&self, source: IpAddr, server: &str, wait_ms: u64) -> TcpStream {
        let body = json!({"wait_ms": wait_ms}).to_string();
        let mut stream = connect_from(source, self.http_address());
        let request = format!(
            "POST /v1/datasets/m/servers/{server}/pull HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.key(),
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// The status of a pull that waits for nothing, and the code of its refusal.
    fn pulled(&self, source: IpAddr, server: &str) -> (u16, String) {
        let mut answer = String::new();
        self.pull(source, server, 0).read_to_string(&mut answer).unwrap();
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        (status_of(&answer), body["code"].as_str().unwrap_or_default().to_owned())
    }
}

fn join(client: &mut Client, topic: &str, number: usize, params: Value) -> (String, Value) {
    let number = json!(number.to_string());
    client.ask([number.clone(), number, topic.into(), "phx_join".into(), params])
}

fn leave(client: &mut Client, topic: &str, number: usize) {
    let number = json!(number.to_string());
    let reference = json!("gone");
    assert_eq!(
        client.ask([number, reference, topic.into(), "phx_leave".into(), json!({})]).0,
        "ok"
    );
}

#[test]
fn one_address_takes_the_mail_of_no_more_servers_than_its_share_over_whatever_door() {
    let limited = Limited::shared(4);
    let shown = json!({"access_token": limited.key(), "dataset": "m"});
    let mut stranger = limited.client_from(STRANGER);
    let mut register = |server: usize| {
        let topic = format!("server:{server}");
        let (status, told) = join(&mut stranger, &topic, server, shown.clone());
        (status, told["reason"].clone())
    };

    for server in 1..=4 {
        assert_eq!(register(server).0, "ok");
    }
    assert_eq!(register(5), ("error".into(), "too_many_registrations".into()));
    let crowded = (429, "too_many_registrations".to_owned());
    assert_eq!(limited.pulled(STRANGER, "6"), crowded);
    assert_eq!(limited.pulled(OURS, "6").0, 200, "another address has a share of its own");
    leave(&mut stranger, "server:1", 1);
    until("a place is given back with its channel", || limited.pulled(STRANGER, "6").0 == 200);
    assert_eq!(limited.pulled(STRANGER, "7"), crowded, "who pulls keeps a place between two pulls");
    drop(stranger);
    until("all are given back with their socket", || limited.pulled(STRANGER, "7").0 == 200);
}

#[test]
fn pulls_of_one_address_that_wait_are_no_more_than_its_share() {
    let limited = Limited::shared(4);

    let waiting = ["1", "2"].map(|server| limited.pull(STRANGER, server, 20_000));
    until("both wait", || {
        let (_, known) = limited.server.request("GET", "/v1/datasets/m/servers");
        ["\"1\"", "\"2\""].iter().all(|server| known.contains(server))
    });
    until("one more is refused", || {
        limited.pulled(STRANGER, "3") == (429, "too_many_pulls".to_owned())
    });
    assert_eq!(limited.pulled(OURS, "3").0, 200, "another address has a share of its own");
    drop(waiting);
    until("they are given back with their connections", || limited.pulled(STRANGER, "3").0 == 200);
}

#[test]
fn one_address_is_present_no_more_often_than_its_share() {
    let limited = Limited::shared(2);
    let mut stranger = limited.client_from(STRANGER);
    let mut enter = |number: usize, params: Value| {
        let (status, told) = join(&mut stranger, &format!("who:{number}"), number, params);
        (status, told["reason"].clone())
    };
    let meta = json!({"presence": {"meta": {"filling": "x".repeat(3_000)}}});

    for number in 1..=16 {
        assert_eq!(enter(number, meta.clone()).0, "ok");
    }
    assert!(
        limited.metric("instep_client_bytes") > 16 * 3_000,
        "what they say of themselves weighs"
    );
    assert_eq!(enter(17, json!({})), ("error".into(), "too_many_presences".into()));
    assert_eq!(enter(18, json!({"presence": false})).0, "ok", "who only watches is not counted");
    let events = "GET /v1/topics/who:19/events HTTP/1.1";
    let refused = limited.ask_from(STRANGER, events);
    assert!(status_of(&refused) == 429 && refused.contains("too_many_presences"), "{refused}");
    let mut other = limited.client_from(OURS);
    assert_eq!(
        join(&mut other, "who:1", 1, json!({})).0,
        "ok",
        "another address has its own share"
    );
    leave(&mut stranger, "who:1", 1);
    assert_eq!(join(&mut stranger, "who:20", 20, json!({})).0, "ok");
    drop(stranger);
    until("it is given back", || {
        let mut again = limited.client_from(STRANGER);
        (1..=16)
            .all(|number| join(&mut again, &format!("who:{number}"), number, json!({})).0 == "ok")
    });
}
