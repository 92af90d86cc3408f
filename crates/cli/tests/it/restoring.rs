//! Backups by copy, and what becomes of readers when one is put back.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::running::{Server, instep, stderr, stdout, text};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn put(server: &Server, key: &str) {
    server.must(&["table", "put", "d", "t", key, "{}"]);
}

fn position(server: &Server) -> String {
    let rows = server.json(&["table", "rows", "d", "t"]);
    rows["position"].as_str().unwrap().to_owned()
}

/// A reader of each kind that stood at a position of another history.
fn begins_anew(server: &Server, since: &str) {
    assert_ne!(position(server)[..32], since[..32], "another history");
    let feed = server.instep(&["changes", "d", "--since", since]);
    assert!(stderr(&feed).contains("other_history"), "{}", stderr(&feed));
    let fresh = server.instep(&["table", "rows", "d", "t", "--at-least", since]);
    assert!(stderr(&fresh).contains("other_history"), "{}", stderr(&fresh));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mode = runtime.block_on(async {
        let channels = instep_client::Channels::connect(&server.url).await.unwrap();
        let (reply, _channel) = channels.join("table:d/t", json!({"since": since})).await.unwrap();
        reply["mode"].clone()
    });
    assert_eq!(mode, "reset");
}

#[test]
fn a_copy_that_is_put_back_is_another_history_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    put(&server, "before");
    assert_eq!(server.signal("-TERM"), Some(0));
    let backup = directory.path().join("backup");
    copy(&server.data, &backup);
    server.start_again();
    let same = position(&server);
    put(&server, "after");
    let since = position(&server);
    assert_eq!(same[..32], since[..32], "an ordinary start goes on with its history");
    assert_eq!(server.signal("-TERM"), Some(0));

    std::fs::remove_dir_all(&server.data).unwrap();
    std::fs::rename(&backup, &server.data).unwrap();
    server.start_again();

    begins_anew(&server, &since);
    // Also once it has passed the old position.
    ["x", "y", "z"].iter().for_each(|key| put(&server, key));
    begins_anew(&server, &since);
    let now = position(&server);
    assert_eq!(server.signal("-TERM"), Some(0));
    server.start_again();
    assert_eq!(position(&server), now, "once");
}

#[test]
fn a_copy_over_the_same_files_is_another_history_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    put(&server, "before");
    let backup = directory.path().join("backup");
    copy(&server.data, &backup);
    put(&server, "after");
    let since = position(&server);
    assert_eq!(server.signal("-TERM"), Some(0));

    copy(&backup.join("."), &server.data);
    server.start_again();

    begins_anew(&server, &since);
}

#[test]
fn a_move_of_the_data_keeps_its_history() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    put(&server, "1");
    let before = position(&server);
    assert_eq!(server.signal("-TERM"), Some(0));
    let elsewhere = directory.path().join("elsewhere");
    std::fs::rename(&server.data, &elsewhere).unwrap();
    let config = directory.path().join("instep.toml");

    let arguments = ["serve", "--config", text(&config), "--data", text(&elsewhere)];
    let moved = Server::start(&arguments, elsewhere.clone());

    assert_eq!(position(&moved), before);
}

#[test]
fn restore_gives_data_another_history_where_nothing_else_can_tell() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    put(&server, "1");
    let since = position(&server);
    let running = instep(&["restore", text(&server.data)]);
    assert_eq!(running.status.code(), Some(5), "{}", stderr(&running));
    assert_eq!(server.signal("-TERM"), Some(0));

    let restored = instep(&["restore", text(&server.data)]);

    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    assert!(stdout(&restored).contains("datasets/d"), "{}", stdout(&restored));
    server.start_again();
    begins_anew(&server, &since);
    assert_eq!(server.json(&["table", "rows", "d", "t"])["rows"][0]["key"], "1");
}

