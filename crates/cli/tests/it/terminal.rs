//! Colours, on a terminal as people have one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use crate::running::{binary, text};

/// First bytes of every colour.
const ESCAPE: &str = "\u{1b}[";

/// Output of a server on a terminal, from its start until Ctrl-C after its log says `ready`.
fn served_on_a_terminal(no_colour: Option<&str>) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (program, data) = (env!("CARGO_BIN_EXE_instep"), directory.path().join("data"));
    let serve = format!("exec {program:?} serve --http 127.0.0.1:0 --data {:?}", text(&data));
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &serve, "/dev/null"]).env_clear();
    terminal.env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "xterm-256color");
    terminal.envs(no_colour.map(|value| ("NO_COLOR", value)));
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keyboard = terminal.stdin.take().unwrap();
    let mut said = String::new();

    for line in BufReader::new(terminal.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.trim_end().ends_with("ready") {
            keyboard.write_all(b"\x03").unwrap();
        }
        said.push_str(&line);
        said.push('\n');
    }

    assert_eq!(terminal.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("stopped"), "{said}");
    said
}

#[test]
fn the_log_of_a_server_has_colours_on_a_terminal_unless_no_color_is_set() {
    let coloured = served_on_a_terminal(None);
    assert!(coloured.contains(ESCAPE), "{coloured:?}");
    let empty = served_on_a_terminal(Some(""));
    assert!(empty.contains(ESCAPE), "set to nothing is not set: {empty:?}");

    let plain = served_on_a_terminal(Some("1"));
    assert!(!plain.contains(ESCAPE), "{plain:?}");
}

#[test]
fn the_log_of_a_server_that_goes_elsewhere_has_no_colours() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = directory.path().join("data");

    let output = binary().args(["serve", "--data", text(&data), "--http", &address]).output();

    let said = crate::running::stderr(&output.unwrap());
    assert!(!said.is_empty() && !said.contains(ESCAPE), "{said:?}");
}
