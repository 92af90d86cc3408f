//! Subscribing, publishing, and delivery.

use serde_json::{Value, json};

use super::{Fixture, TAG, eventually, publication, request};

/// JAN-07, JAN-U1: a frame sent in the same instant as the connection is made is answered.
#[test]
fn jan_07_frames_sent_early_are_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");

    for _ in 0..100 {
        let mut client = house.client();
        client.sends(&request("subscribe", "room:a"));
        client.greeting();
        assert_eq!(client.frame(), "ACK");
        client.asks("unsubscribe", "room:a");
        assert_eq!(client.frame(), "ACK", "JAN-U1: so is what unsubscribes");
    }
}

#[test]
fn jan_13_each_message_reaches_each_subscriber_once() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut a = house.subscriber(&["room:a"]);
    let mut b = house.subscriber(&["room:b"]);
    let mut both = house.subscriber(&["room:a", "room:b"]);

    for n in 0..10 {
        house.publish("room:a", "e", &json!({"a": n}));
        house.publish("room:b", "e", &json!({"b": n}));
    }
    for topic in ["room:a", "room:b"] {
        house.publish(topic, "end", &json!("end"));
    }

    let until_end = |client: &mut super::Client, ends: usize| {
        let mut heard = vec![];
        let mut ended = 0;
        while ended < ends {
            match client.data() {
                end if end == json!("end") => ended += 1,
                data => heard.push(data),
            }
        }
        heard
    };
    let of = |name: &str| (0..10).map(|n| json!({ name: n })).collect::<Vec<Value>>();
    assert_eq!(until_end(&mut a, 1), of("a"));
    assert_eq!(until_end(&mut b, 1), of("b"));
    let heard = until_end(&mut both, 2);
    for name in ["a", "b"] {
        let part = heard.iter().filter(|data| data.get(name).is_some());
        assert_eq!(part.cloned().collect::<Vec<_>>(), of(name));
    }
    assert_eq!(heard.len(), 20);
}

/// JAN-15: a message goes from a WebSocket to plain TCP, and back.
#[test]
fn jan_15_messages_of_one_door_reach_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut janus = house.subscriber(&["room:a"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let joined = async {
        let channels = instep_client::Channels::connect(&house.server.url).await.unwrap();
        channels.join("room:a", json!({})).await.unwrap().1
    };
    let mut socket = runtime.block_on(joined);

    runtime.block_on(socket.push("said", json!({"text": "over WebSocket"}))).unwrap();
    let heard = janus.frame();
    house.publish("room:a", "said", &json!("over Janus"));
    let happening = runtime.block_on(async {
        loop {
            let happening = format!("{:?}", socket.next().await.expect("the channel lives"));
            if happening.contains("over Janus") {
                return happening;
            }
        }
    });

    let expected = "\"topic\":\"room:a\",\"event\":\"said\",\"message_id\":\"\",\
                    \"data\":{\"text\":\"over WebSocket\"}}";
    assert!(heard.ends_with(expected), "{heard}");
    assert!(happening.contains("said") && happening.contains("message_id"), "{happening}");
}

#[test]
fn jan_17_subscribing_twice_is_acknowledged_and_gives_one_copy() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut client = house.subscriber(&["room:a", "room:a"]);

    house.publish("room:a", "e", &json!(1));
    house.publish("room:a", "e", &json!(2));

    assert_eq!([client.data(), client.data()], [json!(1), json!(2)]);
}

#[test]
fn jan_18_publishing_can_need_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut subscriber = house.subscriber(&["closed:a"]);
    let code = |told: Vec<String>| -> Value {
        assert_eq!(told.len(), 1, "{told:?}");
        serde_json::from_str::<Value>(&told[0]).unwrap()["error"]["code"].clone()
    };

    let without = house.publishes("closed:a", "e", &json!("anonymous"), None);
    let wrong = house.publishes("closed:a", "e", &json!("wrong"), Some("instep_unknown_key"));
    let key = house.admin_key();
    let with = house.publishes("closed:a", "e", &json!("the owner"), Some(&key));

    assert_eq!(code(without), "key_required");
    assert_eq!(code(wrong), "key_required");
    assert_eq!(with, Vec::<String>::new());
    assert_eq!(subscriber.data(), json!("the owner"), "the others were not delivered");
}

