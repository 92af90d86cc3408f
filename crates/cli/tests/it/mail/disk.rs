//! A disk that is full: what could not be stored is told, and nothing of it is there.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use instep_client::{ChannelError, NewMessage, Seq};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::local::{Fixture, Local, got, seqs};
use super::{letter, refused};
use crate::running::{PATIENCE, instep, stdout, text};
use crate::shims::until;

/// Small segments, so that a full disk is soon a full log.
const CONFIG: &str = "
[[mail]]
dataset = 'mail'
lease_ms = 1000
ask_ms = 500

[log]
segment_bytes = 262144
";

/// A file system of its own that can be filled and emptied again.
pub(crate) struct Disk {
    root: tempfile::TempDir,
}

impl Disk {
    /// None, with a word about it, where nothing can be mounted.
    pub(crate) fn mount() -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_str().unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=32m", "tmpfs", path];
        let mounted = Command::new("mount").args(arguments).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { root });
        }
        eprintln!("skipped: a file system cannot be mounted here");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    fn ballast(&self) -> PathBuf {
        self.root.path().join("ballast")
    }

    /// Takes all the room that there is.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        for size in [64 * 1024, 4096] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server may still hold files on it: a lazy unmount waits for them.
        let _ = Command::new("umount").arg("--lazy").arg(self.root.path()).status();
    }
}

impl Fixture {
    /// Sends less and less until the log takes nothing any more.
    async fn fill_log(&self, to: &str) {
        let mut bytes = 60_000;
        while bytes > 0 {
            let letter = NewMessage { body: json!("x".repeat(bytes)), ..letter(to) };
            match self.client.send_mail("mail", "mail", &[letter]).await {
                Ok(_) => {}
                refusal => {
                    assert_eq!(refused(refusal), ("storage_full".into(), 507));
                    bytes /= 8;
                }
            }
        }
    }

