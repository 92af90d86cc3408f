//! Sessions: heartbeats, and lives that are longer than their connections.

use serde_json::{Value, json};

use super::{Fixture, eventually};

/// JAN-R6, JAN-U4: every client is asked each interval; one that does not answer is dropped.
#[test]
fn jan_r6_every_client_is_asked_each_interval_and_the_dead_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "janus_ping_ms = 300\njanus_detached_ms = 0");
    let mut quiet = house.subscriber(&[]);
    let mut listening = house.subscriber(&["room:a"]);
    let mut dead = house.subscriber(&["room:b"]);

    for _ in 0..4 {
        for client in [&mut quiet, &mut listening] {
            assert_eq!(client.frame(), "PING");
            client.sends(b"PONG\0");
        }
    }

    assert_eq!(dead.frame(), "PING");
    assert_eq!(dead.error(), "no_pong");
    assert_eq!(dead.rest(), Vec::<String>::new());
    eventually("the dead are not counted", || house.subscribers("room:b") == 0);
    assert_eq!(house.subscribers("room:a"), 1, "who answers stays");
}

/// JAN-U5: a client that returns with the token in time gets the missed messages, in order.
#[test]
fn jan_u5_a_session_outlives_its_connection() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    for ends in ["closes", "resets", "seems to live"] {
        let mut first = house.client();
        let token = first.greeting();
        first.asks("subscribe", "room:a");
        assert_eq!(first.frame(), "ACK");
        house.publish("room:a", "e", &json!("before"));
        assert_eq!(first.data(), json!("before"));
        let still_there = match ends {
            "closes" => {
                drop(first);
                None
            }
            "resets" => {
                first.reset();
                None
            }
            _ => Some(first),
        };
        if still_there.is_none() {
            // The server notices before anything is published: what it has written is written.
            std::thread::sleep(std::time::Duration::from_millis(200));
            for n in 0..100 {
                house.publish("room:a", "e", &json!(n));
            }
        }

        let mut second = house.client();
        let other_token = second.greeting();
        second.asks("attach", &token);

        assert_ne!(token, other_token);
        assert_eq!(second.frame(), "ACK", "{ends}");
        if still_there.is_none() {
            let missed: Vec<Value> = (0..100).map(|_| second.data()).collect();
            assert_eq!(missed, (0..100).map(Value::from).collect::<Vec<_>>(), "{ends}");
        }
        house.publish("room:a", "e", &json!("after"));
        assert_eq!(second.data(), json!("after"), "{ends}");
        second.asks("attach", &token);
        assert_eq!(second.error(), "attach_first", "{ends}");
        second.asks("unsubscribe", "room:a");
        assert_eq!(second.frame(), "ACK", "{ends}");
        if let Some(mut first) = still_there {
            assert_eq!(first.rest(), Vec::<String>::new(), "its connection is closed");
        }
    }
}

/// JAN-U5: it goes from connection to connection, and the messages missed each time are told once.
#[test]
fn jan_u5_a_session_is_taken_over_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut client = house.client();
    let token = client.greeting();
    client.asks("subscribe", "room:a");
    assert_eq!(client.frame(), "ACK");

    for round in 0..20 {
        client.reset();
        std::thread::sleep(std::time::Duration::from_millis(50));
        house.publish("room:a", "e", &json!(round));
        client = house.client();
        client.greeting();
        client.asks("attach", &token);
        assert_eq!(client.frame(), "ACK");
        assert_eq!(client.data(), json!(round));
    }
    assert_eq!(house.subscribers("room:a"), 1, "it has subscribed once");
}

/// JAN-U5: a client that comes too late is told so, and can begin anew on that connection.
#[test]
fn jan_u5_a_session_that_waited_too_long_is_expired() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "janus_detached_ms = 300");
    let mut first = house.client();
    let token = first.greeting();
    first.asks("subscribe", "room:a");
    assert_eq!(first.frame(), "ACK");
    first.reset();
    eventually("the session is gone", || house.subscribers("room:a") == 0);

    let mut second = house.client();
    second.greeting();
    second.asks("attach", &token);

    assert_eq!(second.error(), "expired");
    second.asks("subscribe", "room:a");
    assert_eq!(second.frame(), "ACK");
}

/// A publisher's message counts even if it hangs up with a reset: old publishers do, because they
/// never read the greeting.
#[test]
fn jan_u2_a_publisher_that_resets_behind_its_message_has_published() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut subscriber = house.subscriber(&["room:a"]);

    for n in 0..200 {
        let mut publisher = house.client();
        publisher.sends(&super::publication("room:a", "e", &json!(n), None));
        publisher.reset();
    }

    let mut heard: Vec<u64> = (0..200).map(|_| subscriber.data().as_u64().unwrap()).collect();
    heard.sort_unstable();
    assert_eq!(heard, (0..200).collect::<Vec<_>>());
}

/// JAN-16: after a kill all clients come back and subscribe again.
#[test]
fn jan_16_after_a_kill_clients_return_and_subscribe_again() {
    const CLIENTS: usize = 1000;
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path(), "");
    let crowd = |house: &Fixture| -> Vec<_> {
        (0..CLIENTS).map(|_| house.subscriber(&["room:a"])).collect()
    };
    let before = crowd(&house);

    house.server.signal("-KILL");
    for mut client in before {
        assert_eq!(client.rest(), Vec::<String>::new());
    }
    house.server.start_again();
    let after = crowd(&house);
    house.publish("room:a", "e", &json!("again"));

    for mut client in after {
        assert_eq!(client.data(), json!("again"));
    }
}
