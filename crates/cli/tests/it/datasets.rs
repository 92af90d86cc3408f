//! Datasets as files: made, removed, and kept from being opened.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::mail::disk::Disk;
use crate::running::{CONFIG, Server, instep, stderr, text};
use crate::shims::until;

/// Small segments: these datasets hold next to nothing.
const SMALL: &str = "\n[log]\nsegment_bytes = 1024\n";
/// Datasets that the server takes where that is to be seen.
const FEW: usize = 8;

fn threads(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", server.process())).unwrap().count()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn state(server: &Server, name: &str) -> (String, String) {
    let shown = server.json(&["dataset", "show", name]);
    let text = |field: &str| shown[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

#[test]
fn a_refused_dataset_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let limit = format!("max_datasets = {FEW}\n");
    let mut server = Server::serve_with(directory.path(), &format!("{limit}{CONFIG}{SMALL}"));
    for n in 1..FEW {
        assert_eq!(server.request("PUT", &format!("/v1/datasets/n{n}")).0, 200);
    }
    let datasets = server.data.join("datasets");
    let (before, running) = (names(&datasets), threads(&server));

    for n in FEW..FEW + 6 {
        for _ in 0..2 {
            let (status, body) = server.request("PUT", &format!("/v1/datasets/n{n}"));
            assert_eq!(status, 409, "{body}");
            assert!(body.contains("too_many_datasets"), "{body}");
        }
    }

    assert_eq!(names(&datasets), before);
    // Threads that wait for disks come and go by themselves; each refusal left four behind.
    assert!(threads(&server) < running + 20, "{} then {}", running, threads(&server));
    assert_eq!(server.signal("-TERM"), Some(0));
    server.start_again();
    assert_eq!(server.request("GET", "/readyz").0, 200);
}

#[test]
fn more_datasets_than_the_limit_keep_no_server_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let limit = format!("max_datasets = {FEW}\n");
    let mut server = Server::serve_with(directory.path(), &format!("{limit}{CONFIG}{SMALL}"));
    server.must(&["dataset", "create", "one"]);
    assert_eq!(server.signal("-TERM"), Some(0));
    // As a server with another limit left them.
    for n in 0..FEW {
        let name = server.data.join(format!("datasets/more{n:02}"));
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(server.data.join("datasets/one")).arg(name);
        assert!(copy.status().unwrap().success());
    }

    server.start_unready();

    assert_eq!(state(&server, "d").0, "ready", "what is declared comes first");
    assert_eq!(state(&server, "one").0, "unopened");
    server.must(&["dataset", "remove", "one"]);
    server.must(&["dataset", "remove", "more00"]);
    server.must(&["dataset", "create", &format!("more{:02}", FEW - 1)]);
    assert_eq!(server.request("GET", "/readyz").0, 200);
}

#[test]
fn remains_of_a_killed_dataset_are_removed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), &format!("{CONFIG}{SMALL}"));
    server.must(&["dataset", "create", "kept"]);
    assert_eq!(server.signal("-KILL"), None);
    let datasets = server.data.join("datasets");
    std::fs::create_dir_all(datasets.join(".creating-new/snapshots")).unwrap();
    std::fs::write(datasets.join(".creating-new/first.tmp"), "half").unwrap();
    std::fs::create_dir_all(datasets.join(".removed-old-1/snapshots")).unwrap();
    std::fs::write(datasets.join(".removed-old-1/00000000000000000002.segment"), "").unwrap();
    // As versions left it that made datasets in place.
    std::fs::create_dir_all(datasets.join("begun/snapshots")).unwrap();
    std::fs::write(datasets.join("begun/lock"), "").unwrap();
    // Files of unknown programs.
    std::fs::write(datasets.join("stray"), "a file").unwrap();
    std::fs::create_dir_all(datasets.join("strange")).unwrap();
    std::fs::write(datasets.join("strange/notes"), "a folder").unwrap();

    server.start_again();

    assert_eq!(names(&datasets), ["d", "kept", "strange", "stray"]);
    let list = server.json(&["dataset", "list"]);
    let listed: Vec<&str> =
        list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(listed, ["d", "kept"]);
    assert_eq!(server.request("DELETE", "/v1/datasets/strange").0, 404);
    assert_eq!(server.request("PUT", "/v1/datasets/strange").0, 500);
    assert!(datasets.join("strange/notes").exists());
}

