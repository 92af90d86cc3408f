//! Acks, nacks and rejects of servers, at every door.

use std::time::Duration;

use instep_client::{Answers, Seq};
use serde_json::{Value, json};

use super::local::{Fixture, Local};

async fn given(house: &Fixture, credit: u64) -> Local {
    house.register_with("7", json!({"credit": credit, "have": []})).await.unwrap()
}

fn outcome_of(reply: &Value, seq: Seq) -> &str {
    let all = reply["outcomes"].as_array().unwrap();
    let one = all.iter().find(|one| one["seq"] == seq.0);
    one.unwrap_or_else(|| panic!("nothing about {seq} in {reply}"))["outcome"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_ack_confirms_only_what_this_registration_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7"), ("org/2", "7")]).await;
    let first = house.send("org/1", json!(1)).await.seq;
    let second = house.send("org/2", json!(2)).await.seq;
    let third = house.send("org/1", json!(3)).await.seq;
    // One that dies was given them.
    let mut died = house.register("7").await;
    died.take(3).await;
    drop(died);

    let mut local = house.register("7").await;
    let (event, asked) = local.next_event().await;
    assert_eq!(event, "ask");
    let asked: Vec<Seq> = serde_json::from_value(asked["seqs"].clone()).unwrap();
    assert_eq!(asked, [first, second, third]);

    let reply = local.push("ack", json!({"ranges": [[first, third]]})).await.unwrap();

    assert_eq!(outcome_of(&reply, first), "not_given");
    for seq in asked {
        assert_eq!(house.message(seq).await["state"], "pending");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_stands_for_what_was_read_and_not_for_what_is_on_its_way() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7"), ("org/2", "7")]).await;
    let mut all = vec![];
    for n in 0..20 {
        all.push(house.send(&format!("org/{}", 1 + n % 2), json!(n)).await.seq);
    }
    let mut local = given(&house, 64).await;
    let read: Vec<Seq> = local.take(2).await.iter().map(|message| message.seq).collect();
    assert_eq!(read, [all[0], all[2]], "those of an endpoint come together");

    let reply = local.push("ack", json!({"ranges": [[read[0], read[1]]]})).await.unwrap();

    assert_eq!(reply["outcomes"].as_array().unwrap().len(), 2, "{reply}");
    assert_eq!(house.message(all[0]).await["state"], "confirmed");
    assert_eq!(house.message(all[1]).await["state"], "pending");
    assert_eq!(house.message(all[2]).await["state"], "confirmed");
    let rest = local.take(18).await;
    let last = rest.last().unwrap().seq;
    let reply = local.push("ack", json!({"ranges": [[all[1], last]]})).await.unwrap();
    assert_eq!(reply["outcomes"].as_array().unwrap().len(), 18, "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_has_one_meaning_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let seq = house.send("org/1", json!(1)).await.seq;
    let mut local = house.register("7").await;
    local.take(1).await;
    let http = crate::running::http();
    let generation = local.greeting["generation"].as_u64().unwrap();
    let url = format!("{}/v1/datasets/mail/servers/7/answers", house.server.url);
    for (field, value) in [
        ("delay_ms", json!("60000")),
        ("delay_ms", json!(60000.5)),
        ("delay_ms", json!(-5)),
        ("delay", json!(5)),
        ("failed", json!("true")),
    ] {
        let mut said = json!({"seqs": [seq]});
        said[field] = value.clone();
        let refused = local.push("nack", said).await.unwrap_err().to_string();
        assert!(refused.contains("bad_json"), "{field} {value}: {refused}");

        let mut said = json!({"seq": seq});
        said[field] = value.clone();
        let body = json!({"registration": generation, "nack": [said]});
        let answer = http.post(&url).bearer_auth(house.key()).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{field} {value}");
    }
    assert_eq!(house.message(seq).await["state"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_over_is_given_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let first = house.send("org/1", json!(1)).await.seq;
    let pulled = house.client.pull("mail", "7", None, (10, 0)).await.unwrap();
    let registration = pulled.registration;
    assert_eq!(pulled.messages[0].seq, first);
    assert!(pulled.messages[0].lease_ms <= 60_000, "a length of time");
    assert!(pulled.messages[0].lease_until > 1_700_000_000_000, "a time");
    let answers = Answers { registration, ack: vec![first], ..Answers::default() };
    house.client.answer_mail("mail", "7", &answers).await.unwrap();

    // A pull that was abandoned, and one that ends with nothing.
    let client = house.client.clone();
    let given_up = client.pull("mail", "7", Some(registration), (10, 20_000));
    drop(tokio::time::timeout(Duration::from_millis(300), given_up).await);
    let second = house.send("org/1", json!(2)).await.seq;

    let again = house.client.pull("mail", "7", Some(registration), (10, 5_000)).await.unwrap();
    assert_eq!((again.messages.len(), again.ask.len()), (1, 0), "{again:?}");
    assert_eq!(again.messages[0].seq, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_beside_another_takes_nothing_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let registration = house.client.pull("mail", "7", None, (10, 0)).await.unwrap().registration;
    let client = house.client.clone();
    let waiting = tokio::spawn(async move {
        client.pull("mail", "7", Some(registration), (10, 20_000)).await.unwrap()
    });
    for _ in 0..3 {
        let short = house.client.pull("mail", "7", Some(registration), (10, 0)).await.unwrap();
        assert!(short.messages.is_empty());
    }

    let sent = house.send("org/1", json!(1)).await.seq;

    assert_eq!(waiting.await.unwrap().messages[0].seq, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_pulls_goes_on_after_a_restart_unless_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let sent = house.send_many("org/1", 2).await;
    let first = house.client.pull("mail", "7", None, (10, 2_000)).await.unwrap();
    let registration = first.registration;

    house.server.signal("-KILL");
    house.server.start_again();

    let answers = Answers { registration, ack: vec![sent[0].seq], ..Answers::default() };
    let outcomes = house.client.answer_mail("mail", "7", &answers).await.unwrap();
    assert_eq!(outcomes[0].outcome, "ok");
    let again = house.client.pull("mail", "7", Some(registration), (10, 5_000)).await.unwrap();
    assert_eq!(again.messages[0].seq, sent[1].seq);
    let unknown = house.client.pull("mail", "7", Some(registration + 5), (10, 0)).await;
    assert_eq!(super::refused(unknown), ("not_registered".into(), 409));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_names_messages_it_has_not_got_and_gets_them_in_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[[mail]]\ndataset = 'mail'\nlease_ms = 200\nask_ms = 100\n";
    let house = Fixture::open_with(directory.path(), config);
    house.route(&[("org/1", "7")]).await;
    let sent = house.send_many("org/1", 3).await;
    let first = house.client.pull("mail", "7", None, (2, 2_000)).await.unwrap();
    let registration = first.registration;
    let asked = loop {
        let pulled = house.client.pull("mail", "7", Some(registration), (1, 500)).await.unwrap();
        if !pulled.ask.is_empty() {
            break pulled.ask;
        }
    };
    assert!(asked.contains(&sent[0].seq), "{asked:?}");

    let answers = Answers { registration, not: vec![sent[0].seq], ..Answers::default() };
    let outcomes = house.client.answer_mail("mail", "7", &answers).await.unwrap();

    let told = outcomes.iter().map(|one| (one.seq, &*one.outcome)).collect::<Vec<_>>();
    assert_eq!(told, [(sent[0].seq, "ok")], "one for each message");
    let again = house.client.pull("mail", "7", Some(registration), (10, 5_000)).await.unwrap();
    assert_eq!(again.messages[0].seq, sent[0].seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn i46_messages_that_expired_while_the_server_was_away_are_not_given() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let body = |n: u64| json!({"to": "org/1", "body": n, "ttl_ms": 1_500});
    let http = crate::running::http();
    let url = format!("{}/v1/datasets/mail/queues/mail/messages", house.server.url);
    for _ in 0..5 {
        let all: Vec<Value> = (0..1_000).map(body).collect();
        let sent = http.post(&url).bearer_auth(house.key()).json(&json!({"messages": all}));
        assert_eq!(sent.send().await.unwrap().status(), 201);
    }
    let last = house.send("org/1", json!("lives")).await.seq;
    house.server.signal("-KILL");
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    house.server.start_again();

    let pulled = house.client.pull("mail", "7", None, (1_000, 5_000)).await.unwrap();

    assert_eq!(pulled.messages.iter().map(|one| one.seq).collect::<Vec<_>>(), [last]);
}
