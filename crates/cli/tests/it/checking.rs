//! `check`: damage is found, named, and cut off.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::running::{Server, instep, stderr, stdout, text};

/// Flips a byte of the first file below a directory that holds `needle`, in the needle.
fn flip(directory: &Path, needle: &str) -> PathBuf {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
        if let Some(at) = found {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("no file holds {needle}");
}

#[test]
fn a_flipped_byte_is_found_cut_off_and_readers_begin_anew() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    for key in ["before", "needle-in-the-log", "behind"] {
        server.must(&["table", "put", "d", "t", key, "{}"]);
    }
    let since = server.json(&["table", "rows", "d", "t"])["position"].clone();
    let since = since.as_str().unwrap();
    assert_eq!(server.signal("-TERM"), Some(0));
    let dataset = server.data.join("datasets").join("d");
    assert_eq!(instep(&["check", text(&dataset)]).status.code(), Some(0));

    let file = flip(&dataset, "needle-in-the-log");

    // The others are served, and a check changes nothing.
    for _ in 0..2 {
        let checked = instep(&["check", text(&server.data)]);
        assert_eq!(checked.status.code(), Some(4));
        assert!(stdout(&checked).contains("DAMAGED"), "{}", stdout(&checked));
        assert!(stdout(&checked).contains(text(&file)), "{}", stdout(&checked));
    }
    let json = instep(&["check", text(&dataset), "--json"]);
    let report: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!((json.status.code(), &report["healthy"]), (Some(4), &json!(false)));

    server.start_unready();
    assert_eq!(server.request("GET", "/readyz").0, 503);
    let list = server.json(&["dataset", "list"]);
    assert_eq!(list[0]["state"], "damaged", "{list}");
    assert!(list[0]["reason"].as_str().unwrap().contains(text(&file)), "{list}");
    let rows = server.instep(&["table", "rows", "d", "t"]);
    assert!(stderr(&rows).contains("dataset_unavailable"), "{}", stderr(&rows));
    server.must(&["dataset", "create", "other"]);
    server.must(&["table", "create", "other", "t"]);
    let metrics = server.instep(&["dataset", "create", "d"]);
    assert!(stderr(&metrics).contains("dataset_unavailable"), "{}", stderr(&metrics));

    // Repaired while the others are served, and opened then.
    let repaired = instep(&["check", text(&dataset), "--repair"]);
    assert_eq!(repaired.status.code(), Some(0), "{}", stderr(&repaired));
    assert!(stdout(&repaired).contains("repaired"), "{}", stdout(&repaired));
    server.must(&["dataset", "create", "d"]);
    assert_eq!(server.request("GET", "/readyz").0, 200);
    let rows = server.json(&["table", "rows", "d", "t"]);
    assert_eq!(rows["rows"], json!([{"key": "before", "row": {}}]));
    assert_ne!(rows["position"].as_str().unwrap()[..32], since[..32], "a new incarnation");
    let feed = server.instep(&["changes", "d", "--since", since]);
    assert!(stderr(&feed).contains("other_history"), "{}", stderr(&feed));
    assert_eq!(mode(&server, since), "reset");
}

/// Mode in which a subscriber with a position resumes.
fn mode(server: &Server, since: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let channels = instep_client::Channels::connect(&server.url).await.unwrap();
        let (reply, _channel) = channels.join("table:d/t", json!({"since": since})).await.unwrap();
        reply["mode"].as_str().unwrap().to_owned()
    })
}

#[test]
fn data_in_use_is_not_checked() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());

    let checked = instep(&["check", text(&server.data)]);

    assert_eq!(checked.status.code(), Some(5));
    assert!(stderr(&checked).contains("datasets"), "{}", stderr(&checked));
}

#[test]
fn a_directory_without_a_log_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();

    let checked = instep(&["check", text(directory.path())]);

    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("holds no log"), "{}", stdout(&checked));
}