#[test]
fn a_dataset_that_does_not_open_can_be_removed_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    server.must(&["dataset", "create", "e"]);
    server.must(&["table", "create", "e", "t"]);
    server.must(&["table", "put", "e", "t", "1", "{}"]);
    assert_eq!(server.signal("-TERM"), Some(0));
    let segment = server.data.join("datasets/e/00000000000000000001.segment");
    std::fs::write(&segment, "this is no segment").unwrap();

    server.start_unready();

    let (state, reason) = state(&server, "e");
    assert_eq!(state, "damaged", "{reason}");
    assert!(reason.contains(text(&segment)), "{reason}");
    let (status, body) = server.request("GET", "/readyz");
    assert!(status == 503 && body.contains("dataset_unavailable"), "{body}");
    assert!(!body.contains(text(&server.data)), "no path is named: {body}");
    let (status, told) = server.ask_anonymously("GET", "/readyz", "");
    assert!(status == 503 && told.contains("dataset_unavailable"), "{told}");
    let named = r#"dataset \"e\""#;
    assert!(
        body.contains(named) && !told.contains(named),
        "an anonymous client is not told which: {told}"
    );
    let (status, body) = server.post("/v1/datasets/e/commits", "", r#"{"ops":[]}"#);
    assert!(status == 503 && body.contains("dataset_unavailable"), "{body}");
    assert!(
        server.request("GET", "/metrics").1.contains("instep_dataset_unopened{dataset=\"e\"} 1")
    );
    server.must(&["table", "put", "d", "t", "1", "{}"]);
    server.must(&["dataset", "remove", "e"]);
    assert_eq!(server.request("GET", "/readyz").0, 200);
    assert_eq!(server.request("GET", "/v1/datasets/e").0, 404);
    server.must(&["dataset", "create", "e"]);
    assert_eq!(server.json(&["dataset", "show", "e"])["tables"], json!([]));
}

#[test]
fn data_whose_lock_was_deleted_has_one_server_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    for lock in ["lock", "datasets/d/lock"] {
        std::fs::remove_file(server.data.join(lock)).unwrap();
    }

    let second = instep(&["serve", "--data", text(&server.data), "--http", "127.0.0.1:0"]);

    assert_eq!(second.status.code(), Some(5), "{}", stderr(&second));
    let checked = instep(&["check", text(&server.data)]);
    assert_eq!(checked.status.code(), Some(5), "{}", stderr(&checked));
}

#[test]
fn stored_files_are_for_their_owner_alone_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let config = format!("{CONFIG}{SMALL}snapshot_after_bytes = 1\n[[mail]]\ndataset = 'd'\n");
    let shell = ("umask 000", "127.0.0.1:0");
    let server = Server::serve_by_shell(directory.path(), &config, shell);
    server.wait_until_ready();
    server.must(&["table", "put", "d", "t", "1", "{}"]);
    let message = r#"{"to":"server/7","body":{"large":true}}"#;
    let (status, told) = server.post("/v1/datasets/d/queues/mail/messages", "", message);
    assert_eq!(status, 201, "{told}");
    let bodies = server.data.join("datasets/d/bodies.db");
    until("a body is on the disk", || bodies.exists());
    let key = instep(&["key", "create", "program", "--data", text(&server.data)]);
    assert!(key.status.success(), "{key:?}");

    let mut left = vec![server.data.clone()];
    while let Some(path) = left.pop() {
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn a_table_that_cannot_be_closed_keeps_only_its_own_dataset_from_being_served() {
    let Some(disk) = Disk::mount() else { return };
    let open = "[[table]]\ndataset = 'store'\nname = 'items'\npublic = true\n";
    let mut server = Server::serve_with(disk.path(), &format!("{CONFIG}{open}{SMALL}"));
    server.must(&["table", "put", "d", "t", "1", "{}"]);
    server.must(&["table", "put", "store", "items", "1", "{}"]);
    disk.fill();
    // What is left of the last segment takes no such record any more.
    let again = || server.put("/v1/datasets/store/tables/items", r#"{"public":true}"#);
    until("the log of the store is full", || again().0 == 507);
    assert_eq!(server.signal("-TERM"), Some(0));
    disk.empty();
    std::fs::write(disk.path().join("instep.toml"), format!("{CONFIG}{SMALL}")).unwrap();
    disk.fill();

    server.start_unready();

    let rows = |dataset, table| {
        let path = format!("/v1/datasets/{dataset}/tables/{table}/rows");
        server.status("GET", &path)
    };
    assert_eq!((rows("d", "t"), rows("store", "items")), (200, 401));
    let of_admin = server.request("GET", "/v1/datasets/store/tables/items/rows");
    assert!(of_admin.0 == 503 && of_admin.1.contains("dataset_unavailable"), "{of_admin:?}");
    let (shown, reason) = state(&server, "store");
    assert!(shown == "unopened" && reason.contains("items"), "{shown}: {reason}");
    assert!(server.request("GET", "/readyz").1.contains("dataset_unavailable"));
    disk.empty();
    until("it is closed, and served", || server.request("GET", "/readyz").0 == 200);
    assert_eq!((rows("d", "t"), rows("store", "items")), (200, 401));
    assert_eq!(server.request("GET", "/v1/datasets/store/tables/items/rows").0, 200);
}
