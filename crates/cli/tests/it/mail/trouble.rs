//! Bad input, hostile servers, old messages.

use std::time::Duration;

use instep_client::{Answers, NewMessage, Seq};
use serde_json::{Value, json};

use super::local::Fixture;
use super::{letter, refused};
use crate::running::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_by_name_and_store_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "7")]).await;
    let send =
        async |letter: NewMessage| refused(house.client.send_mail("mail", "mail", &[letter]).await);

    let large = NewMessage { body: json!("x".repeat(300 * 1024)), ..letter("org/1") };
    assert_eq!(send(large).await.1, 413);
    let bad_id = NewMessage { id: Some("not a uuid".into()), ..letter("org/1") };
    assert_eq!(send(bad_id).await.1, 400);
    let long = letter(&format!("org/{}", "1".repeat(1_000)));
    assert_eq!(send(long).await.1, 400);
    assert_eq!(super::count(&house).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_strangers_are_not_confirmed_and_one_bad_number_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "1"), ("org/2", "2")]).await;
    let mine = house.send("org/1", json!(1)).await;
    let theirs = house.send("org/2", json!(2)).await;
    let mut local = house.register("1").await;
    local.next().await;

    let answer = local.ack(&[theirs.seq, mine.seq, Seq(999_999)]).await;
    let again = local.ack(&[mine.seq]).await;

    let outcome = |answer: &serde_json::Value, seq: Seq| {
        let all = answer["outcomes"].as_array().unwrap();
        let found = all.iter().find(|one| one["seq"] == seq.0).unwrap();
        found["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome(&answer, theirs.seq), "not_yours");
    assert_eq!(outcome(&answer, Seq(999_999)), "unknown_message");
    assert_eq!(
        (outcome(&answer, mine.seq), outcome(&again, mine.seq)),
        ("ok".into(), "done".into())
    );
    assert_eq!(house.message(theirs.seq).await["state"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_reads_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "1"), ("org/2", "2")]).await;
    let big = json!("x".repeat(100 * 1024));
    for _ in 0..60 {
        house.send("org/1", big.clone()).await;
    }
    // A socket that joins and reads nothing any more.
    let mut deaf = crate::mail::local::Deaf::join(&house, "1").await;
    let mut local = house.register("2").await;

    for n in 0..50 {
        let sent = house.send("org/2", json!(n)).await;
        assert_eq!(local.next().await.seq, sent.seq);
        local.ack(&[sent.seq]).await;
    }

    deaf.is_there().await;
    let detail = house.client.mail_servers_in_detail("mail").await.unwrap();
    let of_one = detail.iter().find(|server| server.server == "1").unwrap();
    assert_eq!((of_one.pending, of_one.registered), (60, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_everything_is_given_less_and_less_and_others_all() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open_with(
        directory.path(),
        "[[mail]]\ndataset = 'mail'\nretry_ms = 100\nmax_attempts = 100\n",
    );
    house.route(&[("org/1", "1"), ("org/2", "2")]).await;
    house.send("org/1", json!(1)).await;
    let mut angry = house.register("1").await;
    let mut local = house.register("2").await;

    let angry = tokio::spawn(async move {
        let mut given = 0;
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while let Ok(message) = tokio::time::timeout_at(until, angry.next()).await {
            given += 1;
            let nack = json!({"seqs": [message.seq], "failed": true});
            angry.push("nack", nack).await.unwrap();
        }
        given
    });
    for n in 0..50 {
        let sent = house.send("org/2", json!(n)).await;
        assert_eq!(local.next().await.seq, sent.seq);
        local.ack(&[sent.seq]).await;
    }

    let given = angry.await.unwrap();
    assert!((2..=8).contains(&given), "without back-off it would be thousands: {given}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_message_expires_whether_it_waits_or_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "1"), ("org/2", "2")]).await;
    let mut local = house.register("1").await;
    let short = |to: &str| NewMessage { ttl_ms: Some(700), ..letter(to) };
    let sent = house
        .client
        .send_mail("mail", "mail", &[short("org/1"), short("org/2"), letter("org/2")])
        .await
        .unwrap();
    let given = local.next().await;
    assert_eq!(given.seq, sent[0].seq);

    house.until_state(sent[0].seq, "expired").await;
    house.until_state(sent[1].seq, "expired").await;

    let answer = local.ack(&[given.seq]).await;
    assert_eq!(answer["outcomes"][0]["outcome"], "done", "{answer}");
    let mut other = house.register("2").await;
    assert_eq!(other.next().await.seq, sent[2].seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn i35_a_message_that_kills_its_server_becomes_a_dead_letter_and_its_neighbours_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open_with(
        directory.path(),
        "[[mail]]\ndataset = 'mail'\nmax_attempts = 3\nretry_ms = 20\n",
    );
    house.route(&[("org/1", "1")]).await;
    let sent = house.send_many("org/1", 20).await;
    let poison = sent[3].seq;

    let mut confirmed = std::collections::BTreeSet::new();
    for _ in 0..40 {
        if confirmed.len() == 19 && house.message(poison).await["state"] == "dead" {
            break;
        }
        let mut local = house.register("1").await;
        while let Ok(message) = tokio::time::timeout(Duration::from_millis(700), local.next()).await
        {
            if message.seq == poison {
                local.push("started", json!({"seqs": [poison]})).await.unwrap();
                break;
            }
            local.ack(&[message.seq]).await;
            confirmed.insert(message.seq);
        }
    }

    house.until_state(poison, "dead").await;
    assert_eq!(confirmed.len(), 19, "one dead letter, and no neighbour");
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_u2_old_and_dead_messages_show_in_the_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "1")]).await;
    let sent = house.send_many("org/1", 2).await;
    let client = &house.client;
    let pulled = client.pull("mail", "1", None, (1, 2_000)).await.unwrap();
    let reject = vec![instep_client::Reject { seq: sent[0].seq, reason: "no".into() }];
    let answers = Answers { registration: pulled.registration, reject, ..Answers::default() };
    client.answer_mail("mail", "1", &answers).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let metrics = house.metrics().await;

    assert!(metrics.contains("instep_mail_pending{dataset=\"mail\"} 1"), "{metrics}");
    assert!(metrics.contains("instep_mail_dead{dataset=\"mail\"} 1"), "{metrics}");
    let oldest = "instep_mail_oldest_seconds{dataset=\"mail\"} ";
    let oldest = metrics.lines().find_map(|line| line.strip_prefix(oldest)).unwrap();
    assert!(oldest.parse::<f64>().unwrap() >= 1.0, "{oldest}");
    let servers = client.mail_servers_in_detail("mail").await.unwrap();
    assert!(servers[0].oldest_ms.unwrap() >= 1_000);
}

/// Servers that come and go under names of their own, as workers that are scaled do.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_were_used_once_are_forgotten_and_their_numbers_fit_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[[mail]]\ndataset = 'mail'\nkeep_hours = 0\n";
    let mut house = Fixture::open_with(directory.path(), config);
    house.route(&[("org/1", "7")]).await;
    let mut newest = 0;
    for number in 0..20 {
        let local = house.register(&format!("once-{number}")).await;
        newest = newest.max(local.greeting["generation"].as_u64().unwrap());
    }
    let mut stays = house.register("7").await;
    house.send("user/1/a", json!(1)).await;
    let got = stays.next().await;
    stays.ack(&[got.seq]).await;
    let servers = async |house: &Fixture| {
        let (status, told) = house.server.request("GET", "/v1/datasets/mail/servers");
        assert_eq!(status, 200, "{told}");
        serde_json::from_str::<Value>(&told).unwrap()["servers"].clone()
    };

    let begun = std::time::Instant::now();
    while servers(&house).await != json!(["7"]) {
        assert!(begun.elapsed() < PATIENCE, "they are not forgotten");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    drop(stays);
    for signal in ["-KILL", "-TERM"] {
        house.server.signal(signal);
        house.server.start_again();
        let again = house.register("once-3").await;
        let generation = again.greeting["generation"].as_u64().unwrap();
        assert!(generation > newest, "{generation} was given out before");
        newest = generation;
    }
}