#[test]
fn a_check_refuses_a_dataset_that_lost_its_segments_as_a_start_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    assert_eq!(server.signal("-TERM"), Some(0));
    for entry in std::fs::read_dir(server.data.join("datasets/d")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "segment") {
            std::fs::remove_file(path).unwrap();
        }
    }

    let checked = instep(&["check", text(&server.data)]);

    assert_ne!(checked.status.code(), Some(0), "{}", stdout(&checked));
    assert!(stderr(&checked).contains("no segment of it is there"), "{}", stderr(&checked));
}

#[test]
fn a_check_refuses_whatever_keeps_a_server_from_its_start_and_as_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    assert_eq!(server.signal("-TERM"), Some(0));
    let (data, kept) = (&server.data, directory.path().join("kept"));
    type Break = fn(&Path);
    let (directory_there, link, text_there): (Break, Break, Break) = (
        |path| std::fs::create_dir(path).unwrap(),
        |path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
        |path| std::fs::write(path, "too short").unwrap(),
    );
    let bytes: Break = |path| std::fs::write(path, [0xff; 64]).unwrap();
    let pipe: Break = crate::shims::make_pipe;
    for (file, damage) in [
        ("lock", directory_there),
        ("lock", link),
        ("lock", pipe),
        ("admin.key", directory_there),
        ("admin.key", text_there),
        ("admin.key", bytes),
        ("admin.key", pipe),
        ("keys.toml", directory_there),
        ("keys.toml", text_there),
        ("keys.toml", bytes),
        ("keys.toml", pipe),
        ("public.toml", directory_there),
        ("public.toml", text_there),
        ("public.toml", bytes),
        ("public.toml", pipe),
        ("datasets", text_there),
        ("datasets", pipe),
    ] {
        let path = data.join(file);
        let was_there = path.exists();
        if was_there {
            std::fs::rename(&path, &kept).unwrap();
        }
        damage(&path);

        let checked = instep(&["check", text(data)]);
        let served = instep(&["serve", "--data", text(data), "--http", "127.0.0.1:0"]);

        let said = stderr(&checked);
        assert!(said.contains(file), "{file}: {said}");
        assert_eq!(checked.status.code(), served.status.code(), "{file}: {said}");
        assert!(matches!(served.status.code(), Some(2 | 7)), "{file}: {served:?}");
        if path.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) }
            .unwrap();
        if was_there {
            std::fs::rename(&kept, &path).unwrap();
        }
    }
    assert_eq!(instep(&["check", text(data)]).status.code(), Some(0));
}

#[test]
fn a_check_refuses_whatever_keeps_a_dataset_from_being_opened() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    assert_eq!(server.signal("-TERM"), Some(0));
    let dataset = server.data.join("datasets/d");
    let lock = dataset.join("lock");
    let refused = |what: &str| {
        for named in [&dataset, &server.data] {
            let checked = instep(&["check", text(named)]);
            assert_eq!(checked.status.code(), Some(7), "{what}: {}", stderr(&checked));
            assert!(stderr(&checked).contains(what), "{what}: {}", stderr(&checked));
        }
    };

    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    refused("lock is a directory");
    std::fs::remove_dir(&lock).unwrap();
    std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
    refused("lock is a link");
    std::fs::remove_file(&lock).unwrap();
    let identity = dataset.join("identity");
    let before = std::fs::read(&identity).unwrap();
    std::fs::write(&identity, "instep identity 2\n").unwrap();
    refused("newer");
    std::fs::write(&identity, before).unwrap();
    let waiting = dataset.join("bodies.db-wal");
    std::fs::write(dataset.join("bodies.db"), "").unwrap();
    std::os::unix::fs::symlink("elsewhere", &waiting).unwrap();
    refused("bodies.db-wal: is a link");
    std::fs::remove_file(&waiting).unwrap();
    let aside = directory.path().join("aside");
    std::fs::rename(&dataset, &aside).unwrap();
    std::os::unix::fs::symlink("d", &dataset).unwrap();
    let checked = instep(&["check", text(&server.data)]);
    assert_eq!(checked.status.code(), Some(7), "a link to itself: {}", stderr(&checked));
}
