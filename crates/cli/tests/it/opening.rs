//! Opening of datasets at a start: one that cannot be opened, or does not answer, is shown with its
//! reason, keeps no other from being served, and comes up by itself.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::json;

use crate::running::{CONFIG, Server, instep, stderr, stdout, text};
use crate::shims::{compile, make_pipe, until};

/// Hanging disk, as `opening/hanging.c` says.
const HANGING: &str = include_str!("opening/hanging.c");
/// Datasets that it holds.
const SLOW: &str = "/datasets/slow";

fn state(server: &Server, name: &str) -> (String, String) {
    let shown = server.json(&["dataset", "show", name]);
    let text = |field: &str| shown[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

fn listed(server: &Server) -> Vec<String> {
    let list = server.json(&["dataset", "list"]);
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

/// A dataset with one row.
fn with_a_row(server: &Server, name: &str) {
    server.must(&["dataset", "create", name]);
    server.must(&["table", "create", name, "t"]);
    server.must(&["table", "put", name, "t", "1", "{}"]);
}

fn rows(server: &Server, name: &str) -> usize {
    let rows = server.json(&["table", "rows", name, "t"]);
    rows["rows"].as_array().unwrap().len()
}

/// I13: a server is not ready before everything is open.
#[test]
fn a_dataset_whose_disk_does_not_answer_keeps_no_other_from_being_served_and_comes_up_later() {
    let directory = tempfile::tempdir().unwrap();
    let library = compile(directory.path(), "hanging", HANGING);
    let switch = directory.path().join("hangs");
    let preload = ("LD_PRELOAD", text(&library));
    let environment = [preload, ("DISK_HANGS", text(&switch)), ("DISK_HANGS_AT", SLOW)];
    let config = format!("drain_ms = 200\n{CONFIG}[[table]]\ndataset = 'slow2'\nname = 'more'\n");
    let mut server = Server::serve_in(directory.path(), &config, &environment);
    for name in ["slow1", "slow3", "z"] {
        with_a_row(&server, name);
    }
    server.must(&["table", "put", "slow2", "more", "1", "{}"]);
    assert_eq!(server.signal("-TERM"), Some(0));
    let config = format!("{config}[[table]]\ndataset = 'slow2'\nname = 'later'\n");
    std::fs::write(directory.path().join("instep.toml"), config).unwrap();
    std::fs::write(&switch, "").unwrap();

    server.start_unready();

    server.must(&["table", "put", "d", "t", "1", "{}"]);
    assert_eq!(rows(&server, "z"), 1);
    for name in ["slow1", "slow2", "slow3"] {
        let (state, reason) = state(&server, name);
        assert!(state == "unopened" && reason.contains("does not answer"), "{state}: {reason}");
    }
    assert!(server.request("GET", "/readyz").1.contains("dataset_unavailable"));
    server.must(&["dataset", "create", "another"]);
    server.must(&["dataset", "remove", "another"]);
    std::fs::remove_file(&switch).unwrap();
    until("all are open", || server.request("GET", "/readyz").0 == 200);
    assert_eq!((rows(&server, "slow1"), rows(&server, "slow3")), (1, 1));
    let later = || server.request("GET", "/v1/datasets/slow2/tables/later").0 == 200;
    until("what is declared is there too", later);
    assert_eq!(server.signal("-TERM"), Some(0));
}

#[test]
fn a_stop_ends_though_a_dataset_does_not_answer_at_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let library = compile(directory.path(), "hanging", HANGING);
    let switch = directory.path().join("hangs");
    let config = format!("drain_ms = 200\n{CONFIG}");
    let mut server = Server::serve_with(directory.path(), &config);
    with_a_row(&server, "slow");
    assert_eq!(server.signal("-TERM"), Some(0));
    std::fs::write(&switch, "").unwrap();

    let (switch, library) = (text(&switch), text(&library));
    let hanging =
        format!("export DISK_HANGS='{switch}' DISK_HANGS_AT='{SLOW}' LD_PRELOAD='{library}'");
    let shell = (&*hanging, "127.0.0.1:0");
    let mut server = Server::serve_by_shell(directory.path(), &config, shell);

    assert!(server.request("GET", "/readyz").1.contains("\"loading\""));
    assert_eq!(server.signal("-TERM"), Some(0));
}

#[test]
fn irregular_files_are_refused_unopened_and_named_by_a_start_and_by_a_check() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let segment = "00000000000000000001.segment";
    let places = [
        ("a", segment),
        ("b", "identity"),
        ("c", "lock"),
        ("e", "repairing"),
        ("g", "bodies.db-wal"),
    ];
    for (name, _) in places {
        with_a_row(&server, name);
    }
    assert_eq!(server.signal("-TERM"), Some(0));
    let datasets = server.data.join("datasets");
    let aside = directory.path().join("aside");
    for (name, file) in places {
        let path = datasets.join(name).join(file);
        if name == "a" {
            std::fs::rename(&path, &aside).unwrap();
        } else if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        make_pipe(&path);
    }
    std::fs::write(datasets.join("g/bodies.db"), "").unwrap();

    server.start_unready();

    for (name, file) in places {
        let (state, reason) = state(&server, name);
        let named = format!("{file} is a named pipe and no regular file");
        assert!(state == "unopened" && reason.contains(&named), "{name}, {state}: {reason}");
    }
    server.must(&["table", "put", "d", "t", "1", "{}"]);
    std::fs::remove_file(datasets.join("a").join(segment)).unwrap();
    std::fs::rename(&aside, datasets.join("a").join(segment)).unwrap();
    until("what is a file again is open", || state(&server, "a").0 == "ready");
    assert_eq!(rows(&server, "a"), 1);
    assert_eq!(server.signal("-TERM"), Some(0));
    for (name, file) in &places[1..] {
        let checked = instep(&["check", text(&datasets.join(name))]);
        let said = stdout(&checked) + &stderr(&checked);
        assert!(!checked.status.success(), "{name}: {said}");
        assert!(said.contains(&format!("{file} is a named pipe and no regular file")), "{said}");
    }
}

#[test]
fn bodies_that_are_no_file_are_moved_aside_as_those_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("{CONFIG}[[mail]]\ndataset = 'd'\n");
    let mut server = Server::serve_with(directory.path(), &config);
    assert_eq!(server.signal("-TERM"), Some(0));
    let dataset = server.data.join("datasets/d");
    make_pipe(&dataset.join("bodies.db"));

    let checked = instep(&["check", text(&dataset)]);
    let repaired = instep(&["check", text(&dataset), "--repair"]);

    assert_eq!(checked.status.code(), Some(4), "{checked:?}");
    assert!(stdout(&checked).contains("bodies.db is a named pipe"), "{}", stdout(&checked));
    assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
    assert!(dataset.join("damaged/bodies-1/bodies.db").exists());
    std::fs::create_dir(dataset.join("bodies.db")).unwrap();
    server.start_again();
    assert!(dataset.join("damaged/bodies-2/bodies.db").is_dir(), "a start does the same");
}

