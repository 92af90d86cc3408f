//! SNK-19: all shoppers wait for the same release.

use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::running::{Server, hold_time, text};

const SHOPPERS: usize = 10_000;

/// SNK-19: the server and its shoppers in processes of their own. `SHOPPERS` sockets need as many
/// descriptors in each.
#[test]
fn snk_19_ten_thousand_shoppers_see_a_release_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("demo");
    let demo = Server::start(&["demo", "--no-open", "--data", text(&data)], data.clone());
    let products = demo.json(&["shop", "list"])["products"].clone();
    let hidden = |product: &&serde_json::Value| product["released"] == false;
    let product = products.as_array().unwrap().iter().find(hidden).unwrap();
    let id = product["id"]
        .as_u64()
        .map_or_else(|| product["id"].as_str().unwrap().to_owned(), |number| number.to_string());
    let mut crowd = Crowd::join(demo.address(), &format!("product:{id}"), SHOPPERS);

    let began = Instant::now();
    demo.must(&["shop", "release", &id]);
    let mut heard = crowd.all_hear("released", began);

    heard.sort_unstable();
    let p99 = heard[heard.len() * 99 / 100];
    println!("{SHOPPERS} shoppers: p50 {:?}, last {:?}", heard[heard.len() / 2], heard.last());
    assert_eq!(heard.len(), SHOPPERS);
    hold_time("99 of 100 shoppers", p99, Duration::from_secs(1));
}
