//! Records of the log, and the entries around them.

use bytes::Bytes;
use uuid::Uuid;

use super::{Vector, hold, hold_enum};
use crate::commit::{Commit, CommitId, Entry, Record, TableOptions};
use crate::mail::{MailRecord, Seq};
use crate::name::{Key, Name};
use crate::registration::Generation;
use crate::row::Row;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn row(json: &str) -> Row {
    Row::from_canonical(json.as_bytes())
}

#[test]
fn every_record_is_stored_as_it_always_was() {
    let (table, key) = (name("items"), Key::new("größe 42/ö").unwrap());
    let records = [
        ("", Record::Put { table: table.clone(), key: key.clone(), row: row(r#"{"n":1.5}"#) }),
        ("", Record::Delete { table: table.clone(), key }),
        (
            "",
            Record::Append {
                journal: name("trail"),
                ordinal: 300,
                bytes: Bytes::from_static(b"\0\xff"),
            },
        ),
        (
            "public",
            Record::CreateTable { table: table.clone(), options: TableOptions { public: true } },
        ),
        ("private", Record::CreateTable { table: table.clone(), options: TableOptions::default() }),
        ("", Record::DropTable { table }),
        ("", Record::CreateJournal { journal: name("trail") }),
        ("", Record::Mail(MailRecord::Queue { queue: name("mail") })),
    ];

    hold_enum("records.txt", &records);
}

#[test]
fn every_record_of_mail_is_stored_as_it_always_was() {
    let stored = |server: Option<&str>, via: Option<&str>| MailRecord::Stored {
        seq: Seq(300),
        queue: name("mail"),
        id: Uuid::from_u128(0x0102_0304_0506_7708_890a_0b0c_0d0e_0f10),
        to: "org/1".into(),
        server: server.map(str::to_owned),
        via: via.map(str::to_owned),
        generation: 2,
        priority: 4,
        not_before: 1_700_000_000_000,
        expires: 0,
        digest: u64::MAX,
        body: Bytes::from_static(br#"{"n":1}"#),
    };
    let (to, by) = ("org/1".to_owned(), Some("org/1".to_owned()));
    let server = "7".to_owned();
    let records = [
        ("", MailRecord::Queue { queue: name("mail") }),
        ("with a route", stored(Some("7"), Some("org/1"))),
        ("without a route", stored(None, None)),
        (
            "",
            MailRecord::Routed {
                seq: Seq(1),
                server: server.clone(),
                via: by.clone(),
                generation: 3,
            },
        ),
        ("", MailRecord::Moved { via: to.clone(), server: server.clone(), generation: 4 }),
        ("", MailRecord::Registered { server: server.clone(), generation: Generation(5) }),
        ("", MailRecord::Confirmed { seq: Seq(6) }),
        ("", MailRecord::Expired { seq: Seq(7) }),
        ("", MailRecord::Delayed { seq: Seq(8), attempts: 1, not_before: 1_700_000_000_000 }),
        ("", MailRecord::Released { seq: Seq(9) }),
        ("", MailRecord::DeadLettered { seq: Seq(10), attempts: 300, reason: "why".into() }),
        ("", MailRecord::Retried { seq: Seq(11) }),
        ("", MailRecord::Forgotten { seqs: vec![Seq(1), Seq(300)] }),
        (
            "",
            MailRecord::Readdressed {
                endpoint: "app/2".into(),
                server: server.clone(),
                via: by,
                generation: 12,
            },
        ),
        ("", MailRecord::SentBy { seq: Seq(13), scope: u64::MAX }),
        ("", MailRecord::ServersForgotten { servers: vec![server, "8".into()] }),
    ];

    hold_enum("mail_records.txt", &records);
}

#[test]
fn an_entry_is_stored_as_it_always_was() {
    let commit_id = CommitId {
        principal: "admin".into(),
        id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        digest: 0x0102_0304_0506_0708,
        earlier: None,
    };
    let put = Record::Put {
        table: name("items"),
        key: Key::new("a").unwrap(),
        row: row(r#"{"text":"ä"}"#),
    };
    let commits = vec![
        Commit { commit_id: Some(commit_id), results: vec![None, Some(-7)], records: vec![put] },
        Commit { commit_id: None, results: vec![], records: vec![] },
    ];
    let entry = |commits: Vec<Commit>| Entry {
        writer: Uuid::from_u128(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f10),
        sequence: 300,
        time_ms: 1_700_000_000_000,
        history: u64::MAX,
        commits,
    };
    let entries = [("with commits", entry(commits)), ("without commits", entry(vec![]))];
    let vectors = entries.each_ref().map(|(name, entry)| Vector::new(name, entry, entry.encode()));

    for (committed, (name, entry)) in hold("entries.txt", &vectors).iter().zip(entries) {
        assert_eq!(Entry::decode(&committed.bytes), Ok(entry), "{name}");
    }
}
