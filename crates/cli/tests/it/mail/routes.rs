//! Moves, filling in, audits, and mappings from outside.

use std::time::Duration;

use instep_client::{MessageQuery, NewMessage, Seq};
use serde_json::{Value, json};

use super::local::{CONFIG, Fixture, seqs};
use super::{letter, refused};
use crate::running::hold_time;

// SMQ-R2: what a migration leaves behind is moved, or found.
#[tokio::test(flavor = "multi_thread")]
async fn smq_11_a_moved_endpoints_unfinished_messages_move_in_order_with_their_ids() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "1"), ("org/9", "1")]).await;
    let sent = house.send_many("org/1", 1_000).await;
    house.send("org/9", json!("stays")).await;
    let mut old = house.register_with("1", json!({"credit": 32})).await.unwrap();
    let mut new = house.register("2").await;
    let mut confirmed = vec![];
    while confirmed.len() < 100 {
        let message = old.next().await;
        if message.to == "org/1" {
            old.ack(&[message.seq]).await;
            confirmed.push(message.seq);
        }
    }

    let moved = house.client.move_endpoint("mail", "org/1", "2", None).await.unwrap();
    let late = old.next_message_of("org/1").await;
    let mut got = vec![];
    while confirmed.len() + got.len() < 1_000 {
        let message = new.next().await;
        new.ack(&[message.seq]).await;
        got.push(message);
    }

    assert_eq!((moved.from.as_deref(), &*moved.to), (Some("1"), "2"));
    let expected: Vec<Seq> =
        sent.iter().map(|sent| sent.seq).filter(|seq| !confirmed.contains(seq)).collect();
    assert_eq!(seqs(&got), expected, "all that was not confirmed, in order");
    let ids: Vec<&str> = got.iter().map(|message| &*message.id).collect();
    let sent_ids: Vec<&str> =
        sent.iter().filter(|sent| expected.contains(&sent.seq)).map(|sent| &*sent.id).collect();
    assert_eq!(ids, sent_ids);
    if let Some(seq) = late {
        // What the old server says about it now is refused, and told so.
        let answer = old.ack(&[seq]).await;
        let outcome = &answer["outcomes"][0]["outcome"];
        assert!(["not_yours", "fenced", "done"].contains(&outcome.as_str().unwrap()), "{answer}");
    }
    let sent = house.send("org/1", json!("new")).await;
    assert_eq!(sent.server.as_deref(), Some("2"));
    assert_eq!(new.next().await.seq, sent.seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_12_a_move_that_is_cut_by_a_kill_ends_on_one_side() {
    for pause in [0, 1, 3, 8] {
        let directory = tempfile::tempdir().unwrap();
        let mut house = Fixture::open(directory.path());
        house.route(&[("org/1", "1")]).await;
        house.send_many("org/1", 2_000).await;

        let client = house.client.clone();
        let moving =
            tokio::spawn(async move { client.move_endpoint("mail", "org/1", "2", None).await });
        tokio::time::sleep(Duration::from_millis(pause)).await;
        house.server.signal("-KILL");
        let answered = moving.await.unwrap().is_ok();
        house.server.start_again();

        let count = async |server: &str| {
            let limit = Some(1_000);
            let query =
                MessageQuery { server: Some(server.into()), limit, ..MessageQuery::default() };
            house.client.messages("mail", "mail", &query).await.unwrap().messages.len()
        };
        let sides = (count("1").await, count("2").await);
        if answered {
            assert_eq!(sides, (0, 1_000), "a page of each")
        } else {
            assert!([(1_000, 0), (0, 1_000)].contains(&sides), "a mix: {sides:?}")
        }
        assert_eq!(house.client.audit_mail("mail").await.unwrap(), []);
    }
}

// SMQ-R4: one command that can be repeated, instead of files swapped by hand.
#[tokio::test(flavor = "multi_thread")]
async fn smq_13_routes_are_filled_in_repeatably_and_failures_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.route(&[("org/1", "1")]).await;
    let letter = |n: usize| {
        let to = if n % 3_000 == 500 { format!("org/none{n}") } else { "org/1".into() };
        NewMessage { to, body: json!({"n": n}), ..NewMessage::default() }
    };
    // 3 of 10,000 have no route: 500, 3,500, 6,500 (9,500 is one of the routed ones).
    let letters: Vec<NewMessage> =
        (0..10_000).map(|n| if n == 9_500 { letter(1) } else { letter(n) }).collect();
    for letters in letters.chunks(500) {
        house.client.import_mail("mail", "mail", letters).await.unwrap();
    }
    assert_eq!(house.client.mail("mail").await.unwrap()["unrouted"], 10_000);

    // Killed half-way; a second run completes it.
    let turn = house.client.backfill("mail", "mail", None).await.unwrap();
    assert!(turn.routed > 0 && turn.next.is_some());
    house.server.signal("-KILL");
    house.server.start_again();
    let first = house.server.instep(&["mail", "backfill", "--json"]);
    let second = house.server.instep(&["mail", "backfill", "--json"]);

    let read = |output: &std::process::Output| -> Value {
        serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap()
    };
    assert_eq!(first.status.code(), Some(9), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(read(&first)["routed"].as_u64().unwrap() + turn.routed, 9_997);
    assert_eq!(read(&first)["failed"].as_array().unwrap().len(), 3);
    assert_eq!((second.status.code(), &read(&second)["routed"]), (Some(9), &json!(0)));
    assert_eq!(house.client.mail("mail").await.unwrap()["unrouted"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_14_unrouted_messages_are_seen_and_never_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let mut house = Fixture::open(directory.path());
    house.client.import_mail("mail", "mail", &[letter("org/1"), letter("org/2")]).await.unwrap();
    house.server.signal("-KILL");
    house.server.start_again();

    assert_eq!(house.client.mail("mail").await.unwrap()["unrouted"], 2);
    let metrics = house.metrics().await;
    assert!(metrics.contains("instep_mail_unrouted{dataset=\"mail\"} 2"), "{metrics}");

    house.route(&[("org/1", "1")]).await;
    let mut local = house.register("1").await;
    house.client.backfill("mail", "mail", None).await.unwrap();
    assert_eq!(local.next().await.to, "org/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_25_an_assignment_edited_without_a_move_is_found_and_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path());
    house.route(&[("org/1", "1")]).await;
    house.send_many("org/1", 3).await;
    let edit = json!({
        "op": "patch", "table": "directory", "key": "org/1", "fields": {"server": "2"},
    });
    house.client.commit("mail", &[edit], None).await.unwrap();

    let found = house.server.instep(&["mail", "audit"]);
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    let repaired = house.server.instep(&["mail", "audit", "--repair"]);
    let clean = house.server.instep(&["mail", "audit"]);

    assert_eq!(found.status.code(), Some(9));
    assert!(text.contains("org/1: 3 messages for server 1"), "{text}");
    assert!(text.contains("instep mail move org/1 --to server/2"), "{text}");
    assert_eq!((repaired.status.code(), clean.status.code()), (Some(0), Some(0)));
    let mut local = house.register("2").await;
    assert_eq!(local.take(3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_09_the_mapping_is_given_from_outside() {
    let directory = tempfile::tempdir().unwrap();
    let config = |field: &str| {
        format!(
            "[[table]]\ndataset = 'mail'\nname = 'assignments'\n\n[[mail]]\ndataset = 'mail'\n\n\
             [[mail.kind]]\nname = 'shop'\nnumber = 1\ntable = 'assignments'\nfield = '{field}'\n"
        )
    };
    let mut house = Fixture::open_with(directory.path(), &config("primary"));
    let row = json!({
        "op": "put", "table": "assignments", "key": "shop/1",
        "row": {"primary": "1", "backup": "2"},
    });
    house.client.commit("mail", &[row], None).await.unwrap();
    assert_eq!(house.send("shop/1", json!(1)).await.server.as_deref(), Some("1"));

    house.server.signal("-TERM");
    std::fs::write(directory.path().join("instep.toml"), config("backup")).unwrap();
    house.server.start_again();

    assert_eq!(house.send("shop/1", json!(2)).await.server.as_deref(), Some("2"));
    let unknown = letter("org/1");
    assert_eq!(refused(house.client.send_mail("mail", "mail", &[unknown]).await).1, 400);
}

// SMQ-25: a mapping that was changed leaves messages behind, too, and no move reaches them.
#[tokio::test(flavor = "multi_thread")]
async fn smq_09_messages_routed_by_an_old_mapping_are_found_and_re_addressed() {
    let directory = tempfile::tempdir().unwrap();
    let config = |user: &str| {
        format!(
            "[[mail]]\ndataset = 'mail'\n\n\
             [[mail.kind]]\nname = 'org'\nnumber = 1\nby_directory = true\n\n\
             [[mail.kind]]\nname = 'user'\nnumber = 2\n{user}\n"
        )
    };
    let mut house = Fixture::open_with(directory.path(), &config("follows = 'org'"));
    house.route(&[("org/1", "1")]).await;
    for user in ["user/1/a", "user/1/b"] {
        house.send(user, json!(1)).await;
        house.send(user, json!(2)).await;
    }
    house.server.signal("-TERM");
    std::fs::write(directory.path().join("instep.toml"), config("by_directory = true")).unwrap();
    house.server.start_again();
    house.route(&[("user/1/a", "2")]).await;

    let found = house.server.instep(&["mail", "audit"]);
    let repaired = house.server.instep(&["mail", "audit", "--repair"]);
    house.route(&[("user/1/b", "2")]).await;
    house.server.must(&["mail", "readdress", "user/1/b"]);
    let clean = house.server.instep(&["mail", "audit"]);

    let text = crate::running::stdout(&found);
    let wanted =
        "user/1/a: 2 messages for server 1, its route says server 2: instep mail readdress";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("user/1/b: 2 messages for server 1, its route says nowhere"), "{text}");
    let codes = [&found, &repaired, &clean].map(|output| output.status.code());
    assert_eq!(codes, [Some(9), Some(9), Some(0)], "one had no route yet");
    let mut local = house.register("2").await;
    let got = local.take(4).await;
    for user in ["user/1/a", "user/1/b"] {
        assert_eq!(super::local::of(&got, user), [json!(1), json!(2)]);
    }
}

#[test]
fn smq_09_without_a_map_nothing_starts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instep.toml");
    let data = directory.path().join("data");
    std::fs::write(&path, "[[mail]]\ndataset = 'mail'\n[[mail.kind]]\nname = 'shop'\nnumber = 1\n")
        .unwrap();

    let arguments = ["serve", "--config", path.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let output = crate::running::instep(&arguments);

    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("mail[0].kind[0]"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_08_a_list_of_a_thousand_servers_is_cheap() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open_with(directory.path(), CONFIG);
    let letters: Vec<NewMessage> = (0..1_000).map(|n| letter(&format!("server/{n}"))).collect();
    for letters in letters.chunks(500) {
        house.client.send_mail("mail", "mail", letters).await.unwrap();
    }
    house.client.mail_servers("mail").await.unwrap();

    let began = std::time::Instant::now();
    let servers = house.client.mail_servers("mail").await.unwrap();
    let took = began.elapsed();
    let detail = house.client.mail_servers_in_detail("mail").await.unwrap();

    assert_eq!((servers.len(), detail.len()), (1_000, 1_000));
    assert!(detail.iter().all(|server| server.pending == 1 && !server.registered));
    hold_time("a list of a thousand servers", took, Duration::from_millis(50));
}
