//! Faults that a load generator must notice: messages that are lost, come twice, or never.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use instep_load::report::Measured;
use instep_load::{Door, Error, Load, Pace, Plan, Run};

const BOTS: usize = 3;

/// Fault of a server with the messages that it was given.
#[derive(Clone, Copy, PartialEq)]
enum Mischief {
    None,
    LosesTheTenth,
    SendsTheTenthTwice,
    KeepsEverything,
    RefusesJoins,
}

#[test]
fn an_honest_server_is_found_without_fault() {
    let measured = measured(Mischief::None, Pace::Rate(200.0));

    assert_eq!((measured.lost, measured.wrong, measured.late, measured.dropped), (0, 0, 0, 0));
    assert_eq!(measured.measured, measured.published * BOTS as u64);
    assert!(measured.published > 0);
    assert_eq!(measured.coarse.iter().sum::<u64>(), measured.measured);
}

#[test]
fn messages_due_while_the_load_is_held_up_leave_late_and_count() {
    let (mut run, _) = Run::connect(plan(serve(Mischief::None))).unwrap();
    run.begin(Pace::Rate(100.0));

    let mut asked = 0;
    let span = run.measure_while(Duration::from_secs(20), || {
        asked += 1;
        if asked == 2 {
            std::thread::sleep(Duration::from_millis(300));
        }
        asked < 2
    });
    let measured = run.finish(span.unwrap(), Duration::from_secs(10)).unwrap();

    assert!(measured.published >= 30, "{} were published", measured.published);
    assert_eq!((measured.measured, measured.lost), (measured.published * BOTS as u64, 0));
    assert!(measured.latency.max_us >= 200_000.0, "{:?}", measured.latency);
}

#[test]
fn a_window_goes_on_as_fast_as_messages_reach_all_subscribers() {
    let measured = measured(Mischief::None, Pace::Window(4));

    assert_eq!(measured.bad(), 0);
    assert!(measured.published > 4, "the window was filled once and never again");
}

#[test]
fn lost_messages_are_counted_for_each_subscriber() {
    let measured = measured(Mischief::LosesTheTenth, Pace::Rate(200.0));

    assert!(measured.lost > 0 && measured.lost.is_multiple_of(BOTS as u64));
    assert_eq!(measured.wrong, 0);
}

#[test]
fn messages_that_come_twice_are_wrong() {
    let measured = measured(Mischief::SendsTheTenthTwice, Pace::Rate(200.0));

    assert!(measured.wrong > 0);
    assert_eq!(measured.lost, 0);
}

#[test]
fn a_server_that_delivers_nothing_has_lost_everything() {
    let measured = measured(Mischief::KeepsEverything, Pace::Rate(200.0));

    assert_eq!((measured.measured, measured.delivered), (0, 0));
    assert!(measured.lost >= measured.published * BOTS as u64);
}

#[test]
fn a_refused_subscription_ends_the_run_with_the_servers_words() {
    let refused = Run::connect(plan(serve(Mischief::RefusesJoins)));

    let Err(Error::Refused { said, .. }) = refused else { panic!("it was not refused") };
    assert!(said.contains("not today"), "{said}");
}

/// JAN-R10: connecting is measured, and apart from latencies.
#[test]
fn jan_r10_set_up_is_reported_apart() {
    let (_, set_up) = Run::connect(plan(serve(Mischief::None))).unwrap();

    assert_eq!(set_up.connections, BOTS + 1);
    assert!(set_up.seconds > 0.0 && set_up.each.max_us > 0.0);
}

fn measured(mischief: Mischief, pace: Pace) -> Measured {
    let (mut run, _) = Run::connect(plan(serve(mischief))).unwrap();
    let load = Load {
        pace,
        warm_up: Duration::from_millis(50),
        measured: Duration::from_millis(300),
        drain: Duration::from_millis(match mischief {
            Mischief::KeepsEverything => 100,
            _ => 10_000,
        }),
        process: None,
    };
    run.load(&load).unwrap()
}

fn plan(address: SocketAddr) -> Plan {
    Plan {
        door: Door::Tcp,
        address,
        publish: None,
        topics: vec!["t".into()],
        bots: BOTS,
        subscribe: true,
        at_once: 2,
        payload_bytes: 128,
        patience: Duration::from_secs(20),
        awake: false,
    }
}

/// A server for one topic: a thread for each connection, and every subscriber gets every message.
fn serve(mischief: Mischief) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let joined = Arc::new(Mutex::new(Vec::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let joined = Arc::clone(&joined);
            std::thread::spawn(move || connection(stream, mischief, &joined));
        }
    });
    address
}

fn connection(mut stream: TcpStream, mischief: Mischief, joined: &Mutex<Vec<TcpStream>>) {
    let mut count = 0;
    while let Some(message) = read(&mut stream) {
        if message.contains("phx_join") {
            let status = match mischief {
                Mischief::RefusesJoins => r#"{"status":"error","response":{"reason":"not today"}}"#,
                _ => r#"{"status":"ok","response":{}}"#,
            };
            // A client that was told that it has joined misses nothing that is published from then
            // on.
            let mut joined = joined.lock().unwrap();
            write(&mut stream, &format!(r#"["1","1","t","phx_reply",{status}]"#));
            joined.push(stream.try_clone().unwrap());
            continue;
        }
        count += 1;
        let tenth = count % 10 == 0;
        let copies = match mischief {
            Mischief::KeepsEverything => 0,
            Mischief::LosesTheTenth if tenth => 0,
            Mischief::SendsTheTenthTwice if tenth => 2,
            _ => 1,
        };
        for subscriber in joined.lock().unwrap().iter_mut() {
            for _ in 0..copies {
                write(subscriber, &message.replacen("\"1\"", "null", 1));
            }
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<String> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).ok()?;
    String::from_utf8(message).ok()
}

fn write(stream: &mut TcpStream, message: &str) {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let _ = stream.write_all(&[&length, message.as_bytes()].concat());
}
