//! Crowd of one address at each door and at all of them together: what it costs the others.
//!
//! `STRANGERS=10000` in the environment tries it with as many connections, five rounds at each
//! door, and says the latency of the others beside the crowd (`cargo xtask soak`). A crowd takes
//! the machine's time even from those that it does not visit; so it runs with the lowest priority,
//! and the same crowd goes to a bare listener, too, which does nothing but to accept.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::strangers::{STRANGER, connect_from, crowd, status_of, until};
use super::{Client, Limited};
use crate::running::PATIENCE;
use crate::tls::server::{self, Secure, socket};

/// Between two bytes of a connection that trickles.
const TRICKLE_EVERY: Duration = Duration::from_millis(200);
/// Connections that are beyond the share and have not been told so yet (`EXTRA_CONNECTIONS`).
const EXTRA: usize = 128;
/// Memory that the stated bounds allow one address: 64 MiB, and 64 KiB for each connection.
const ADDRESS_BYTES: u64 = 64 << 20;
const CONNECTION_BYTES: u64 = 64 << 10;

/// Door: where a stranger connects, says one thing, and goes on with single bytes, if at all.
#[derive(Clone)]
struct Door {
    name: &'static str,
    to: SocketAddr,
    opening: Vec<u8>,
    trickle: Option<u8>,
}

fn doors(limited: &Limited) -> Vec<Door> {
    let (http, tcp, janus) = (limited.http_address(), limited.tcp, limited.janus);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let upgrade = "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // A masked text of 1,000 bytes, of which nothing comes yet.
    let frame = [upgrade.as_bytes(), b"\x81\xfe\x03\xe8\0\0\0\0"].concat();
    let join = json!(["1", "1", "table:d/t", "phx_join", {}]).to_string();
    let length = u32::try_from(join.len()).unwrap().to_be_bytes();
    let joined = [&length[..], join.as_bytes()].concat();
    let half_a_head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ".to_vec();
    let door = |name, to, opening, trickle| Door { name, to, opening, trickle };
    vec![
        door("HTTP, silent", http, vec![], None),
        door("HTTP, trickling", http, half_a_head, Some(b'a')),
        door("WebSocket, silent", http, upgrade.into(), None),
        door("WebSocket, trickling", http, frame, Some(b' ')),
        door("TCP, silent", tcp, vec![], None),
        door("TCP, trickling", tcp, vec![0, 0, 3, 232], Some(b' ')),
        door("TCP, joined, reads nothing", tcp, joined, None),
        door("Janus, silent", janus, vec![], None),
        door("Janus, trickling", janus, b"{".to_vec(), Some(b' ')),
        door("long-poll", http, get("/socket/longpoll?vsn=2.0.0"), None),
        door("events, reads nothing", http, get("/v1/topics/table:d%2Ft/events"), None),
    ]
}

/// Strangers: connections of one address, kept as long as the server keeps them.
struct Strangers(Vec<(TcpStream, Option<u8>)>);

impl Strangers {
    /// Connects them all, and leaves its thread at the lowest priority.
    fn come(number: usize, doors: &[&Door]) -> Self {
        rustix::process::setpriority_process(None, 19).unwrap();
        let come = |at: usize| {
            let door = doors[at % doors.len()];
            let mut stream = connect_from(STRANGER, door.to);
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write_all(&door.opening);
            (stream, door.trickle)
        };
        Self((0..number).map(come).collect())
    }

    /// Sends a byte on each connection that trickles, again and again.
    fn trickle_until(&mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            for (stream, trickle) in &mut self.0 {
                if let Some(byte) = trickle {
                    let _ = stream.write(&[*byte]);
                }
            }
            std::thread::sleep(TRICKLE_EVERY);
        }
    }
}

/// The crowd of some doors, at another address.
fn visit(doors: &[&Door]) -> impl FnOnce(SocketAddr, &AtomicBool) + Send {
    let doors: Vec<_> = doors.iter().copied().cloned().collect();
    move |to, over| {
        let there: Vec<_> = doors.into_iter().map(|door| Door { to, ..door }).collect();
        let mut strangers = Strangers::come(crowd(), &there.iter().collect::<Vec<_>>());
        strangers.trickle_until(over);
    }
}

/// Latency of the others while a crowd comes to a bare listener, which keeps so many of them.
fn beside_bare(
    keeps: usize,
    come: impl FnOnce(SocketAddr, &AtomicBool) + Send,
    ask: impl FnMut(u32),
) -> Duration {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(4_096).unwrap();
    let listener = TcpListener::from(listener);
    let to = listener.local_addr().unwrap();
    let (over, gone) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept()
                && !gone.load(Ordering::Relaxed)
            {
                if kept.len() < keeps {
                    kept.push(stream);
                }
            }
        });
        let crowd = scope.spawn(|| come(to, &over));
        let beside = p99_of_others(ask);
        over.store(true, Ordering::Relaxed);
        crowd.join().unwrap();
        gone.store(true, Ordering::Relaxed);
        // Wakes the listener, which ends.
        drop(TcpStream::connect(to));
        beside
    })
}

