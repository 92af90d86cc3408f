//! A server that has no descriptor left.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::running::{CONFIG, PATIENCE, Server, free_address, text};
use crate::shims::until;

const DESCRIPTORS: usize = 64;

struct Starved(Child);

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `instep serve` with few descriptors; where it takes messages over TCP.
fn serve(directory: &std::path::Path) -> (Starved, String) {
    let config = directory.join("instep.toml");
    std::fs::write(&config, "http = '127.0.0.1:0'\ntcp = '127.0.0.1:0'\nshards = 2\n").unwrap();
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"")])
        .args([env!("CARGO_BIN_EXE_instep"), "serve", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(directory.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Starved(child.unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut tcp = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("listening tcp://").map(str::to_owned));
    let address = tcp.next().expect("it says where it listens");
    (child, address)
}

fn ask(stream: &mut TcpStream) {
    let heartbeat = br#"[null,"1","phoenix","heartbeat",{}]"#;
    let length = u32::try_from(heartbeat.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], heartbeat].concat()).unwrap();
}

fn is_answered(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 256]).is_ok_and(|bytes| bytes > 0)
}

#[test]
fn a_client_that_waits_for_a_descriptor_is_served_when_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, address) = serve(directory.path());

    // The system completes these by itself; the server cannot take in more than a part.
    let mut all: Vec<_> = (0..2 * DESCRIPTORS)
        .map(|_| {
            let stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
        .collect();
    all.iter_mut().for_each(ask);
    assert!(is_answered(&mut all[0]), "the first is served");
    let late = all.split_off(DESCRIPTORS);
    let mut late: Vec<_> = late.into_iter().take(DESCRIPTORS / 4).collect();
    drop(all);

    for stream in &mut late {
        assert!(is_answered(stream), "who waited is served");
    }
}

/// Limits that keep no client from taking what there is; each commit needs another file.
const OPEN_TO_ALL: &str = "sockets = 100000\nsockets_per_address = 0\nhandshake_ms = 60000\n";
const WIDE: &str = "[rate]\nloopback = true\nconnections = 20000\nconnections_burst = 20000\n\
                    [log]\nsegment_bytes = 1024\n";
/// Descriptors of a server that keeps some of them for files and for operators.
const FEW: usize = 200;

/// One more connection of the same stranger, once the system takes it.
fn stranger(to: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), 0);
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).ok().map(|()| TcpStream::from(socket))
}

fn open_descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.process())).unwrap().count()
}

fn commits(server: &Server) {
    for _ in 0..20 {
        let row = format!(r#"{{"x":"{}"}}"#, "x".repeat(900));
        let put = format!(r#"{{"ops":[{{"op":"put","table":"t","key":"k","row":{row}}}]}}"#);
        let (status, told) = server.post("/v1/datasets/d/commits", "", &put);
        assert_eq!(status, 200, "{told}");
    }
}

#[test]
fn commits_and_operators_go_on_when_a_stranger_has_every_descriptor_and_it_heals_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("{OPEN_TO_ALL}{CONFIG}{WIDE}");
    let limit = format!("ulimit -n {FEW}");
    let server = Server::serve_by_shell(directory.path(), &config, (&limit, "127.0.0.1:0"));
    server.wait_until_ready();
    commits(&server);
    let before = open_descriptors(&server);
    let to = server.address().parse().unwrap();

    let crowd: Vec<_> = (0..2 * FEW).filter_map(|_| stranger(to)).collect();
    until("the stranger has all that there are", || open_descriptors(&server) >= FEW - FEW / 8);
    for _ in 0..10 {
        commits(&server);
        assert_eq!(server.request("GET", "/readyz").0, 200);
    }
    drop(crowd);

    until("all is given back", || open_descriptors(&server) <= before + 8);
    let mut client = stranger(to).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.request("PUT", "/v1/datasets/new").0, 200);
    commits(&server);
}

