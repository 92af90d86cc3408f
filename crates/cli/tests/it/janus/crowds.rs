//! Crowds: many clients at once, floods, resets, and clients that do not read.

use std::io::{ErrorKind, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, Fixture, TAG, eventually, request};

/// JAN-03, JAN-04: a hundred that talk nonsense are told so; a thousand others hear everything,
/// and the process lives on.
#[test]
fn jan_03_nonsense_on_a_hundred_connections_touches_no_other_client() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut crowd: Vec<_> = (0..1000).map(|_| house.subscriber(&["room:a"])).collect();

    for n in 0..100u8 {
        house.publish("room:a", "e", &json!(n));
        let mut bad = house.client();
        bad.greeting();
        bad.sends(&[b'!' + n % 64, 0xff, 0x00, n]);
        assert_eq!(bad.error(), "no_tag");
        assert_eq!(bad.rest(), Vec::<String>::new());
    }

    for client in &mut crowd {
        let heard: Vec<Value> = (0..100).map(|_| client.data()).collect();
        assert_eq!(heard, (0..100).map(Value::from).collect::<Vec<_>>());
    }
}

/// JAN-05: without descriptors some are refused; when there are some again, new ones come in.
#[test]
fn jan_05_errors_at_accept_do_not_stop_accepting() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let process = house.server.process().to_string();
    let limited = Command::new("prlimit").args(["--pid", &process, "--nofile=256:256"]).status();
    assert!(limited.unwrap().success());

    let mut all: Vec<Client> = (0..400).map(|_| house.client()).collect();
    let (mut served, mut refused) = (vec![], 0);
    for mut client in all.drain(..) {
        match client.next() {
            Some(_) => served.push(client),
            None => refused += 1,
        }
    }
    assert!(refused > 0 && served.len() > 100, "{refused} refused, {} served", served.len());
    drop(served);
    eventually("descriptors are given back", || house.descriptors() < 64);

    let again: Vec<_> = (0..100).map(|_| house.subscriber(&["room:a"])).collect();
    house.publish("room:a", "e", &json!(1));
    for mut client in again {
        assert_eq!(client.data(), json!(1));
    }
}

/// JAN-06: a thousand at once are greeted, and a server that starts again has its port at once.
#[test]
fn jan_06_bursts_are_greeted_and_the_port_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path(), "");
    let mut crowd: Vec<_> = (0..1000).map(|_| house.client()).collect();
    for client in &mut crowd {
        assert_eq!(client.greeting().len(), 32);
    }

    // With a thousand connections open, which the system remembers for a while.
    house.server.signal("-KILL");
    house.server.start_again();

    house.client().greeting();
}

/// JAN-08: input is taken as fast as it is worked off, and not kept beyond that.
#[test]
fn jan_08_floods_are_bounded_and_others_are_served_meanwhile() {
    const FLOOD_BYTES: usize = 1024 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    // However long the flood takes, no client is asked whether it is there meanwhile.
    let house = Fixture::open(directory.path(), "janus_ping_ms = 3600000");
    let mut other = house.subscriber(&["room:a"]);
    let frame = {
        let spaces = " ".repeat(512 * 1024);
        format!("{TAG}{{\"action\":{spaces}\"unsubscribe\",\"data\":\"room:b\"}}\0").into_bytes()
    };
    let before = house.memory();
    let is_over = AtomicBool::new(false);

    let most = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = house.subscriber(&[]);
            let frames = FLOOD_BYTES.div_ceil(frame.len());
            for _ in 0..frames {
                client.sends(&frame);
            }
            (0..frames).for_each(|_| assert_eq!(client.frame(), "ACK"));
            is_over.store(true, Ordering::Relaxed);
        });
        let mut most = 0;
        let mut n = 0;
        while !is_over.load(Ordering::Relaxed) {
            house.publish("room:a", "e", &json!(n));
            assert_eq!(other.data(), json!(n), "others are served meanwhile");
            most = house.memory().max(most);
            n += 1;
        }
        most
    });

    assert!(most < before + 64 * 1024, "{before} KiB became {most} KiB");
}