#[test]
fn restore_copies_a_backup_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    put(&server, "1");
    let since = position(&server);
    assert_eq!(server.signal("-TERM"), Some(0));
    let (backup, target) = (directory.path().join("backup"), directory.path().join("target"));
    copy(&server.data, &backup);

    let refused = instep(&["restore", text(&server.data), "--from", text(&backup)]);
    let restored = instep(&["restore", text(&target), "--from", text(&backup)]);

    assert_eq!(refused.status.code(), Some(2), "what is there is not written over");
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    let config = directory.path().join("instep.toml");
    let arguments = ["serve", "--config", text(&config), "--data", text(&target)];
    begins_anew(&Server::start(&arguments, target.clone()), &since);

    std::fs::write(backup.join("datasets/d/00000000000000000001.segment"), "damaged").unwrap();
    let broken = directory.path().join("broken");
    let refused = instep(&["restore", text(&broken), "--from", text(&backup)]);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(!broken.exists());
}

#[test]
fn restore_takes_a_directory_as_shells_write_it_and_refuses_what_is_no_backup() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    assert_eq!(server.signal("-TERM"), Some(0));
    let backup = &server.data;
    let restore = |target: &str, from: &Path| instep(&["restore", target, "--from", text(from)]);
    let target = directory.path().join("target");

    let restored = restore(&format!("{}/", target.display()), backup);
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    assert!(target.join("datasets/d").is_dir());

    let within = restore(text(&backup.join("deep/inside")), backup);
    assert_eq!(within.status.code(), Some(2), "{}", stderr(&within));
    assert!(stderr(&within).contains("lies within the backup"), "{}", stderr(&within));

    let (empty, new) = (directory.path().join("empty"), directory.path().join("new"));
    std::fs::create_dir(&empty).unwrap();
    let nothing = restore(text(&new), &empty);
    assert_eq!(nothing.status.code(), Some(2), "{}", stderr(&nothing));
    assert!(stderr(&nothing).contains("holds no dataset"), "{}", stderr(&nothing));
    assert!(!new.exists() && stdout(&nothing).is_empty());
}

/// As docs/reference/backup.md says: snapshots first, then the log in order.
#[test]
fn a_copy_of_a_running_server_in_the_right_order_opens_to_a_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "{}\n[log]\nsegment_bytes = 4096\nsnapshot_after_bytes = 8192\n",
        crate::running::CONFIG
    );
    let server = Server::serve_with(directory.path(), &config);
    for round in 0..5 {
        let target = directory.path().join(format!("copy{round}"));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut key = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let (key_of, row) = (format!("{round}-{key}"), json!({"n": key}));
                    let put = json!({"op": "put", "table": "t", "key": key_of, "row": row});
                    let body = json!({"ops": [put]}).to_string();
                    assert_eq!(server.post("/v1/datasets/d/commits", "", &body).0, 200);
                    key += 1;
                }
            });
            let script = "set -e; mkdir -p \"$2/datasets/d/snapshots\"; cd \"$1/datasets/d\"; \
                          cp -p identity \"$2/datasets/d/\"; \
                          cp -p snapshots/*.snapshot \"$2/datasets/d/snapshots\" \
                          2>/dev/null || :; \
                          for f in *.segment; do cp -p \"$f\" \"$2/datasets/d/\"; done";
            let copied = Command::new("sh")
                .args(["-c", script, "sh", text(&server.data), text(&target)])
                .output()
                .unwrap();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(copied.status.success(), "{}", stderr(&copied));
        });
        let checked = instep(&["check", text(&target)]);
        assert_eq!(checked.status.code(), Some(0), "{}{}", stdout(&checked), stderr(&checked));
        let toml = directory.path().join("instep.toml");
        let arguments = ["serve", "--config", text(&toml), "--data", text(&target)];
        let restored = Server::start(&arguments, target.clone());
        let count = |of: &Server| of.json(&["table", "list", "d"])[0]["rows"].as_u64().unwrap();
        let (copied, all) = (count(&restored), count(&server));
        assert!(copied <= all, "{copied} of {all}");
        // Keys are numbered: what is there is what came first.
        let rows = restored.json(&["table", "rows", "d", "t", "--prefix", &format!("{round}-")]);
        let mut numbers: Vec<u64> = rows["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["row"]["n"].as_u64().unwrap())
            .collect();
        numbers.sort_unstable();
        if numbers.len() < 100 {
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
        }
    }
}
