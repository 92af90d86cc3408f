//! Servers that register, and what becomes of what they are given.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use instep_client::{Answers, Channels, Nack, Reject};
use serde_json::json;

use super::local::{Fixture, got, of, seqs};
use super::refused;
use crate::running::hold_time;

// SMQ-10: this process and its servers are the whole deployment.
#[tokio::test(flavor = "multi_thread")]
async fn smq_05_a_server_that_registers_gets_everything_that_waits_in_order_per_endpoint() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7"), ("org/2", "7"), ("org/3", "7"), ("org/4", "8")]).await;
    for org in 1..=4 {
        house.send(&format!("org/{org}"), json!(0)).await;
        for user in 1..=2 {
            house.send(&format!("user/{org}/{user}"), json!(user)).await;
        }
    }
    house.send("server/7", json!("for itself")).await;

    let mut local = house.register("7").await;
    let messages = local.take(10).await;

    local.is_quiet(300).await;
    assert_eq!(local.greeting["pending"], 10);
    let endpoints: BTreeSet<_> = messages.iter().map(|message| message.to.as_str()).collect();
    assert_eq!(endpoints.len(), 10, "three organisations, six users, one server");
    local.ack(&seqs(&messages)).await;
    for message in &messages {
        assert_eq!(house.message(message.seq).await["state"], "confirmed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_per_endpoint_and_a_long_mailbox_holds_up_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7"), ("org/2", "7")]).await;
    house.send_many("org/1", 300).await;
    house.send_many("org/2", 5).await;

    let mut local = house.register_with("7", json!({"credit": 16})).await.unwrap();
    let mut all = vec![];
    let mut of_two_at = None;
    while all.len() < 305 {
        let message = local.next().await;
        local.ack(&[message.seq]).await;
        all.push(message);
        if of_two_at.is_none() && of(&all, "org/2").len() == 5 {
            of_two_at = Some(all.len());
        }
    }

    let numbers = |count: u64| (0..count).map(|n| json!({"n": n})).collect::<Vec<_>>();
    assert_eq!(of(&all, "org/1"), numbers(300));
    assert_eq!(of(&all, "org/2"), numbers(5));
    assert!(of_two_at.unwrap() < 150, "the short mailbox waited for the long one: {of_two_at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_07_a_server_is_asked_about_what_it_did_not_confirm() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open_with(
        directory.path(),
        "[[mail]]\ndataset = 'mail'\nlease_ms = 600\nask_ms = 200\n",
    );
    house.route(&[("org/1", "7")]).await;
    let sent = house.send_many("org/1", 2).await;
    let mut local = house.register("7").await;
    let messages = local.take(2).await;

    let (event, payload) = local.next_event().await;
    assert_eq!(event, "ask", "{payload}");
    assert_eq!(payload["seqs"], json!(seqs(&messages)));
    let answer = json!({"have": [sent[0].seq], "not": [sent[1].seq]});
    let told = local.push("answer", answer).await.unwrap();
    let each = [sent[0].seq, sent[1].seq].map(|seq| json!({"seq": seq, "outcome": "ok"}));
    assert_eq!(told["outcomes"], json!(each), "one for each message");

    let again = local.next().await;
    assert_eq!((again.seq, &again.id), (sent[1].seq, &messages[1].id));
    house.until_state(sent[0].seq, "confirmed").await;
    local.ack(&[again.seq]).await;
    house.until_state(sent[1].seq, "confirmed").await;
}

