//! The Rust client over crashes of the server.

mod surviving;

use std::time::Duration;

use instep_client::{Change, Channel, ChannelEvent, Channels, Client, Error};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::running::{CONFIG, PATIENCE, Server};

fn put(key: &str, row: Value) -> Value {
    json!({"op": "put", "table": "t", "key": key, "row": row})
}

fn client_of(server: &Server) -> Client {
    let key = std::fs::read_to_string(server.data.join("admin.key")).unwrap();
    Client::new(&server.url, Some(key.trim().to_owned())).unwrap()
}

async fn next(channel: &mut Channel) -> ChannelEvent {
    timeout(PATIENCE, channel.next()).await.expect("an event").expect("an open topic")
}

/// The next commit of a feed.
async fn next_records(changes: &mut instep_client::Changes) -> Vec<Value> {
    loop {
        let change = timeout(PATIENCE, changes.next()).await.expect("a commit").unwrap();
        match change.expect("a feed without end") {
            Change::Commit(commit) => return commit.records,
            Change::Bookmark(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_and_topics_go_on_after_a_crash_without_gaps() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    let client = client_of(&server);
    let channels = Channels::connect(&server.url).await.unwrap();
    let (reply, mut topic) = channels.join("table:d/t", json!({})).await.unwrap();
    assert_eq!(reply["mode"], "snapshot");
    let since = reply["position"].as_str().map(str::to_owned);
    let mut changes = client.changes("d", since, true);

    for round in 0..3 {
        let key = format!("k{round}");
        client.commit("d", &[put(&key, json!({"round": round}))], None).await.unwrap();
        let expected = json!({"put": {"table": "t", "key": key, "row": {"round": round}}});
        assert_eq!(next_records(&mut changes).await, [expected]);
        let ChannelEvent::Event { event, payload } = next(&mut topic).await else {
            panic!("no event in round {round}");
        };
        assert_eq!((&*event, &payload["key"]), ("row", &json!(key)));

        server.signal("-KILL");
        server.start_again();

        assert_eq!(next(&mut topic).await, ChannelEvent::Lost);
        let ChannelEvent::Joined(reply) = next(&mut topic).await else {
            panic!("not joined again in round {round}");
        };
        assert_eq!(reply["mode"], "resume");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_over_a_crash_take_effect_exactly_once() {
    const COMMITS: i64 = 300;
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    let client = client_of(&server);
    client.commit("d", &[put("k", json!({"n": 0}))], None).await.unwrap();
    let add = json!({"op": "add", "table": "t", "key": "k", "field": "n", "by": 1});

    let committing = tokio::spawn({
        let client = client.clone();
        async move {
            let mut done = 0;
            while done < COMMITS {
                match client.commit("d", std::slice::from_ref(&add), None).await {
                    Ok(receipt) => {
                        done += 1;
                        assert_eq!(receipt.results, [Some(done)]);
                    }
                    // Nothing was sent: a new commit does no harm.
                    Err(Error::Unreachable { .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("commit {done}: {error}"),
                }
            }
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.signal("-KILL");
        server.start_again();
    }
    timeout(PATIENCE, committing).await.expect("all commits").unwrap();

    assert_eq!(client.row("d", "t", "k").await.unwrap().row, json!({"n": COMMITS}));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_pushed_to_left_and_joined_anew() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let channels = Channels::connect(&server.url).await.unwrap();
    let (_, mut room) = channels.join("room:1", json!({})).await.unwrap();

    assert_eq!(room.push("say", json!({"a": 1})).await, Ok(json!({})));
    let said = ChannelEvent::Event { event: "say".into(), payload: json!({"a": 1}) };
    assert_eq!(next(&mut room).await, said);
    let twice = channels.join("room:1", json!({})).await.unwrap_err();
    assert_eq!(twice, instep_client::ChannelError::AlreadyJoined);
    let refused = channels.join("nope", json!({})).await.unwrap_err();
    assert_eq!(refused.to_string(), "unmatched topic");
    room.leave().await.unwrap();
    let (_, mut again) = channels.join("room:1", json!({})).await.unwrap();
    again.push("say", json!({})).await.unwrap();
    assert!(matches!(next(&mut again).await, ChannelEvent::Event { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_too_large_for_a_reply_arrives_in_chunks_and_then_resumes() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    let client = client_of(&server);
    let rows: Vec<Value> = (0..1000).map(|n| put(&format!("k{n:04}"), json!({"n": n}))).collect();
    client.commit("d", &rows, None).await.unwrap();
    // Topics follow commits a moment later; after a start they have all of them.
    server.signal("-KILL");
    server.start_again();
    let channels = Channels::connect(&server.url).await.unwrap();

    let (reply, mut topic) = channels.join("table:d/t", json!({})).await.unwrap();

    assert_eq!(reply["pending"], true);
    let mut found = 0;
    loop {
        let ChannelEvent::Event { event, payload } = next(&mut topic).await else { panic!("lost") };
        match &*event {
            "snapshot" => found += payload["rows"].as_array().unwrap().len(),
            "bookmark" => break,
            other => panic!("{other}"),
        }
    }
    assert_eq!(found, 1000);
    server.signal("-KILL");
    server.start_again();
    assert_eq!(next(&mut topic).await, ChannelEvent::Lost);
    let ChannelEvent::Joined(reply) = next(&mut topic).await else { panic!("not joined again") };
    assert_eq!(reply["mode"], "resume");
}

/// I29: commits elsewhere move a reader on whose own table is quiet.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_quiet_table_moves_on_while_another_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), &format!("bookmark_ms = 100\n{CONFIG}"));
    std::thread::scope(|scope| scope.spawn(|| server.wait_until_joinable("table:d/t")).join())
        .unwrap();
    let client = client_of(&server);
    let channels = Channels::connect(&server.url).await.unwrap();
    let (_, mut quiet) = channels.join("table:d/t", json!({})).await.unwrap();

    let busy = [
        json!({"op": "create_table", "table": "busy"}),
        json!({"op": "put", "table": "busy", "key": "k", "row": {}}),
    ];
    let written = client.commit("d", &busy, None).await.unwrap().position;

    loop {
        let ChannelEvent::Event { event, payload } = next(&mut quiet).await else { panic!("lost") };
        assert_eq!(event, "bookmark", "{payload}");
        if payload["position"].as_str().unwrap() >= written.as_str() {
            break;
        }
    }
}