/// JAN-08: a client that asks and does not read is not read either.
#[test]
fn jan_08_a_client_that_does_not_read_its_answers_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let before = house.memory();
    let client = house.subscriber(&[]);
    let stream = &client.stream;
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = request("unsubscribe", "room:b").repeat(10_000);

    let (mut written, mut is_full) = (0, false);
    while written < 1024 * 1024 * 1024 && !is_full {
        match (&*stream).write(&requests) {
            Ok(bytes) => written += bytes,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                is_full = true;
            }
        }
    }

    assert!(is_full, "the server has read {written} bytes whose answers were not read");
    assert!(house.memory() < before + 16 * 1024, "{before} KiB became {} KiB", house.memory());
}

/// JAN-12: ten thousand that come and go leave nothing behind.
#[test]
fn jan_12_closed_connections_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "janus_detached_ms = 100");
    let come_and_go = || {
        for n in 0..10_000 {
            let client = house.subscriber(&["room:a"]);
            match n % 2 {
                0 => drop(client),
                _ => client.reset(),
            }
        }
        eventually("no subscriber is counted", || house.subscribers("room:a") == 0);
    };
    let descriptors = house.descriptors();
    come_and_go();
    let memory = house.memory();

    come_and_go();

    eventually("descriptors are given back", || house.descriptors() <= descriptors + 2);
    let now = house.memory();
    assert!(now < memory + 4 * 1024, "{memory} KiB became {now} KiB");
}

/// JAN-R8: a thousand that connect and reset do not end anything.
#[test]
fn jan_r8_resets_at_accept_do_not_stop_accepting() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let descriptors = house.descriptors();

    for _ in 0..1000 {
        house.client().reset();
    }

    let mut subscriber = house.subscriber(&["room:a"]);
    house.publish("room:a", "e", &json!(1));
    assert_eq!(subscriber.data(), json!(1));
    drop(subscriber);
    eventually("descriptors are given back", || house.descriptors() <= descriptors + 2);
}

/// JAN-R9: one that does not read is bounded, then dropped with a reason.
#[test]
fn jan_r9_a_subscriber_that_does_not_read_is_dropped_and_hurts_no_other() {
    const MESSAGES: u64 = 800;
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "slow_reader_ms = 1500");
    let mut stuck = house.subscriber(&["room:a"]);
    let mut others: Vec<_> = (0..4).map(|_| house.subscriber(&["room:a"])).collect();
    let large = "x".repeat(60 * 1024);
    let before = house.memory();
    let is_dropped = || house.subscribers("room:a") == 4;
    let mut told = None;

    for n in 0..MESSAGES {
        house.publish("room:a", "e", &json!([n, large]));
        for other in &mut others {
            assert_eq!(other.data()[0], n);
        }
        // It hears why for a few seconds only.
        if told.is_none() && n % 20 == 0 {
            told = is_dropped().then(|| stuck.rest());
            // To count them is a message, too.
            others.iter_mut().for_each(|other| drop(other.data()));
        }
    }
    let told = told.unwrap_or_else(|| {
        eventually("the one that does not read is dropped", is_dropped);
        stuck.rest()
    });

    assert!(house.memory() < before + 32 * 1024, "{before} KiB became {} KiB", house.memory());
    assert!((told.len() as u64) < MESSAGES, "it was given everything");
    assert!(told.last().unwrap().contains("\"too_slow\""), "{:?}", told.last());
}

/// JAN-14: the latest within 2 s, none bad, the histogram reported. `JANUS_BOTS=18990` takes the
/// whole crowd, which needs 20,000 descriptors.
#[test]
fn jan_14_one_message_reaches_all_subscribers() {
    let bots = std::env::var("JANUS_BOTS").map_or(500, |bots| bots.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let (address, bots) = (format!("--address={}", house.janus), format!("--bots={bots}"));
    let run = ["bench", "room:a", "--door=janus", &address, &bots, "--rate=1", "--seconds=5"];

    let report = house.server.json(&[&run[..], &["--max-bad=0", "--max-ms=2000"]].concat());

    let measured = &report["measured"];
    let count = |name: &str| measured[name].as_u64().unwrap();
    assert_eq!([count("lost"), count("wrong"), count("late")], [0, 0, 0]);
    assert!(count("published") > 0, "{measured}");
    println!("{measured}");
}
