//! Programs that send over a socket: the same messages, answers and refusals as over HTTP.

use instep_client::{Channel, ChannelError, Channels, Seq};
use serde_json::{Value, json};

use super::local::{CONFIG, Fixture};
use super::{count, tcp};
use crate::running::{free_address, instep, stdout, text};

const QUEUE: &str = "mail:mail/mail";

/// A program whose key may write into the queue `mail`, and nothing else.
const RIGHTS: &str = "
[[rights]]
who = 'key:gateway'
actions = ['commit']
tables = ['mail/mail']
";

async fn send(channel: &Channel, letter: Value) -> Result<Value, String> {
    match channel.push("send", letter).await {
        Ok(sent) => Ok(sent),
        Err(ChannelError::Refused(refusal)) => Err(refusal["reason"].as_str().unwrap().into()),
        Err(error) => panic!("{error}"),
    }
}

async fn joined(house: &Fixture, key: Option<String>, topic: &str) -> Result<Channel, String> {
    let socket = Channels::connect_with(&house.server.url, key).await.unwrap();
    match socket.join(topic, json!({})).await {
        Ok((_, channel)) => Ok(channel),
        Err(ChannelError::Refused(refusal)) => Err(refusal["reason"].as_str().unwrap().into()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sends_over_its_socket_and_is_answered_when_that_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.route(&[("org/1", "7"), ("org/2", "8")]).await;
    let channel = joined(&house, Some(house.key()), QUEUE).await.unwrap();

    let one = send(&channel, json!({"to": "org/1", "body": {"n": 1}})).await.unwrap();
    let id = "018f3a5e-0000-7000-8000-000000000001";
    let known = json!({"to": "org/1", "body": 3, "id": id});
    let two = json!({"messages": [{"to": "org/2", "body": 2, "priority": 9}, known]});
    let two = send(&channel, two).await.unwrap();

    let sent = |sent: &Value, at: usize| sent["messages"][at].clone();
    assert_eq!((&sent(&one, 0)["seq"], &sent(&one, 0)["server"]), (&json!(1), &json!("7")));
    assert_eq!((&sent(&two, 0)["seq"], &sent(&two, 0)["server"]), (&json!(2), &json!("8")));
    assert_eq!(sent(&two, 1)["id"], id);
    assert!(one["position"].as_str().unwrap() < two["position"].as_str().unwrap());
    let again = send(&channel, known).await.unwrap();
    assert_eq!(sent(&again, 0), sent(&two, 1), "an id is stored once");

    house.server.signal("-KILL");
    house.server.start_again();
    assert_eq!(count(&house).await, 3);
    assert_eq!(house.message(Seq(1)).await["body"], json!({"n": 1}));
}

// SMQ-16, SMQ-04: a gateway cannot say which server it is, and without a route nothing is stored.
#[tokio::test(flavor = "multi_thread")]
async fn smq_16_messages_refused_over_a_socket_store_nothing_and_keep_the_channel() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let channel = joined(&house, Some(house.key()), QUEUE).await.unwrap();
    let letter = json!({"to": "org/1", "body": 1});
    let id = "018f3a5e-0000-7000-8000-000000000001";
    send(&channel, json!({"to": "org/1", "body": 1, "id": id})).await.unwrap();

    for (refused, code) in [
        (json!({"to": "org/1", "body": 1, "server": "8"}), "bad_json"),
        (json!({"to": "org/1"}), "bad_json"),
        (json!({"messages": []}), "empty_commit"),
        (json!({"to": "7/1", "body": 1}), "bad_endpoint"),
        (json!({"to": "unknown/1", "body": 1}), "no_route"),
        (json!({"to": "org/9", "body": 1}), "no_route"),
        (json!({"messages": [letter, {"to": "org/9", "body": 1}]}), "no_route"),
        (json!({"to": "org/1", "body": 2, "id": id}), "message_conflict"),
        (json!({"to": "org/1", "body": "x".repeat(256 * 1024)}), "message_too_large"),
    ] {
        assert_eq!(send(&channel, refused.clone()).await, Err(code.into()), "{refused:.80}");
    }
    for (wrong, said) in [
        (json!({"to": "org/1", "body": 1, "priority": "x"}), "priority: "),
        (json!({"to": "org/9", "body": 1}), "no route for org/9"),
        (json!({"messages": [letter, {"to": "org/9", "body": 1}]}), "messages[1]: no route"),
    ] {
        let refused = channel.push("send", wrong).await;
        let Err(ChannelError::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert!(refusal["detail"].as_str().unwrap().starts_with(said), "{refusal}");
    }
    let other = channel.push("post", letter.clone()).await;
    let Err(ChannelError::Refused(refusal)) = other else { panic!("{other:?}") };
    assert_eq!(refusal["reason"], "bad_event");
    assert_eq!(count(&house).await, 1);
    send(&channel, letter).await.unwrap();
    assert_eq!(count(&house).await, 2, "the channel is as good as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_needs_the_right_to_commit_to_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open_with(directory.path(), &format!("{CONFIG}{RIGHTS}"));
    house.route(&[("org/1", "7")]).await;
    house.client.create_queue("mail", "invoices").await.unwrap();
    let data = text(&house.server.data).to_owned();
    let make = ["key", "create", "gateway", "--data", &data];
    let key = stdout(&instep(&make)).trim().to_owned();

    let mut channel = Err(String::new());
    for _ in 0..200 {
        // The server looks for new keys every now and then.
        let came = Channels::connect_with(&house.server.url, Some(key.clone())).await;
        if came.is_ok() {
            channel = joined(&house, Some(key.clone()), QUEUE).await;
        }
        if channel.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut channel = channel.unwrap();

    send(&channel, json!({"to": "org/1", "body": 1})).await.unwrap();
    let refused = async |key: Option<String>, topic: &str| joined(&house, key, topic).await.err();
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(refused(None, QUEUE).await, code("key_required"));
    assert_eq!(refused(Some(key.clone()), "mail:mail/invoices").await, code("forbidden"));
    let admin = Some(house.key());
    assert_eq!(refused(admin.clone(), "mail:mail/nowhere").await, code("unknown_queue"));
    assert_eq!(refused(admin.clone(), "mail:nowhere/mail").await, code("unknown_dataset"));
    assert_eq!(refused(admin, "mail:mail").await, code("unmatched topic"));

    // I24: the right is lost while the channel is open.
    let removed =
        tokio::task::block_in_place(|| instep(&["key", "remove", "gateway", "--data", &data]));
    assert!(removed.status.success());
    while let Some(happening) = channel.next().await {
        if matches!(happening, instep_client::ChannelEvent::Ended(_)) {
            break;
        }
    }
    assert!(channel.push("send", json!({"to": "org/1", "body": 2})).await.is_err());
    assert_eq!(count(&house).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_over_plain_tcp_sends_and_takes() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let house = Fixture::open_with(directory.path(), &format!("tcp = '{address}'\n{CONFIG}"));
    let mut framed = tcp::Framed::connect(address);
    let (status, _) = framed.join(json!({"access_token": house.key()}));
    assert_eq!(status, "ok");

    let open = ["2".into(), "open".into(), QUEUE.into(), "phx_join".into(), json!({})];
    let (status, _) = framed.client.ask(open);
    assert_eq!(status, "ok");
    let letter = json!({"to": "server/7", "body": {"to": "myself"}});
    framed.client.send(&json!(["2", "sent", QUEUE, "send", letter]));

    // The answer and the message come in any order.
    let heard = [framed.client.next().unwrap(), framed.client.next().unwrap()];
    let find = |event: &str| heard.iter().find(|frame| frame[3] == event).unwrap();
    let sent = &find("phx_reply")[4]["response"]["messages"][0];
    let message = find("message");
    assert_eq!((&sent["seq"], &sent["server"]), (&message[4]["seq"], &json!("7")));
    assert_eq!(message[4]["body"], json!({"to": "myself"}));
    let (answer, _) = framed.say("ack", json!({"seqs": [sent["seq"]]}));
    assert_eq!(answer["response"]["outcomes"][0]["outcome"], "ok");
}
