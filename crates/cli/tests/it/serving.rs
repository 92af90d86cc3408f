//! `serve` and `demo`: how they begin, and how they end.

use std::net::TcpListener;

use crate::running::{Server, instep, stderr, text};

#[test]
fn a_server_that_is_told_to_stop_exits_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());

    assert_eq!(server.signal("-TERM"), Some(0));

    server.start_again();
    assert_eq!(server.signal("-INT"), Some(0));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().join("data");

    let output = instep(&["serve", "--data", text(&data), "--http", &address]);

    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_directory_named() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let config = directory.path().join("instep.toml");

    let output = instep(&[
        "serve",
        "--config",
        text(&config),
        "--data",
        text(&server.data),
        "--http",
        "127.0.0.1:0",
    ]);

    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains(text(&server.data)), "{}", stderr(&output));
}

#[test]
fn a_data_directory_without_datasets_has_one_server_too() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let _first = Server::start(&["serve", "--data", text(&data)], data.clone());

    let second = instep(&["serve", "--data", text(&data), "--http", "127.0.0.1:0"]);

    assert_eq!(second.status.code(), Some(5), "{}", stderr(&second));
}

#[test]
fn a_demo_takes_another_port_when_its_own_is_taken_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    // Held here unless something else on this machine has it already.
    let _usual = TcpListener::bind("127.0.0.1:4000");
    let data = directory.path().join("data");

    let demo = Server::start_anywhere(&["demo", "--no-open", "--data", text(&data)], data.clone());

    assert!(!demo.address().ends_with(":4000"), "{}", demo.address());
    assert_eq!(demo.request("GET", "/readyz").0, 200);
}

#[test]
fn a_view_that_does_not_compile_is_refused_with_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("instep.toml");
    let view = "[[view]]\nname = 'v'\ndataset = 'd'\ntable = 't'\ntopic = 'a:{b}'\nevent = 'e'\n\
                filter = '''row.a == 1 &&\n  rwo.b'''";
    std::fs::write(&config, view).unwrap();
    let data = directory.path().join("data");

    let output = instep(&["serve", "--config", text(&config), "--data", text(&data)]);

    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    let place = format!("{}: line 8, column 3: view[0].filter: ", text(&config));
    assert!(told.contains(&place), "{told}");
    assert!(!data.exists(), "nothing is touched before the configuration is good");
}

#[test]
fn a_configuration_that_is_missing_or_has_an_unknown_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.toml");
    let unknown = directory.path().join("unknown.toml");
    std::fs::write(&unknown, "http = '127.0.0.1:0'\nhtpp = 1\n").unwrap();

    let absent = instep(&["serve", "--config", text(&missing)]);
    let misspelt = instep(&["serve", "--config", text(&unknown)]);

    assert_eq!((absent.status.code(), misspelt.status.code()), (Some(2), Some(2)));
    assert!(stderr(&absent).contains("missing.toml"), "{}", stderr(&absent));
    assert!(stderr(&misspelt).contains("htpp"), "{}", stderr(&misspelt));
}

/// SNK-15
#[test]
fn a_demo_is_filled_sells_out_and_keeps_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("demo");
    let mut demo = Server::start(&["demo", "--no-open", "--data", text(&data)], data.clone());

    let products = demo.json(&["shop", "list"])["products"].clone();
    assert!(products.as_array().is_some_and(|products| !products.is_empty()), "{products}");
    let early = demo.instep(&["shop", "sell-until-gone", "1"]);
    assert_eq!(early.status.code(), Some(1), "nothing is released yet");
    assert!(demo.must(&["shop", "release", "1"]).contains("is released"));
    let told = demo.must(&["shop", "sell-until-gone", "1", "--rate", "0", "--json"]);
    let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&last["done"], &last["sold"]), (&true.into(), &last["stock"]));
    let item = products[0]["items"][0]["id"].to_string();
    demo.must(&["shop", "restock", &item, "3"]);

    assert_eq!(demo.signal("-TERM"), Some(0));
    demo.start_again();
    let again = demo.json(&["shop", "list"])["products"].clone();
    let left = again[0]["items"].as_array().unwrap();
    assert_eq!(left.iter().map(|item| item["count"].as_i64().unwrap()).sum::<i64>(), 3);
    demo.must(&["publish", "room:1", "hello"]);
}

#[test]
fn a_sale_goes_at_the_pace_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("demo");
    let demo = Server::start(&["demo", "--no-open", "--data", text(&data)], data.clone());
    let items = demo.json(&["shop", "list"])["products"][0]["items"].clone();
    for item in items.as_array().unwrap() {
        demo.must(&["shop", "restock", &item["id"].to_string(), "1"]);
    }
    demo.must(&["shop", "release", "1"]);
    let began = std::time::Instant::now();

    let told = demo.must(&["shop", "sell-until-gone", "1", "--rate", "10", "--json"]);

    // The first order is due at once, and each other a tenth of a second behind the one before.
    let pieces = items.as_array().unwrap().len() as u32;
    assert!(began.elapsed() >= std::time::Duration::from_millis(100) * (pieces - 1));
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sold: Vec<u64> = lines.iter().map(|line| line["sold"].as_u64().unwrap()).collect();
    assert!(sold.is_sorted() && sold.last() == Some(&pieces.into()), "{sold:?}");
    assert!(sold.iter().any(|sold| (1..pieces.into()).contains(sold)), "it is watched: {sold:?}");
    let fast = demo.instep(&["shop", "sell-until-gone", "1", "--rate", "2000000"]);
    assert!(stderr(&fast).starts_with("instep: bad_rate: "), "{}", stderr(&fast));
}
