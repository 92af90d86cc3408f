//! Cost of one stranger: connections, descriptors and memory, at every door.
//!
//! `STRANGERS=10000` in the environment tries it with as many connections (`cargo xtask soak`).

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use instep_model::limits;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::Limited;
use crate::running::PATIENCE;

/// Address of the strangers; other clients come from 127.0.0.1.
pub(super) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

pub(super) fn descriptors_of(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

pub(super) fn crowd() -> usize {
    std::env::var("STRANGERS").map_or(120, |text| text.parse().unwrap())
}

pub(super) fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

impl Limited {
    pub(super) fn http_address(&self) -> SocketAddr {
        self.server.address().parse().unwrap()
    }

    fn stranger(&self) -> TcpStream {
        connect_from(STRANGER, self.http_address())
    }

    pub(super) fn key(&self) -> String {
        std::fs::read_to_string(self.server.data.join("admin.key")).unwrap().trim().to_owned()
    }

    /// Asks once, and reads to the end of the connection.
    pub(super) fn ask_from(&self, source: IpAddr, head: &str) -> String {
        let mut stream = connect_from(source, self.http_address());
        let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.server.resident_kib() * 1024
    }

    pub(super) fn descriptors(&self) -> usize {
        descriptors_of(self.server.process())
    }

    /// A public table of about so many bytes.
    pub(super) fn fill(&self, bytes: usize) {
        let row = "x".repeat(100_000);
        for number in 0..bytes / row.len() {
            let ops = json!({"ops": [{"op": "put", "table": "t", "key": format!("k{number}"),
                "row": {"x": row}}]});
            let (status, told) = self.server.post("/v1/datasets/d/commits", "", &ops.to_string());
            assert_eq!(status, 200, "{told}");
        }
    }
}

pub(super) fn until(what: &str, is_true: impl FnMut() -> bool) {
    within(PATIENCE, what, is_true);
}

fn within(patience: Duration, what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// Silent, trickling and refused connections of one address, at every door and together.
#[test]
fn one_address_takes_no_more_than_its_share_at_any_door_and_gives_it_back() {
    let limited = Limited::start(
        "sockets = 300\nsockets_per_address = 20\nhandshake_ms = 60000\n[rate]\nloopback = true\n\
         connections = 20000\nconnections_burst = 20000",
    );
    limited.fill(100_000);
    let before = limited.descriptors();
    let mut held = vec![];

    for number in 0..crowd() {
        let to = if number % 3 == 0 { limited.tcp } else { limited.http_address() };
        let mut stream = connect_from(STRANGER, to);
        if number % 3 == 1 {
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ");
        }
        held.push(stream);
    }

    until("those beyond the share go", || limited.descriptors() <= before + 25);
    let ours = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(status_of(&limited.ask_from(ours, "GET /healthz HTTP/1.1")), 200);
    assert_eq!(limited.connect().join("room:1", 1).0, "ok", "others are served");
    until("who is one too many is told so, and closed", || {
        let refused = limited.ask_from(STRANGER, "GET /healthz HTTP/1.1");
        refused.contains("too_many_sockets") && refused.contains("connection: close")
    });
    limited.fill(100_000);
    drop(held);
    until("everything is given back", || limited.descriptors() <= before + 2);
    until("the address has its share again", || {
        status_of(&limited.ask_from(STRANGER, "GET /healthz HTTP/1.1")) == 200
    });
}

#[test]
fn the_table_of_descriptors_does_not_grow_while_a_crowd_connects() {
    let limited = Limited::start("");
    let table = || {
        let status = format!("/proc/{}/status", limited.server.process());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("FDSize:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;

    let expected = most.unwrap_or(u64::MAX).min(limits::DESCRIPTOR_TABLE);
    assert!(table() >= expected, "{} of {expected}", table());
}

#[test]
fn an_operator_gets_in_when_there_is_no_place_left() {
    let limited = Limited::start(
        "sockets = 20\nsockets_per_address = 50\nhandshake_ms = 60000\n[rate]\nloopback = true",
    );
    let mut held: Vec<_> = (0..36).map(|_| limited.stranger()).collect();
    let ours = IpAddr::V4(Ipv4Addr::LOCALHOST);

    until("every place is taken", || {
        // A place may have been another client's a moment ago.
        held.push(limited.stranger());
        let answer = limited.ask_from(ours, "GET /healthz HTTP/1.1");
        status_of(&answer) == 503 && answer.contains("overloaded")
    });
    let shown = format!("GET /v1/datasets HTTP/1.1\r\nAuthorization: Bearer {}", limited.key());
    assert_eq!(status_of(&limited.ask_from(ours, &shown)), 200, "who shows the key comes in");
    assert_eq!(status_of(&limited.ask_from(STRANGER, &shown)), 200, "wherever from");
    drop(held);
    until("there is room again", || {
        status_of(&limited.ask_from(ours, "GET /healthz HTTP/1.1")) == 200
    });
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let limited = Limited::start("handshake_ms = 400\n[rate]\nloopback = true");
    limited.fill(100_000);
    let mut opened = limited.ask_from(STRANGER, "GET /socket/longpoll?vsn=2.0.0 HTTP/1.1");
    let token = opened.split_off(opened.find("\"token\":\"").unwrap() + 9);
    let token = token.split('"').next().unwrap().to_owned();
    let post = format!("POST /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\nHost: x\r\n");
    let commit = format!(
        "POST /v1/datasets/d/commits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n",
        limited.key()
    );

    for head in [&post, &commit] {
        for length in ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3e8\r\n"]
        {
            for trickles in [false, true] {
                let mut stream = limited.stranger();
                stream.write_all(format!("{head}{length}").as_bytes()).unwrap();
                let mut answer = vec![];
                stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                until("it ends", || {
                    if trickles {
                        let _ = stream.write_all(b"x");
                    }
                    let mut part = [0; 1024];
                    match stream.read(&mut part) {
                        Ok(0) => true,
                        Ok(read) => {
                            answer.extend_from_slice(&part[..read]);
                            false
                        }
                        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                    }
                });
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.contains("body_too_slow") || head == &post, "{answer}");
            }
        }
    }
}

/// Clients that request pages and read none of them.
#[test]
fn answers_that_are_not_read_weigh_no_more_than_is_stated() {
    let limited = Limited::start(
        "waiting_bytes_per_address = 8000000\nwaiting_bytes = 32000000\n[rate]\nloopback = true",
    );
    limited.fill(6_000_000);
    let page = "GET /v1/datasets/d/tables/t/rows?limit=1000 HTTP/1.1";
    let first = limited.ask_from(IpAddr::V4(Ipv4Addr::LOCALHOST), page);
    assert!(first.len() < 1_500_000 && first.contains("\"next\":"), "a page ends by bytes, too");
    let before = limited.resident_bytes();
    let mut held = vec![];

    // Fewer than one address may have: it is their answers that are refused, not they.
    for _ in 0..crowd().min(1_000) {
        let mut stream = limited.stranger();
        // The system takes the first of them.
        let _ = stream.write_all(format!("{page}\r\nHost: x\r\n\r\n").repeat(8).as_bytes());
        held.push(stream);
    }

    until("what waits is weighed", || limited.metric("instep_client_bytes") > 4_000_000);
    until("and refused", || limited.ask_from(STRANGER, page).contains("overloaded"));
    let weighed = limited.metric("instep_client_bytes");
    assert!(weighed < 12_000_000, "{weighed}");
    let more = limited.resident_bytes().saturating_sub(before);
    assert!(more < 60_000_000, "{} pages take {more} bytes", crowd());
    let ours = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(status_of(&limited.ask_from(ours, "GET /healthz HTTP/1.1")), 200);
    drop(held);
    until("it is given back", || limited.metric("instep_client_bytes") == 0);
}

#[test]
fn a_body_that_is_cut_is_no_large_one() {
    let limited = Limited::start("");
    limited.fill(100_000);
    let head = format!(
        "POST /v1/datasets/d/commits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n",
        limited.key()
    );
    for rest in [
        "Content-Length: 100\r\n\r\n{\"ops\":",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n",
    ] {
        let mut stream = limited.stranger();
        stream.write_all(format!("{head}{rest}").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert_eq!(status_of(&answer), 400, "{rest}: {answer}");
        assert!(answer.contains("body_malformed"), "{rest}: {answer}");
    }
}

#[test]
fn bodies_of_one_address_weigh_no_more_than_is_stated() {
    let limited = Limited::start("waiting_bytes_per_address = 2000000\n[rate]\nloopback = true");
    limited.fill(100_000);
    let head = format!(
        "POST /v1/datasets/d/commits HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 1000000\r\n\r\n",
        limited.key()
    );
    let unfinished = vec![b' '; 900_000];
    let mut held = vec![];
    let mut refused = 0;

    for _ in 0..6 {
        let mut stream = limited.stranger();
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(&unfinished);
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut answer = [0; 2048];
        match stream.read(&mut answer) {
            Ok(read) => {
                let answer = String::from_utf8_lossy(&answer[..read]);
                assert!(answer.contains("overloaded"), "{answer}");
                refused += 1;
            }
            Err(_) => held.push(stream),
        }
    }

    assert!((1..=3).contains(&held.len()) && refused >= 3, "{refused} of 6 are refused");
    let ours = IpAddr::V4(Ipv4Addr::LOCALHOST);
    assert_eq!(status_of(&limited.ask_from(ours, "GET /healthz HTTP/1.1")), 200);
    drop(held);
    until("it is given back", || limited.metric("instep_client_bytes") == 0);
}

/// A client that joins and reads nothing has no copy of its own of what it has joined.
#[test]
fn a_join_is_cut_as_its_client_takes_it_at_every_door() {
    let limited = Limited::start(
        "sockets_per_address = 2000\nwaiting_bytes_per_address = 16000000\n[rate]\nloopback = true",
    );
    limited.fill(8_000_000);
    let joins = crowd().min(1_000) / 3;
    let before = limited.resident_bytes();
    let join = json!(["1", "1", "table:d/t", "phx_join", {}]).to_string();
    let mut held = vec![];

    for _ in 0..joins {
        let mut tcp = connect_from(STRANGER, limited.tcp);
        let length = u32::try_from(join.len()).unwrap().to_be_bytes();
        tcp.write_all(&[&length, join.as_bytes()].concat()).unwrap();
        let mut events = limited.stranger();
        let path = "/v1/topics/table:d%2Ft/events";
        events.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let opened = limited.ask_from(STRANGER, "GET /socket/longpoll?vsn=2.0.0 HTTP/1.1");
        let token = opened.split("\"token\":\"").nth(1).unwrap().split('"').next().unwrap();
        let body = (0..50)
            .map(|at| json!([at.to_string(), at.to_string(), "table:d/t", "phx_join", {}]))
            .map(|join| join.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let head = format!(
            "POST /socket/longpoll?vsn=2.0.0&token={token} HTTP/1.1\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\nHost: x\r\n\r\n",
            body.len()
        );
        let mut poll = limited.stranger();
        poll.write_all(format!("{head}{body}").as_bytes()).unwrap();
        held.extend([tcp, events, poll]);
    }

    std::thread::sleep(Duration::from_secs(1));
    let more = limited.resident_bytes().saturating_sub(before);
    // Each of them used to have at least the whole table.
    assert!(more < 100_000_000, "{joins} joiners at each door take {more} bytes");
    let mut other = limited.connect();
    assert_eq!(other.join("table:d/t", 1).0, "ok", "another address joins");
    // And a client that reads gets all of it.
    let mut rows = 0;
    while rows < 80 {
        let heard = other.next().expect("the rest of the table");
        rows += heard[4]["rows"].as_array().map_or(0, Vec::len);
    }
    drop(held);
    // Long-poll sessions are kept for some time: their clients may come back.
    let returns = PATIENCE + Duration::from_millis(limits::LONGPOLL_IDLE_MS);
    within(returns, "it is given back", || limited.metric("instep_client_bytes") < 1_000_000);
}

#[test]
fn a_client_that_stalls_in_a_message_is_sent_away_and_not_one_that_goes_on() {
    let limited =
        Limited::start("shards = 1\nwaiting_bytes_per_address = 4000000\n[rate]\nloopback = true");
    let unfinished = [&1_000_000_u32.to_be_bytes()[..], &vec![b' '; 900_000]].concat();
    let mut held: Vec<_> = (0..12).map(|_| connect_from(STRANGER, limited.tcp)).collect();
    for stream in &mut held {
        let _ = stream.write_all(&unfinished);
    }

    until("clients that hold answers are sent away", || {
        limited.metric("instep_unfinished_refused_total") >= 4
    });
    let mut other = limited.connect();
    assert_eq!(other.join("room:1", 1).0, "ok");
    let large = "x".repeat(60_000);
    assert_eq!(other.ask(super::push(2, large)).0, "ok", "a large message of another client");
}

#[test]
fn frames_that_say_nothing_count_as_messages() {
    let limited =
        Limited::start("[rate]\nloopback = true\nmessages = 1\nmessages_burst = 5\nrefusals = 50");
    // A ping, a pong, and a text in empty pieces; masked by nothing.
    let floods: [(&[u8], &[u8]); 3] = [
        (b"", b"\x89\x80\0\0\0\0"),
        (b"", b"\x8a\x80\0\0\0\0"),
        (b"\x01\x80\0\0\0\0", b"\x00\x80\0\0\0\0"),
    ];

    for (first, each) in floods {
        let mut stream = limited.stranger();
        stream
            .write_all(
                b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\
                  Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .unwrap();
        let _ = stream.write_all(first);
        let _ = stream.write_all(&each.repeat(200));
        let mut heard = vec![];
        let _ = stream.read_to_end(&mut heard);
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.contains("rate_limited"), "{heard:?}");
    }
}

mod proxies {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Stdio};

    use super::*;
    use crate::running::{binary, text};

    struct Ends(Child);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn asks(limited: &Limited, source: IpAddr, said: &str) -> u16 {
        let head = format!("GET /v1/datasets HTTP/1.1\r\nAuthorization: Bearer wrong{said}");
        status_of(&limited.ask_from(source, &head))
    }

    #[test]
    fn rates_count_the_client_that_a_trusted_proxy_names() {
        let limited = Limited::start(
            "proxies = ['127.0.0.1', '10.0.0.0/8']\n[rate]\nfailures = 1\nfailures_burst = 5",
        );
        let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let one = "\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.1.1.1";

        for _ in 0..6 {
            assert_eq!(asks(&limited, proxy, one), 403);
        }
        assert_eq!(asks(&limited, proxy, one), 429, "the client has failed too often");
        assert_eq!(asks(&limited, proxy, "\r\nX-Forwarded-For: 192.0.2.2"), 403, "not another");
        assert_eq!(asks(&limited, STRANGER, "\r\nX-Forwarded-For: 192.0.2.1"), 403);
        for _ in 0..6 {
            asks(&limited, STRANGER, "\r\nX-Forwarded-For: 192.0.2.3");
        }
        assert_eq!(asks(&limited, STRANGER, ""), 429, "no other peer is believed");
        assert_eq!(asks(&limited, proxy, "\r\nForwarded: for=192.0.2.3"), 403);
    }

    #[test]
    fn sockets_through_a_proxy_count_for_their_clients() {
        let limited = Limited::start(
            "proxies = ['127.0.0.1']\nnames = ['shop.example']\nsockets_per_address = 2",
        );
        let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let open = |client: &str| {
            let mut stream = connect_from(proxy, limited.http_address());
            let head = format!(
                "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: backend\r\n\
                 Origin: https://shop.example\r\nX-Forwarded-Host: shop.example\r\n\
                 X-Forwarded-For: {client}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let mut answer = [0; 1024];
            let read = stream.read(&mut answer).unwrap();
            (stream, status_of(&String::from_utf8_lossy(&answer[..read])))
        };

        let held = [open("192.0.2.1"), open("192.0.2.1"), open("192.0.2.2")];
        assert_eq!(held.each_ref().map(|(_, status)| *status), [101; 3]);
        assert_eq!(open("192.0.2.1").1, 429);
        let (status, page) = limited.server.request("GET", "/v1/connections");
        assert_eq!(status, 200);
        assert!(page.contains("192.0.2.2"), "people see the client: {page}");
    }

    #[test]
    fn the_proxy_protocol_names_the_client_of_a_whole_connection() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("instep.toml");
        let settings = "http = '127.0.0.1:0'\ntcp = '127.0.0.1:0'\nproxies = ['127.0.0.1']\n\
                        proxy_protocol = ['http', 'tcp']\nsockets_per_address = 1";
        std::fs::write(&config, settings).unwrap();
        let data = directory.path().join("data");
        let arguments = ["serve", "--config", text(&config), "--data", text(&data)];
        let mut child = binary().args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let _ends = Ends(child);
        let (mut http, mut tcp) = (None, None);
        for line in lines {
            let address = |scheme| line.strip_prefix(scheme)?.parse::<SocketAddr>().ok();
            http = http.or(address("listening http://"));
            tcp = tcp.or(address("listening tcp://"));
            if http.is_some() && tcp.is_some() {
                break;
            }
        }
        let (http, tcp) = (http.unwrap(), tcp.unwrap());
        let ask = |source: IpAddr, header: &[u8]| {
            let mut stream = connect_from(source, http);
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(&[header, request].concat());
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            status_of(&answer)
        };
        let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let named = b"PROXY TCP4 192.0.2.1 192.0.2.9 4711 443\r\n";
        let heartbeat = br#"[null,"1","phoenix","heartbeat",{}]"#;
        let length = u32::try_from(heartbeat.len()).unwrap().to_be_bytes();
        let mut tcp = connect_from(proxy, tcp);
        tcp.write_all(&[&named[..], &length, heartbeat].concat()).unwrap();
        assert!(tcp.read(&mut [0; 64]).unwrap() > 0, "it is served");

        assert_eq!(ask(proxy, named), 429, "the client has a connection at another door");
        assert_eq!(ask(proxy, b"PROXY TCP4 192.0.2.2 192.0.2.9 4711 443\r\n"), 200);
        assert_eq!(ask(proxy, b"PROXY UNKNOWN\r\n"), 200);
        assert_eq!(ask(proxy, b""), 0, "a header is what comes first");
        assert_eq!(ask(STRANGER, named), 0, "no other peer is believed");
    }
}