// SMQ-19 and SMQ-23.
#[tokio::test(flavor = "multi_thread")]
async fn smq_19_and_23_a_server_that_is_away_is_waited_for_and_one_that_is_there_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    // Messages that only a deadline would give come too late for the test.
    let hour = "[[mail]]\ndataset = 'mail'\nlease_ms = 3600000\nask_ms = 3600000\n";
    let house = Fixture::open_with(directory.path(), hour);
    house.route(&[("org/1", "7")]).await;
    let before = house.send("org/1", json!("before")).await;
    assert_eq!(house.message(before.seq).await["state"], "pending");

    let mut local = house.register("7").await;
    assert_eq!(local.next().await.seq, before.seq);

    let mut worst = Duration::ZERO;
    for n in 0..20 {
        let began = Instant::now();
        let sent = house.send("org/1", json!(n)).await;
        let message = local.next().await;
        worst = worst.max(began.elapsed());
        assert_eq!(message.seq, sent.seq);
        local.ack(&[message.seq]).await;
    }
    hold_time("from sending to the server", worst, Duration::from_millis(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_20_a_server_that_dies_in_the_middle_gets_what_it_did_not_confirm_again() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    house.send_many("org/1", 10).await;
    let mut local = house.register("7").await;
    let first = local.take(10).await;
    local.ack(&seqs(&first[..5])).await;
    drop(local);

    let mut again = house.register("7").await;
    let second = again.take(5).await;

    let ids = |messages: &[super::local::Got]| {
        messages.iter().map(|message| message.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&second), ids(&first[5..]));
    again.ack(&seqs(&second)).await;
    again.is_quiet(300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_21_a_hub_that_dies_in_the_middle_loses_nothing_and_its_servers_return() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    house.send_many("org/1", 10).await;
    let mut local = house.register("7").await;
    let first = local.take(10).await;
    local.ack(&seqs(&first[..5])).await;

    house.server.signal("-KILL");
    house.server.start_again();

    let again = local.take(5).await;
    assert_eq!(seqs(&again), seqs(&first[5..]));
    local.ack(&seqs(&again)).await;
    for message in &first {
        house.until_state(message.seq, "confirmed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_22_a_second_registration_replaces_the_first_which_is_told_and_fenced() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    house.send_many("org/1", 4).await;
    let mut first = house.register("7").await;
    let given = first.take(4).await;
    first.ack(&[given[0].seq]).await;

    let mut second = house.register("7").await;
    let (event, payload) = first.next_event().await;
    assert_eq!(event, "replaced", "{payload}");
    first.end().await;
    let again = second.take(3).await;

    assert_eq!(seqs(&again), seqs(&given[1..]));
    let sent = house.send("org/1", json!("new")).await;
    assert_eq!(second.next().await.seq, sent.seq);
    assert!(second.greeting["generation"].as_u64() > first.greeting["generation"].as_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_24_a_server_that_registers_at_another_door_gets_its_messages_there() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[[mail]]\ndataset = 'mail'\nlease_ms = 300\nask_ms = 100\n";
    let house = Fixture::open_with(directory.path(), config);
    house.route(&[("org/1", "7")]).await;
    let before = house.send("org/1", json!("before")).await;
    let mut old = house.register("7").await;
    assert_eq!(old.next().await.seq, before.seq);

    let pulled = house.client.pull("mail", "7", None, (10, 2_000)).await.unwrap();
    let after = house.send("org/1", json!("after")).await;
    let registration = pulled.registration;
    let answers = Answers { registration, ack: vec![before.seq], ..Answers::default() };
    house.client.answer_mail("mail", "7", &answers).await.unwrap();
    let more = house.client.pull("mail", "7", Some(registration), (10, 5_000)).await.unwrap();

    assert_eq!(more.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [after.seq]);
    // The old place is told once, and asked nothing any more.
    let (event, _) = old.next_event().await;
    assert_eq!(event, "replaced");
    old.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_26_a_rejected_message_holds_up_no_other_and_shows_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    house.send_many("org/1", 3).await;
    let mut local = house.register("7").await;
    let messages = local.take(3).await;

    local
        .push("reject", json!({"seqs": [messages[0].seq], "reason": "no such printer"}))
        .await
        .unwrap();
    local.ack(&seqs(&messages[1..])).await;

    let dead = house.until_state(messages[0].seq, "dead").await;
    assert_eq!(dead["reason"], "no such printer");
    for message in &messages[1..] {
        assert_eq!(house.message(message.seq).await["state"], "confirmed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_u3_a_dead_letter_is_listed_and_delivered_after_a_retry() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let sent = house.send("org/1", json!({"keep": "this body"})).await;
    let mut local = house.register("7").await;
    let message = local.next().await;
    local.push("reject", json!({"seqs": [message.seq], "reason": "later"})).await.unwrap();
    let query = instep_client::MessageQuery { state: Some("dead".into()), ..Default::default() };
    let dead = house.client.messages("mail", "mail", &query).await.unwrap();
    assert_eq!(dead.messages[0].seq, sent.seq);
    // The body of a dead letter is kept over a restart too.
    house.server.signal("-KILL");
    house.server.start_again();

    house.client.retry_message("mail", "mail", &sent.seq.to_string()).await.unwrap();

    let again = local.next().await;
    assert_eq!((again.id, again.body), (sent.id, json!({"keep": "this body"})));
    local.ack(&[sent.seq]).await;
    house.until_state(sent.seq, "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_comes_back_later_and_only_failures_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let house =
        Fixture::open_with(directory.path(), "[[mail]]\ndataset = 'mail'\nmax_attempts = 2\n");
    house.route(&[("org/1", "7")]).await;
    let sent = house.send_many("org/1", 2).await;
    let mut local = house.register("7").await;
    local.take(2).await;

    for _ in 0..4 {
        local.push("nack", json!({"seqs": [sent[0].seq], "delay_ms": 10})).await.unwrap();
        assert_eq!(local.next().await.seq, sent[0].seq);
    }
    assert_eq!(house.message(sent[0].seq).await["attempts"], 0);
    local.push("nack", json!({"seqs": [sent[1].seq], "failed": true})).await.unwrap();
    assert_eq!(local.next().await.seq, sent[1].seq);
    local.push("nack", json!({"seqs": [sent[1].seq], "failed": true})).await.unwrap();

    house.until_state(sent[1].seq, "dead").await;
    local.ack(&[sent[0].seq]).await;
    house.until_state(sent[0].seq, "confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_a_server_needs_the_right_to_register() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());

    let socket = Channels::connect(&house.server.url).await.unwrap();
    let anonymous = socket.join("server:7", json!({})).await;

    let refused = anonymous.map(|(reply, _)| reply).unwrap_err().to_string();
    assert!(refused.contains("key_required"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_a_socket_pulls_and_answers() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let sent = house.send_many("org/1", 5).await;
    let client = &house.client;

    let first = client.pull("mail", "7", None, (2, 0)).await.unwrap();
    let second = client.pull("mail", "7", Some(first.registration), (10, 0)).await.unwrap();
    let answers = Answers {
        registration: first.registration,
        ack: vec![sent[0].seq, sent[1].seq, sent[2].seq],
        nack: vec![Nack { seq: sent[3].seq, delay_ms: 0, failed: false }],
        reject: vec![Reject { seq: sent[4].seq, reason: "no".into() }],
        not: vec![],
    };
    let outcomes = client.answer_mail("mail", "7", &answers).await.unwrap();
    let again = client.pull("mail", "7", Some(first.registration), (10, 5_000)).await.unwrap();

    assert_eq!((first.messages.len(), second.messages.len()), (2, 3));
    assert!(outcomes.iter().all(|answered| answered.outcome == "ok"), "{outcomes:?}");
    assert_eq!(again.messages[0].seq, sent[3].seq);
    house.until_state(sent[4].seq, "dead").await;
    // Another connection takes over: answers of the first one are refused now.
    let other = client.pull("mail", "7", None, (10, 5_000)).await.unwrap();
    assert_eq!(
        other.messages.first().map(|message| message.seq).or(other.ask.first().copied()),
        Some(sent[3].seq)
    );
    let late =
        Answers { registration: first.registration, ack: vec![sent[3].seq], ..Answers::default() };
    let outcomes = client.answer_mail("mail", "7", &late).await.unwrap();
    assert_eq!(outcomes[0].outcome, "fenced");
    let gone = client.pull("mail", "7", Some(first.registration), (1, 0)).await;
    assert_eq!(refused(gone), ("fenced".into(), 409));
    let never = Answers { registration: other.registration + 5, ..late };
    let answered = client.answer_mail("mail", "7", &never).await;
    assert_eq!(refused(answered), ("not_registered".into(), 409), "as a pull says");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_taken_over_long_poll_too() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let sent = house.send("org/1", json!("hello")).await;
    let http = crate::running::http();
    let base = format!("{}/socket/longpoll?vsn=2.0.0&token=", house.server.url);
    let open: serde_json::Value =
        http.get(format!("{base}{}", house.key())).send().await.unwrap().json().await.unwrap();
    let session = format!("{base}{}", open["token"].as_str().unwrap());
    let post = async |frame: serde_json::Value| {
        http.post(&session).body(frame.to_string()).send().await.unwrap();
    };

    post(json!(["1", "1", "server:7", "phx_join", {}])).await;
    let mut frames: Vec<serde_json::Value> = vec![];
    for _ in 0..20 {
        let polled: serde_json::Value =
            http.get(&session).send().await.unwrap().json().await.unwrap();
        let texts = polled["messages"].as_array().cloned().unwrap_or_default();
        frames.extend(texts.iter().map(|text| match text.as_str() {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => text.clone(),
        }));
        if frames.iter().any(|frame| frame[3] == "message") {
            break;
        }
    }

    let message = frames.iter().find(|frame| frame[3] == "message").expect("a message");
    assert_eq!(got(&message[4]).seq, sent.seq);
    post(json!(["1", "2", "server:7", "ack", {"seqs": [sent.seq]}])).await;
    house.until_state(sent.seq, "confirmed").await;
}