    /// The books of the queue.
    async fn books(&self) -> Value {
        self.client.mail("mail").await.unwrap()["queues"][0].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_27_a_message_that_finds_no_room_is_refused_and_nothing_of_it_is_stored() {
    let Some(disk) = Disk::mount() else { return };
    let mut house = Fixture::open_with(disk.path(), CONFIG);
    house.route(&[("org/1", "1")]).await;
    house.client.create_table("mail", "orders", false).await.unwrap();
    disk.fill();
    house.fill_log("org/1").await;
    let before = house.books().await;
    let id = Some("018f3a5e-0000-7000-8000-000000000027".to_owned());
    let wanted = NewMessage { id, ..letter("org/1") };
    let send = async |letters: &[NewMessage]| house.client.send_mail("mail", "mail", letters).await;

    let alone = send(std::slice::from_ref(&wanted)).await;
    let several = send(&[letter("org/1"), wanted.clone(), letter("org/1")]).await;
    let ops = [
        json!({"op": "put", "table": "orders", "key": "1", "row": {"paid": true}}),
        json!({"op": "send", "queue": "mail", "to": "org/1", "body": {"order": 1}}),
    ];
    let with_a_row = house.client.commit("mail", &ops, None).await;
    disk.empty();

    let full = ("storage_full".to_owned(), 507);
    assert_eq!(refused(alone), full);
    assert_eq!(refused(several), full);
    assert_eq!(refused(with_a_row), full);
    assert_eq!(house.books().await, before, "nothing is half stored");
    assert!(house.client.row("mail", "orders", "1").await.is_err());
    let stored = before["stored"].as_u64().unwrap();
    let sent = send(std::slice::from_ref(&wanted)).await.unwrap();
    let again = send(&[wanted]).await.unwrap();
    assert_eq!((sent[0].seq, &again), (Seq(stored + 1), &sent), "the same id is stored once");
    house.server.signal("-KILL");
    house.server.start_again();
    assert_eq!(house.books().await["stored"], stored + 1);
    let mut local = house.register_with("1", json!({"credit": 1_024})).await.unwrap();
    let all = local.take(usize::try_from(stored).unwrap() + 1).await;
    assert_eq!(seqs(&all), (1..=stored + 1).map(Seq).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn smq_27_a_confirmation_that_finds_no_room_is_asked_for_again_and_counts_once() {
    const MESSAGES: u64 = 200;
    let Some(disk) = Disk::mount() else { return };
    let house = Fixture::open_with(disk.path(), CONFIG);
    house.route(&[("org/1", "1"), ("org/9", "9")]).await;
    house.send_many("org/1", MESSAGES).await;
    let mut local = house.register_with("1", json!({"credit": 1_024})).await.unwrap();
    let given = local.take(MESSAGES as usize).await;
    disk.fill();
    house.fill_log("org/9").await;

    // A confirmation is so small that some find room.
    let mut refused = vec![];
    for message in &given {
        match local.push("ack", json!({"seqs": [message.seq]})).await {
            Ok(answer) => assert_eq!(answer["outcomes"][0]["outcome"], "ok", "{answer}"),
            Err(error) => refused.push((message, no_room(error))),
        }
    }
    let [(done, first), (undone, second), ..] = &refused[..] else { panic!("all found room") };
    local.is_asked_for(done.seq).await;
    let while_full = local.push("answer", json!({"have": [done.seq], "not": []})).await;
    let pending = house.message(done.seq).await;
    disk.empty();
    local.is_asked_for(done.seq).await;
    let after = local.push("answer", json!({"have": [done.seq], "not": [undone.seq]})).await;
    let again = local.is_given(undone.seq).await;

    assert_eq!((&**first, &**second), ("storage_full", "storage_full"));
    assert_eq!(no_room(while_full.unwrap_err()), "storage_full");
    assert_eq!((&pending["state"], &pending["id"]), (&json!("pending"), &json!(done.id)));
    let both = [done.seq, undone.seq].map(|seq| json!({"seq": seq, "outcome": "ok"}));
    assert_eq!(after.unwrap()["outcomes"], json!(both));
    assert_eq!(again.id, undone.id, "given again under its id");
    local.ack(&seqs(&given)).await;
    let books = house.books().await;
    assert_eq!(books["confirmed"], MESSAGES, "each once: {books}");
    assert_eq!((&books["dead"], &books["expired"]), (&json!(0), &json!(0)));
}

/// The code of a refusal on a channel.
fn no_room(error: ChannelError) -> String {
    match error {
        ChannelError::Refused(refusal) => refusal["reason"].as_str().unwrap().to_owned(),
        other => panic!("not refused: {other}"),
    }
}

impl Local {
    /// Waits for a question about a message; nothing is answered.
    async fn is_asked_for(&mut self, seq: Seq) {
        self.until("ask", |payload| {
            payload["seqs"].as_array().unwrap().iter().any(|asked| *asked == seq.0)
        })
        .await;
    }

    /// Waits until a message is given again.
    async fn is_given(&mut self, seq: Seq) -> super::local::Got {
        got(&self.until("message", |payload| payload["seq"] == seq.0).await)
    }

    async fn until(&mut self, wanted: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let (event, payload) =
                timeout(PATIENCE, self.next_event()).await.expect("something to happen");
            if event == wanted && fits(&payload) {
                return payload;
            }
        }
        panic!("no such {wanted}");
    }
}

/// A snapshot every second, and a log that keeps everything.
const SNAPSHOTS: &str = "
[[mail]]
dataset = 'mail'

[log]
snapshot_after_seconds = 1
";

#[tokio::test(flavor = "multi_thread")]
async fn bodies_whose_file_is_gone_or_cannot_be_read_come_from_the_log() {
    const MESSAGES: u64 = 60;
    for damage in ["gone", "garbage", "empty"] {
        let directory = tempfile::tempdir().unwrap();
        let mut house = Fixture::open_with(directory.path(), SNAPSHOTS);
        house.route(&[("org/1", "1")]).await;
        house.send_many("org/1", MESSAGES).await;
        let mail = house.server.data.join("datasets").join("mail");
        let file = mail.join("bodies.db");
        let until = Instant::now() + PATIENCE;
        let shown = house.server.json(&["dataset", "show", "mail"]);
        let position = shown["position"].as_str().unwrap().to_owned();
        let revision = position.split('-').nth(1).unwrap();
        let is_behind = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".snapshot").is_some_and(|of| of >= revision)
        };
        while !std::fs::read_dir(mail.join("snapshots")).unwrap().any(is_behind) {
            assert!(Instant::now() < until, "a snapshot of all messages is written");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        house.server.signal("-KILL");
        let _ = std::fs::remove_file(mail.join("bodies.db-wal"));
        match damage {
            "gone" => std::fs::remove_file(&file).unwrap(),
            "garbage" => std::fs::write(&file, b"garbage".repeat(1_000)).unwrap(),
            _ => std::fs::write(&file, b"").unwrap(),
        }

        let checked = instep(&["check", text(&mail)]);
        assert_eq!(checked.status.code(), Some(4), "{damage}: {}", stdout(&checked));
        assert!(stdout(&checked).contains("bodies"), "{}", stdout(&checked));
        house.server.start_again();
        let mut local = house.register_with("1", json!({"credit": 1_024})).await.unwrap();
        let all = local.take(MESSAGES as usize).await;

        let bodies: Vec<Value> = all.iter().map(|one| one.body.clone()).collect();
        let sent: Vec<Value> = (0..MESSAGES).map(|n| json!({"n": n})).collect();
        assert_eq!(bodies, sent, "{damage}");
        assert_eq!(house.books().await["dead"], 0, "{damage}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_whose_file_breaks_under_a_running_server_come_from_the_log_as_well() {
    const MESSAGES: u64 = 60;
    for damage in ["gone", "garbage"] {
        let directory = tempfile::tempdir().unwrap();
        let short = "lease_ms = 1000\nask_ms = 500\n[log]";
        let mut house = Fixture::open_with(directory.path(), &SNAPSHOTS.replace("[log]", short));
        house.route(&[("org/1", "1")]).await;
        house.send_many("org/1", MESSAGES).await;
        let metric = |house: &Fixture, line: &str| {
            house.server.request("GET", "/metrics").1.lines().any(|found| found == line)
        };
        let spilled = "instep_mail_young_bytes{dataset=\"mail\"} 0";
        until("all bodies are on the disk", || metric(&house, spilled));
        let mail = house.server.data.join("datasets").join("mail");
        match damage {
            "gone" => std::fs::remove_file(mail.join("bodies.db")).unwrap(),
            _ => std::fs::write(mail.join("bodies.db"), b"garbage".repeat(1_000)).unwrap(),
        }

        let mut local = house.register_with("1", json!({"credit": 1_024})).await.unwrap();
        let all = local.take(MESSAGES as usize).await;

        let bodies: Vec<Value> = all.iter().map(|one| one.body.clone()).collect();
        let sent: Vec<Value> = (0..MESSAGES).map(|n| json!({"n": n})).collect();
        assert_eq!(bodies, sent, "{damage}");
        assert_eq!(house.books().await["dead"], 0, "{damage}");
        until("nothing is wrong any more", || house.server.request("GET", "/readyz").0 == 200);
        assert!(metric(&house, "instep_dataset_degraded{dataset=\"mail\"} 0"));
        assert_eq!(mail.join("damaged/bodies-1").exists(), damage == "garbage");
        house.server.signal("-KILL");
        house.server.start_again();
        assert_eq!(house.books().await["dead"], 0, "{damage}");
    }
}
