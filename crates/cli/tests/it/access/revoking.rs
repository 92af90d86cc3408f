//! Revocation of a key while clients that showed it are connected.

use serde_json::{Value, json};

use super::sockets::Socket;
use super::{Guarded, token};
use crate::running::{PATIENCE, http, instep, stdout, text};

/// A running server's key for the program `billing`, which it takes by now.
fn billing(guarded: &Guarded) -> String {
    let data = text(&guarded.server.data).to_owned();
    let key = stdout(&instep(&["key", "create", "billing", "--data", &data])).trim().to_owned();
    guarded.wait_until("the new key", || guarded.commit(&key, "items") == "ok");
    key
}

fn remove_billing(guarded: &Guarded) {
    let data = text(&guarded.server.data);
    assert!(instep(&["key", "remove", "billing", "--data", data]).status.success());
}

/// I24: a right lost while subscribed ends the subscription.
#[test]
fn i24_a_key_that_is_taken_away_closes_the_channels_it_opened_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let key = billing(&guarded);
    guarded.runtime.block_on(async {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        let mut program = Socket::open(&guarded, "", &headers).await.unwrap();
        let mut anonymous = Socket::open(&guarded, "", &[]).await.unwrap();
        assert_eq!(program.join("table:shop/items", json!({})).await, "ok");
        let join_ref = json!(program.sent.to_string());
        assert_eq!(anonymous.join("table:shop/items", json!({})).await, "ok");
        tokio::task::block_in_place(|| remove_billing(&guarded));

        let (told, closed) = (program.next().await, program.next().await);

        assert_eq!((&told[0], &told[3]), (&join_ref, &json!("access_ended")));
        assert_eq!(told[4]["reason"], "wrong_key");
        assert_eq!(closed, json!([join_ref, join_ref, "table:shop/items", "phx_close", {}]));
        program.heartbeat().await;
        assert_eq!(program.join("table:shop/items", json!({})).await, "wrong_key");
        anonymous.heartbeat().await;
        assert_eq!(anonymous.join("table:shop/items", json!({})).await, "ok");
    });
}

/// I24, for readers without a socket.
#[test]
fn i24_a_key_that_is_taken_away_ends_long_poll_channels_and_readers_of_events() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    let key = billing(&guarded);
    let client = http();
    let poll = format!("{}/socket/longpoll?vsn=2.0.0", guarded.server.url);
    let events = format!("{}/v1/topics/table:shop%2Fitems/events", guarded.server.url);
    let get = |query: String| client.get(format!("{poll}{query}")).bearer_auth(&key).send();
    guarded.runtime.block_on(async {
        let request = client.get(events).bearer_auth(&key).header("accept", "application/x-ndjson");
        let reader = request.send().await.unwrap();
        assert_eq!(reader.status(), 200);
        let opened: Value = get(String::new()).await.unwrap().json().await.unwrap();
        let session = format!("&token={}", opened["token"].as_str().unwrap());
        let join = json!(["1", "1", "table:shop/items", "phx_join", {}]).to_string();
        let body = client.post(format!("{poll}{session}")).body(join);
        let body = body.header("content-type", "application/x-ndjson").send();
        assert_eq!(body.await.unwrap().json::<Value>().await.unwrap()["status"], 200);
        tokio::task::block_in_place(|| remove_billing(&guarded));

        let mut heard = vec![];
        while !heard.iter().any(|frame: &Value| frame[3] == "phx_close") {
            let polled: Value = get(session.clone()).await.unwrap().json().await.unwrap();
            for frame in polled["messages"].as_array().into_iter().flatten() {
                heard.push(serde_json::from_str(frame.as_str().unwrap()).unwrap());
            }
        }
        let read = tokio::time::timeout(PATIENCE, reader.text()).await.expect("it ends").unwrap();

        let ended = heard.iter().find(|frame| frame[3] == "access_ended").unwrap();
        assert_eq!(ended[4]["reason"], "wrong_key");
        let last: Value = serde_json::from_str(read.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["event"], &last["payload"]["reason"]),
            (&"ended".into(), &"wrong_key".into())
        );
    });
}

/// I24: holders of the old secret are out as soon as there is a new one, on every connection.
#[test]
fn i24_a_secret_that_is_changed_closes_the_channels_of_its_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    guarded.runtime.block_on(async {
        let old = format!("&token={}", token(json!({"sub": "ann"})));
        let mut socket = Socket::open(&guarded, &old, &[]).await.unwrap();
        assert_eq!(socket.join("room:ann", json!({})).await, "ok");
        std::fs::write(guarded.directory.join("keys"), "another secret, of 32 bytes at least")
            .unwrap();

        let (told, closed) = (socket.next().await, socket.next().await);

        assert_eq!(
            (&told[3], &told[4]["reason"]),
            (&json!("access_ended"), &json!("token_invalid"))
        );
        assert_eq!(closed[3], "phx_close");
    });
}

#[test]
fn no_client_is_present_under_the_name_of_a_subject_without_its_token() {
    let directory = tempfile::tempdir().unwrap();
    let guarded = Guarded::with_secret(directory.path());
    guarded.runtime.block_on(async {
        let shown = format!("&token={}", token(json!({"sub": "ann"})));
        let mut ann = Socket::open(&guarded, &shown, &[]).await.unwrap();
        let mut thief = Socket::open(&guarded, "", &[]).await.unwrap();
        assert_eq!(thief.join("desk", json!({"key": "ann"})).await, "ok");
        assert_eq!(ann.join("desk", json!({"key": "bob"})).await, "ok");

        let mut present = std::collections::BTreeSet::new();
        while present.len() < 2 {
            let [_, _, _, event, payload] = serde_json::from_value(ann.next().await).unwrap();
            let joined: &Value =
                if event == "presence_state" { &payload } else { &payload["joins"] };
            let keys = joined.as_object().into_iter().flat_map(|keys| keys.keys().cloned());
            present.extend(keys.filter(|key: &String| !key.starts_with("phx_")));
        }

        assert_eq!(present.into_iter().collect::<Vec<_>>(), ["ann", "anonymous:ann"]);
    });
}
