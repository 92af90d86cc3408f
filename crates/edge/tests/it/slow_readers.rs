//! Law 9: a slow reader costs only itself, and is never left without the truth.

use std::collections::BTreeMap;

use instep_edge::DoorOptions;
use instep_model::ring::RingLimits;
use serde_json::{Value, json};

use crate::fixture::{Fixture, TABLE_TOPIC, eventually};

const SMALL: RingLimits = RingLimits { frames: 100, bytes: 1_000_000, ms: 60_000 };
/// Far more than a ring and the buffers of both sockets hold.
const MESSAGES: usize = 1_500;
const FILLING: usize = 16_000;

#[test]
fn law_9_a_slow_reader_of_a_live_topic_costs_only_itself_and_is_told_what_it_missed() {
    let fixture = Fixture::open(SMALL, DoorOptions { shards: 1, ..DoorOptions::default() });
    let filling = "x".repeat(FILLING);
    let mut quick = fixture.join("room:1");
    let mut slow = fixture.join("room:1");

    for number in 0..MESSAGES {
        fixture.publish(number, &filling);
        assert_eq!(quick.next().unwrap()[4]["n"], number, "the quick one gets each of them");
    }
    let waiting = fixture.waiting_bytes();
    assert!(waiting < 1_000_000, "{waiting} bytes wait for the slow one");
    let mut expected = 0;
    while expected < MESSAGES {
        let [_, _, _, event, payload] = slow.next().unwrap();
        match event.as_str().unwrap() {
            "tick" => {
                assert_eq!(payload["n"], expected);
                expected += 1;
            }
            "gap" => expected += usize::try_from(payload["missed"].as_u64().unwrap()).unwrap(),
            other => panic!("{other}"),
        }
    }

    assert!(fixture.count(|counts| counts.lagged) > 0, "the slow one fell off the ring");
    fixture.publish(MESSAGES, "");
    assert_eq!(slow.next().unwrap()[4]["n"], MESSAGES, "it is back");
}

#[test]
fn law_9_a_slow_reader_of_a_table_ends_with_the_right_rows() {
    let fixture = Fixture::open(SMALL, DoorOptions { shards: 1, ..DoorOptions::default() });
    let filling = "x".repeat(FILLING);
    let mut slow = fixture.join(TABLE_TOPIC);

    for number in 0..MESSAGES {
        fixture.put(&format!("k{}", number % 7), number, &filling);
    }
    fixture.put("last", 0, "");
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    let mut lagged = 0;
    while !rows.contains_key("last") {
        let [_, _, _, event, payload] = slow.next().unwrap();
        match event.as_str().unwrap() {
            "row" => {
                let key = payload["key"].as_str().unwrap().to_owned();
                rows.insert(key, payload["row"]["n"].clone());
            }
            "lagged" => {
                lagged += 1;
                if payload["mode"] == "reset" {
                    rows.clear();
                }
            }
            other => panic!("{other}"),
        }
    }

    assert!(lagged > 0, "it fell off the ring");
    let last = |key: usize| (0..MESSAGES).rev().find(|number| number % 7 == key).unwrap();
    let mut expected: BTreeMap<_, _> =
        (0..7).map(|key| (format!("k{key}"), json!(last(key)))).collect();
    expected.insert("last".into(), json!(0));
    assert_eq!(rows, expected);
}

#[test]
fn a_reader_that_takes_nothing_for_too_long_is_sent_away_with_1012() {
    let options = DoorOptions { shards: 1, slow_reader_ms: 200, ..DoorOptions::default() };
    let fixture = Fixture::open(SMALL, options);
    let filling = "x".repeat(FILLING);
    let mut slow = fixture.join("room:1");

    for number in 0..MESSAGES {
        fixture.publish(number, &filling);
    }
    eventually("it is sent away", || fixture.count(|counts| counts.evicted) == 1);
    let heard = slow.rest();

    let [_, _, topic, event, payload] = heard.last().unwrap();
    assert_eq!((topic, event), (&json!("phoenix"), &json!("close")));
    assert_eq!(payload["code"], 1012);
    drop(slow);
    eventually("its place is free", || fixture.connections() == 0);
}