/// The 99th percentile of the others' latency.
struct Latencies {
    alone: Duration,
    beside: Duration,
    beside_bare: Duration,
}

/// Latency of another client's messages, for a while: the 99th of a hundred.
fn p99_of_others(mut ask: impl FnMut(u32)) -> Duration {
    let measured = Duration::from_millis(if crowd() < 1_000 { 200 } else { 2_000 });
    let begun = Instant::now();
    let mut taken = vec![];
    for number in 10.. {
        let asked = Instant::now();
        ask(number);
        taken.push(asked.elapsed());
        if begun.elapsed() > measured {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    taken.sort_unstable();
    taken[taken.len() * 99 / 100]
}

fn pushes(other: &mut Client, number: u32) {
    assert_eq!(other.ask(super::push(number, "hello".into())).0, "ok");
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Crowd at some doors, once: what it costs the others, and how many bytes.
fn beside(limited: &Limited, other: &mut Client, name: &str, doors: &[&Door]) -> (Latencies, u64) {
    let before = (limited.descriptors(), limited.resident_bytes());
    let share = crowd() / 5;
    let alone = p99_of_others(|number| pushes(other, number));
    let bare = beside_bare(share, visit(doors), |number| pushes(other, number));
    let over = AtomicBool::new(false);
    let (crowded, more) = std::thread::scope(|scope| {
        let strangers = scope.spawn(|| {
            let mut strangers = Strangers::come(crowd(), doors);
            strangers.trickle_until(&over);
            strangers
        });
        let crowded = p99_of_others(|number| pushes(other, number));
        until("those beyond the share go", || limited.descriptors() <= before.0 + share + EXTRA);
        let more = limited.resident_bytes().saturating_sub(before.1);
        limited.fill(100_000);
        let shown = format!("GET /v1/datasets HTTP/1.1\r\nAuthorization: Bearer {}", limited.key());
        until("the operator comes in from there", || {
            status_of(&limited.ask_from(STRANGER, &shown)) == 200
        });
        let ours = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(status_of(&limited.ask_from(ours, "GET /readyz HTTP/1.1")), 200, "{name}");
        over.store(true, Ordering::Relaxed);
        drop(strangers.join().unwrap());
        (crowded, more)
    });
    let bound = ADDRESS_BYTES + u64::try_from(share).unwrap() * CONNECTION_BYTES;
    assert!(more <= bound, "{name}: {more} bytes, {bound} are stated");
    until("everything is given back", || {
        limited.descriptors() <= before.0 + 4 && limited.metric("instep_client_bytes") < 1_000_000
    });
    (Latencies { alone, beside: crowded, beside_bare: bare }, more)
}

#[test]
fn a_crowd_of_one_address_stays_within_its_bound_and_the_others_are_served() {
    let share = crowd() / 5;
    let limited = Limited::start(&format!(
        "sockets_per_address = {share}\nhandshake_ms = 60000\n[rate]\nloopback = true\n\
         connections = 50000\nconnections_burst = 50000\nmessages = 10000\n\
         messages_burst = 10000",
    ));
    limited.fill(100_000);
    let mut other = limited.connect();
    assert_eq!(other.join("room:1", 1).0, "ok");
    let doors = doors(&limited);
    let mut turns: Vec<(&str, Vec<&Door>)> =
        doors.iter().map(|door| (door.name, vec![door])).collect();
    turns.push(("all doors together", doors.iter().collect()));

    for (name, doors) in turns {
        let found = (0..rounds()).map(|_| beside(&limited, &mut other, name, &doors));
        let (found, more): (Vec<_>, Vec<_>) = found.unzip();
        let most = more.iter().max().unwrap() >> 10;
        report(name, &found);
        println!("  {most} KiB more");
    }
}

/// An address that is beyond its rate and connects again at once, at two doors.
#[test]
fn clients_that_are_refused_and_come_again_at_once_hold_up_no_other() {
    let limited = Limited::start(
        "[rate]\nloopback = true\nconnections_burst = 20\nmessages = 10000\n\
         messages_burst = 10000",
    );
    let mut other = limited.connect();
    assert_eq!(other.join("room:1", 1).0, "ok");
    let before = limited.descriptors();
    let request: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let heartbeat = br#"[null,"1","phoenix","heartbeat",{}]"#;
    let length = u32::try_from(heartbeat.len()).unwrap().to_be_bytes();
    let heartbeat = [&length[..], heartbeat].concat();
    let again = |to: SocketAddr, said: &[u8], over: &AtomicBool| {
        rustix::process::setpriority_process(None, 19).unwrap();
        while !over.load(Ordering::Relaxed) {
            let mut stream = connect_from(STRANGER, to);
            let _ = stream.write_all(said);
            let _ = stream.read(&mut [0; 1024]);
        }
    };
    let refused = "instep_rate_limited_total{what=\"connections\"}";
    let is_refused = || limited.metric(refused) > 0;
    let mut round = || {
        let alone = p99_of_others(|number| pushes(&mut other, number));
        let two = |to: SocketAddr, over: &AtomicBool| {
            std::thread::scope(|scope| {
                for said in [request, &heartbeat] {
                    scope.spawn(move || again(to, said, over));
                }
            });
        };
        let bare = beside_bare(0, two, |number| pushes(&mut other, number));
        let over = AtomicBool::new(false);
        let crowded = std::thread::scope(|scope| {
            for (to, said) in [(limited.http_address(), request), (limited.tcp, &heartbeat)] {
                let over = &over;
                scope.spawn(move || again(to, said, over));
            }
            let crowded = p99_of_others(|number| pushes(&mut other, number));
            // The crowd has the lowest priority: a busy machine may not have let it begin.
            let begun = Instant::now();
            while !is_refused() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            over.store(true, Ordering::Relaxed);
            crowded
        });
        Latencies { alone, beside: crowded, beside_bare: bare }
    };

    let found: Vec<_> = (0..rounds()).map(|_| round()).collect();
    report("refused, and again at once", &found);
    assert!(is_refused());
    until("everything is given back", || limited.descriptors() <= before + 4);
}

/// Half a greeting of TLS on each connection, at both doors.
#[test]
fn a_crowd_that_does_not_finish_its_handshakes_holds_up_no_other_client() {
    let share = crowd() / 5;
    let secure = Secure::start(&format!(
        "sockets_per_address = {share}\nhandshake_ms = 60000\n[rate]\nloopback = true\n\
         connections = 50000\nconnections_burst = 50000\nmessages = 10000\n\
         messages_burst = 10000",
    ));
    let mut other = socket(secure.tcp, &secure.identity);
    let mut asks = |number: u32| {
        server::send(&mut other, &json!([null, number.to_string(), "phoenix", "heartbeat", {}]));
        assert_eq!(server::next(&mut other).unwrap()[4]["status"], "ok");
    };
    let descriptors = || super::strangers::descriptors_of(secure.process());
    let before = descriptors();
    let half = b"\x16\x03\x01\x02\x00\x01".to_vec();
    let doors = [("TLS", secure.address()), ("TLS, TCP", secure.tcp)];
    let doors = doors.map(|(name, to)| Door { name, to, opening: half.clone(), trickle: None });
    let mut round = || {
        let alone = p99_of_others(&mut asks);
        let bare = beside_bare(share, visit(&doors.each_ref()), &mut asks);
        let (crowded, held) = std::thread::scope(|scope| {
            let strangers = scope.spawn(|| Strangers::come(crowd(), &doors.each_ref()));
            let crowded = p99_of_others(&mut asks);
            (crowded, strangers.join().unwrap())
        });
        until("those beyond the share go", || descriptors() <= before + share + EXTRA);
        drop(held);
        until("everything is given back", || descriptors() <= before + 4);
        Latencies { alone, beside: crowded, beside_bare: bare }
    };

    let found: Vec<_> = (0..rounds()).map(|_| round()).collect();
    report("half a handshake of TLS", &found);
}

fn rounds() -> usize {
    if crowd() < 1_000 { 1 } else { 5 }
}

#[expect(clippy::print_stdout, reason = "the figures are for runs as a soak")]
fn report(name: &str, found: &[Latencies]) {
    let (rounds, connections) = (found.len(), crowd());
    let us = |of: fn(&Latencies) -> Duration| {
        median(found.iter().map(|latencies| of(latencies).as_secs_f64() * 1e6).collect())
    };
    let ratio = |of: fn(&Latencies) -> Duration| {
        let of = |found: &Latencies| of(found).as_secs_f64() / found.alone.as_secs_f64();
        median(found.iter().map(of).collect())
    };
    println!(
        "{name:<28} {connections} connections, {rounds} rounds: p99 of others {:.0} us, \
         x {:.2} of alone; beside a bare listener x {:.2}",
        us(|latencies| latencies.beside),
        ratio(|latencies| latencies.beside),
        ratio(|latencies| latencies.beside_bare),
    );
}