/// JAN-18, where rights are declared: reading needs a key as well, and a wrong one is named.
#[test]
fn jan_18_a_key_counts_from_the_frame_that_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let rights = "[[rights]]\nwho = 'token'\nactions = ['join']\ntopics = ['room:*']\n";
    let house = Fixture::open(directory.path(), rights);
    let key = house.admin_key();
    let subscribe = |key: Option<&str>| {
        let mut frame = json!({"action": "subscribe", "data": "room:a"});
        if let Some(key) = key {
            frame["key"] = key.into();
        }
        let mut client = house.client();
        client.greeting();
        client.sends(format!("{TAG}{frame}\0").as_bytes());
        (client.frame(), client)
    };

    assert!(subscribe(None).0.contains("\"key_required\""));
    assert!(subscribe(Some("instep_unknown_key")).0.contains("\"wrong_key\""));
    let (answer, mut client) = subscribe(Some(&key));
    assert_eq!(answer, "ACK");
    client.asks("subscribe", "room:b");
    assert_eq!(client.frame(), "ACK", "the key holds for the connection");
}

/// JAN-R1: unsubscribing works, and the dead are not counted.
#[test]
fn jan_r1_a_subscriber_that_left_or_died_gets_nothing_and_is_not_counted() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "janus_detached_ms = 200");
    let mut client = house.subscriber(&["room:a", "room:b"]);
    assert_eq!(house.subscribers("room:a"), 1);
    assert_eq!(client.json()["event"], "count");

    client.asks("unsubscribe", "room:a");
    assert_eq!(client.frame(), "ACK");
    house.publish("room:a", "e", &json!("unheard"));
    house.publish("room:b", "e", &json!("heard"));
    assert_eq!(client.data(), json!("heard"));
    assert_eq!(house.subscribers("room:a"), 0);

    let others: Vec<_> = (0..10).map(|_| house.subscriber(&["room:b"])).collect();
    assert_eq!(house.subscribers("room:b"), 11);
    drop(others);
    eventually("only who lives is counted", || house.subscribers("room:b") == 1);
    client.reset();
    eventually("no subscriber is counted", || house.subscribers("room:b") == 0);
}

/// JAN-R2: unsubscribing is answered, and so is an unknown action.
#[test]
fn jan_r2_every_request_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut client = house.subscriber(&[]);

    client.asks("unsubscribe", "room:never");
    assert_eq!(client.frame(), "ACK");
    client.asks("dance", "room:a");
    assert_eq!(client.error(), "unknown_action");
    client.asks("subscribe", "");
    assert_eq!(client.error(), "topic_empty");
    client.asks("subscribe", "nowhere");
    assert_eq!(client.error(), "unmatched topic");
    client.asks("subscribe", "room:a");
    assert_eq!(client.frame(), "ACK");
}

/// JAN-U2: the server adds the time first, and closes the publisher, which it has greeted.
#[test]
fn jan_u2_a_publisher_is_greeted_and_closed() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "");
    let mut subscriber = house.subscriber(&["room:a"]);
    let mut publisher = house.client();

    publisher.sends(&publication("room:a", "new", &json!({"n": 1}), None));
    let told = publisher.rest();
    let heard = subscriber.frame();

    assert_eq!(told.len(), 1, "the greeting and the end: {told:?}");
    assert!(told[0].contains("\"token\""), "{told:?}");
    let at: Vec<u64> =
        serde_json::from_value(serde_json::from_str::<Value>(&heard).unwrap()["timestamp"].clone())
            .unwrap();
    let [mega, seconds, micros] = at[..] else { panic!("{heard}") };
    let expected = format!(
        "{{\"timestamp\":[{mega},{seconds},{micros}],\"topic\":\"room:a\",\"event\":\"new\",\
         \"message_id\":\"m\",\"data\":{{\"n\":1}}}}"
    );
    assert_eq!(heard, expected);
}

/// JAN-R7: one connection publishes, all subscribers get it in order. On this door a connection
/// publishes once, so it is a WebSocket.
#[test]
fn jan_r7_ten_thousand_messages_of_one_connection_stay_in_order() {
    const MESSAGES: u64 = 10_000;
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), "ring_frames = 20000");
    let subscribers: Vec<_> = (0..4).map(|_| house.subscriber(&["room:a"])).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();

    let heard = std::thread::scope(|scope| {
        let listeners: Vec<_> = subscribers
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || -> Vec<Value> {
                    (0..MESSAGES).map(|_| client.data()["n"].clone()).collect()
                })
            })
            .collect();
        runtime.block_on(async {
            let channels = instep_client::Channels::connect(&house.server.url).await.unwrap();
            let (_, mut channel) = channels.join("room:a", json!({})).await.unwrap();
            for n in 0..MESSAGES {
                channel.push("e", json!({"n": n})).await.unwrap();
                channel.next().await.expect("it hears itself");
            }
        });
        let joined = listeners.into_iter().map(|listener| listener.join().unwrap());
        joined.collect::<Vec<_>>()
    });

    let in_order: Vec<Value> = (0..MESSAGES).map(Value::from).collect();
    for heard in heard {
        assert_eq!(heard, in_order);
    }
}