#[test]
fn data_is_opened_though_a_stranger_has_every_descriptor_before_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let more = "[[table]]\ndataset = 'e'\nname = 't'\n";
    let config = format!("{OPEN_TO_ALL}{CONFIG}{more}{WIDE}");
    let address = free_address();
    let log = directory.path().join("log");
    let shell = (format!("ulimit -n {FEW} && exec 2>{}", text(&log)), address.to_string());
    let shell = (&*shell.0, &*shell.1);
    let mut server = Server::serve_by_shell(directory.path(), &config, shell);
    server.wait_until_ready();
    commits(&server);
    assert_eq!(server.signal("-TERM"), Some(0));

    let crowd = std::thread::spawn(move || {
        let come = |_| loop {
            if let Some(connection) = stranger(address) {
                return connection;
            }
            std::thread::yield_now();
        };
        (0..2 * FEW).map(come).collect::<Vec<_>>()
    });
    let server = Server::serve_by_shell(directory.path(), &config, shell);
    let crowd = crowd.join().unwrap();

    until("every dataset is open", || server.request("GET", "/readyz").0 == 200);
    commits(&server);
    drop(crowd);
    server.wait_until_ready();
    let log = std::fs::read_to_string(&log).unwrap();
    let told = |words| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(told("other users"), 0, "{log}");
    assert!(told("no connection can be taken in") <= 10, "{log}");
}

fn datasets(server: &Server) -> Vec<Value> {
    let (status, body) = server.request("GET", "/v1/datasets");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap().as_array().unwrap().clone()
}

fn is_served(server: &Server) -> bool {
    server.ask_anonymously("GET", "/healthz", "").0 == 200
}

#[test]
fn datasets_leave_descriptors_to_connections_and_say_so_when_made_and_at_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let serve = |limit| {
        let before = format!("ulimit -n {limit} && exec 2>{}", text(&log));
        Server::serve_by_shell(directory.path(), CONFIG, (&before, "127.0.0.1:0"))
    };
    let mut server = serve(2 * FEW);
    server.wait_until_ready();
    let make = |number| server.request("PUT", &format!("/v1/datasets/more-{number}"));

    let refused = (0..FEW).map(make).find(|(status, _)| *status != 200).unwrap();
    let problem: Value = serde_json::from_str(&refused.1).unwrap();
    assert_eq!((refused.0, &problem["code"]), (503, &"resources_exhausted".into()));
    for said in ["400 descriptors", "ulimit -n"] {
        assert!(refused.1.contains(said), "{}", refused.1);
    }
    let made = datasets(&server).len();
    assert!(made > FEW / 2 / 3, "{made} datasets");
    assert!(is_served(&server));
    commits(&server);
    assert_eq!(server.request("DELETE", "/v1/datasets/more-0").0, 204);
    assert_eq!(server.request("PUT", "/v1/datasets/more-0").0, 200, "another has its place");
    assert_eq!(server.signal("-TERM"), Some(0));

    let server = serve(FEW);
    let unopened = || -> Vec<Value> {
        datasets(&server).into_iter().filter(|of| of["state"] == "unopened").collect()
    };
    until("what fits is open", || server.request("GET", "/v1/datasets").0 == 200);
    assert_eq!(datasets(&server).len(), made);
    assert!(is_served(&server), "connections have what datasets leave");
    commits(&server);
    let left = unopened();
    assert!(left.len() >= made - FEW / 2 / 3, "{} of {made} do not fit", left.len());
    let told = std::fs::read_to_string(&log).unwrap();
    let told: Vec<&str> = told.lines().filter(|line| line.contains("not open")).collect();
    assert!(told.len() <= 2, "one line for all of them: {told:?}");
    for dataset in left {
        let reason = dataset["reason"].as_str().unwrap();
        assert!(reason.contains("200 descriptors") && reason.contains("ulimit -n"), "{reason}");
    }
}

#[test]
fn a_server_takes_as_many_descriptors_as_the_system_allows_it() {
    let directory = tempfile::tempdir().unwrap();
    let limit = format!("ulimit -Sn {FEW}");
    let server = Server::serve_by_shell(directory.path(), CONFIG, (&limit, "127.0.0.1:0"));
    server.wait_until_ready();

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|word| line.split_whitespace().nth(word).unwrap());
    assert_eq!(soft, hard);
    assert_ne!(soft, FEW.to_string());
}
