//! Revocation: reads that end with a right, at every door within seconds, and no change of identity
//! by it.

use serde_json::{Value, json};

use super::sockets::Socket;
use super::{Guarded, SECRET, seconds_from_now, token};
use crate::limits::Client;
use crate::running::{PATIENCE, free_address, http, instep, stdout, text};

/// A token that is good for another moment.
fn brief() -> String {
    token(json!({"sub": "ann", "exp": seconds_from_now(2)}))
}

/// Idle sockets are looked at after half a minute by themselves: this is told before.
#[test]
fn a_token_that_comes_by_a_join_or_a_push_is_ended_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let tcp = free_address();
    let guarded =
        Guarded::start_with(directory.path(), [&format!("tcp = '{tcp}'"), ""], "secret", SECRET);
    guarded.runtime.block_on(async {
        let mut joiner = Socket::open(&guarded, "", &[]).await.unwrap();
        let mut pusher = Socket::open(&guarded, "", &[]).await.unwrap();
        assert_eq!(pusher.join("desk", json!({})).await, "ok");
        let desk = pusher.sent.to_string();

        assert_eq!(joiner.join("room:ann", json!({"access_token": brief()})).await, "ok");
        let renewal = json!({"access_token": brief()});
        assert_eq!(pusher.ask(&desk, "desk", "access_token", renewal).await.0, "ok");
        assert_eq!(pusher.join("room:ann", json!({})).await, "ok");

        for socket in [&mut joiner, &mut pusher] {
            loop {
                let told = socket.next().await;
                if told[3] == "access_ended" {
                    assert_eq!(told[4]["reason"], "token_expired");
                    break;
                }
            }
        }
    });
    let mut framed = Client::connect(tcp);
    let join = json!({"access_token": brief()});
    let joined = framed.ask([json!("1"), json!("1"), "room:ann".into(), "phx_join".into(), join]);
    assert_eq!(joined.0, "ok");
    let told = framed.next().expect("it is told");
    assert_eq!((&told[3], &told[4]["reason"]), (&json!("access_ended"), &json!("token_expired")));
}

#[test]
fn a_changefeed_tells_nothing_behind_the_loss_of_its_right() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let data = text(&guarded.server.data).to_owned();
    let key = stdout(&instep(&["key", "create", "billing", "--data", &data])).trim().to_owned();
    guarded.wait_until("the new key", || guarded.commit(&key, "items") == "ok");
    let admin = std::fs::read_to_string(guarded.server.data.join("admin.key")).unwrap();
    let url = format!("{}/v1/datasets/shop/changes?follow=true", guarded.server.url);
    let feed = guarded.runtime.block_on(http().get(url).bearer_auth(&key).send()).unwrap();
    assert_eq!(feed.status(), 200);

    assert!(instep(&["key", "remove", "billing", "--data", &data]).status.success());
    guarded.wait_until("the key's end", || guarded.commit(&key, "items") == "wrong_key");
    let ops = json!([{"op": "put", "table": "items", "key": "untold", "row": {}}]);
    let commit = json!({"ops": ops});
    assert_eq!(guarded.answer(admin.trim(), "POST", "/v1/datasets/shop/commits", commit), "ok");

    let all = async { tokio::time::timeout(PATIENCE, feed.text()).await };
    let all = guarded.runtime.block_on(all).expect("the feed ends").unwrap();
    let last: Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "wrong_key");
    assert!(!all.contains("untold"), "{all}");
}