#[test]
fn a_dataset_that_cannot_be_looked_at_keeps_no_other_from_being_served() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    with_a_row(&server, "looped");
    assert_eq!(server.signal("-TERM"), Some(0));
    let dataset = server.data.join("datasets/looped");
    let aside = directory.path().join("aside");
    std::fs::rename(&dataset, &aside).unwrap();
    symlink("looped", &dataset).unwrap();

    server.start_unready();

    let (shown, reason) = state(&server, "looped");
    assert!(shown == "unopened" && reason.contains(text(&dataset)), "{shown}: {reason}");
    server.must(&["table", "put", "d", "t", "1", "{}"]);
    std::fs::remove_file(&dataset).unwrap();
    std::fs::rename(&aside, &dataset).unwrap();
    until("it is open", || server.request("GET", "/readyz").0 == 200);
    assert_eq!(rows(&server, "looped"), 1);
}

#[test]
fn a_dataset_of_another_user_keeps_no_other_from_being_served() {
    let directory = tempfile::tempdir().unwrap();
    let is_root = || Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root() {
        eprintln!("skipped: only root can give a directory to another user");
        return;
    }
    let run = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program}");
    };
    // The other user cannot read root's files, so everything that is needed lies here.
    let path = directory.path();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    let binary = path.join("instep");
    std::fs::copy(env!("CARGO_BIN_EXE_instep"), &binary).unwrap();
    let mut server = Server::serve(path);
    with_a_row(&server, "roots");
    assert_eq!(server.signal("-TERM"), Some(0));
    run("chown", &["-R", "65534:65534", text(&server.data)]);
    let dataset = server.data.join("datasets/roots");
    run("chown", &["-R", "0:0", text(&dataset)]);

    let as_other_user = format!(
        "exec setpriv --reuid 65534 --regid 65534 --clear-groups '{}' serve --config '{}' \
         --data '{}' --http 127.0.0.1:0 #",
        text(&binary),
        text(&path.join("instep.toml")),
        text(&server.data),
    );
    let data = server.data.clone();
    server = Server::serve_by_shell(path, CONFIG, (&as_other_user, "127.0.0.1:0"));
    until("it serves", || !server.request("GET", "/readyz").1.contains("\"loading\""));

    let (shown, reason) = state(&server, "roots");
    assert_eq!(shown, "unopened", "{reason}");
    assert!(reason.contains(text(&dataset)) && reason.contains("Permission denied"), "{reason}");
    assert!(!reason.contains("write"), "nothing was to be written: {reason}");
    server.must(&["table", "put", "d", "t", "1", "{}"]);
    run("chown", &["-R", "65534:65534", text(&data)]);
    until("it is open", || server.request("GET", "/readyz").0 == 200);
    assert_eq!(rows(&server, "roots"), 1);
}

#[test]
fn an_empty_directory_in_the_place_of_a_dataset_is_left_alone_and_becomes_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve(directory.path());
    server.must(&["table", "put", "d", "t", "1", "{}"]);
    with_a_row(&server, "made");
    assert_eq!(server.signal("-TERM"), Some(0));
    let datasets = server.data.join("datasets");
    let aside = directory.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    // As it is where the disk of a dataset is not mounted.
    for name in ["d", "made"] {
        std::fs::rename(datasets.join(name), aside.join(name)).unwrap();
        std::fs::create_dir(datasets.join(name)).unwrap();
    }

    server.start_unready();

    let (shown, reason) = state(&server, "d");
    assert!(shown == "unopened" && reason.contains("is an empty directory"), "{shown}: {reason}");
    assert_eq!(listed(&server), ["d"], "the other one is not listed");
    assert_eq!(server.request("PUT", "/v1/datasets/made").0, 500);
    for name in ["d", "made"] {
        assert_eq!(std::fs::read_dir(datasets.join(name)).unwrap().count(), 0, "{name}");
    }
    std::fs::remove_dir(datasets.join("d")).unwrap();
    std::fs::rename(aside.join("d"), datasets.join("d")).unwrap();
    until("it is open", || server.request("GET", "/readyz").0 == 200);
    assert_eq!(server.json(&["table", "rows", "d", "t"])["rows"], json!([{"key": "1", "row": {}}]));
}
