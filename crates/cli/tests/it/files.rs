//! A limit on the size of files, which the system enforces with a signal that ends a process.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::running::{Server, stderr, text};

#[test]
fn a_limit_on_file_sizes_refuses_larger_writes_and_ends_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[[table]]\ndataset = 'd'\nname = 't'\n[log]\nsegment_bytes = 65536\n";
    // In blocks of 512 or of 1,024 bytes, as the shell likes.
    let server = Server::serve_by_shell(directory.path(), config, ("ulimit -f 256", "127.0.0.1:0"));

    let put = |key: u32| {
        let row = json!({"of": "x".repeat(100_000)});
        json!({"op": "put", "table": "t", "key": key.to_string(), "row": row})
    };
    let file = directory.path().join("large.json");
    std::fs::write(&file, json!((0..6).map(put).collect::<Vec<_>>()).to_string()).unwrap();
    let refused = server.instep(&["commit", "d", "--file", text(&file)]);

    assert!(stderr(&refused).contains("storage_full"), "{refused:?}");
    server.must(&["table", "put", "d", "t", "small", "{}"]);
}

#[test]
fn a_key_for_which_there_is_no_room_is_a_failure_of_the_system_and_no_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    let create = |first: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{first} && exec \"$0\" \"$@\"")]);
        shell.arg(env!("CARGO_BIN_EXE_instep")).stdin(Stdio::null());
        let key = ["key", "create", "billing", "--json", "--data", text(directory.path())];
        shell.args(key).output().unwrap()
    };

    let refused = create("ulimit -f 0");
    let made = create("true");
    let again = create("true");

    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    assert!(stderr(&refused).contains(r#""code":"system""#), "{refused:?}");
    assert_eq!((made.status.code(), again.status.code()), (Some(0), Some(2)));
}