#[test]
fn a_bad_credential_reads_public_tables_and_changes_nothing_anonymously() {
    const OPEN: &str = "
[[rights]]
who = 'anyone'
actions = ['commit', 'read']
tables = ['shop/board']

[[table]]
dataset = 'shop'
name = 'board'
public = true

[[rights]]
who = 'anyone'
actions = ['publish']
topics = ['room:open']
";
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::start_with(directory.path(), ["", OPEN], "secret", SECRET);
    let (dead, none) = (token(json!({"sub": "ann", "exp": 1})), "");
    let good = token(json!({"sub": "ann"}));
    let id = uuid::Uuid::now_v7().to_string();
    let add = json!({"op": "add", "table": "board", "key": "n", "field": "n", "by": 1});
    let put = json!({"op": "put", "table": "board", "key": "n", "row": {"n": 0}});
    let commit =
        |bearer: &str, body: Value| guarded.ask(bearer, "POST", "/v1/datasets/shop/commits", body);
    assert_eq!(commit(none, json!({"ops": [put]})).0, 200);
    let (status, _, first) = commit(&good, json!({"id": id, "ops": [add]}));
    assert_eq!((status, &first["results"]), (200, &json!([1])));

    for (bearer, code) in [(dead.as_str(), "token_expired"), ("instep_a_b", "wrong_key")] {
        let again = commit(bearer, json!({"id": id, "ops": [add]})).2;
        assert_eq!(
            again["code"], code,
            "the same commit by an anonymous client would be another one"
        );
        let said = json!({"event": "e", "payload": {}});
        assert_eq!(guarded.answer(bearer, "POST", "/v1/topics/room:open", said), code);
        let rows = "/v1/datasets/shop/tables/board/rows";
        assert_eq!(guarded.answer(bearer, "GET", rows, json!(null)), "ok");
        let events = "/v1/topics/desk/events";
        assert_eq!(guarded.answer(bearer, "GET", events, json!(null)), code, "as on a socket");
    }
    let (_, _, row) = guarded.ask("", "GET", "/v1/datasets/shop/tables/board/rows/n", json!(null));
    assert_eq!(row["row"]["n"], 1);
}

#[test]
fn a_refusal_names_principal_action_and_resource_and_a_forged_token_was_never_good() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let detail = |bearer: &str| {
        let ops = json!([{"op": "put", "table": "items", "key": "k", "row": {}}]);
        let (_, _, problem) =
            guarded.ask(bearer, "POST", "/v1/datasets/shop/commits", json!({"ops": ops}));
        (problem["code"].clone(), problem["detail"].as_str().unwrap().to_owned())
    };
    let ann = token(json!({"sub": "ann", "roles": ["editor"], "tier": "tin"}));
    let (code, told) = detail(&ann);
    assert_eq!(
        (code, told.as_str()),
        (json!("forbidden"), "token:ann may not commit \"shop/items\"")
    );

    let dead = token(json!({"sub": "ann", "exp": 1}));
    let (message, _) = dead.rsplit_once('.').unwrap();
    assert_eq!(detail(&dead).0, "token_expired");
    assert_eq!(detail(&format!("{message}.AAAA")).0, "token_invalid");
}

/// A late poll is told no more than a poll in time.
#[test]
fn frames_queued_by_long_poll_before_a_right_ended_are_not_given_behind_its_end() {
    const NOTES: &str = "
[[table]]
dataset = 'shop'
name = 'notes'
public = true

[[rights]]
who = 'token'
actions = ['read']
tables = ['shop/notes']
";
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::start_with(directory.path(), ["", NOTES], "secret", SECRET);
    let admin = std::fs::read_to_string(guarded.server.data.join("admin.key")).unwrap();
    let ops = json!([{"op": "put", "table": "notes", "key": "k", "row": {"note": "confidential"}}]);
    let commit = json!({"ops": ops});
    assert_eq!(guarded.answer(admin.trim(), "POST", "/v1/datasets/shop/commits", commit), "ok");
    let ends = seconds_from_now(2);
    let brief = token(json!({"sub": "ann", "exp": ends}));
    let open = |token: &str| {
        let path = format!("/socket/longpoll?vsn=2.0.0&token={token}");
        let (_, _, told) = guarded.ask("", "GET", &path, json!(null));
        format!("/socket/longpoll?vsn=2.0.0&token={}", told["token"].as_str().unwrap())
    };
    let post = |session: &str, frames: &str| {
        let head = "content-type: application/x-ndjson\r\n";
        let (status, told) = guarded.server.post(session, head, frames);
        assert!(status == 200 && told.contains("200"), "{told}");
    };
    let poll = |session: &str| guarded.ask("", "GET", session, json!(null)).2.to_string();
    let join = json!(["1", "1", "table:shop/notes", "phx_join", {}]).to_string();
    let desk = json!(["2", "2", "desk", "phx_join", {}]).to_string();
    let (late, early) = (open(&brief), open(&brief));

    for session in [&early, &late] {
        post(session, &format!("{join}\n{desk}"));
    }
    let mut told = String::new();
    guarded.wait_until("who polls in time is told", || {
        told += &poll(&early);
        told.contains("confidential")
    });
    // It ends by the clock of the wall.
    guarded.wait_until("the token's end", || seconds_from_now(0) > ends);

    let told = poll(&late);
    assert!(!told.contains("confidential"), "{told}");
    assert!(told.contains("access_ended") && told.contains("phx_close"), "{told}");
    assert!(told.contains("token_expired"), "the join is answered: {told}");
}
