//! The configuration file, as `serve` takes it.

use crate::running::{instep, stderr, text};

const VIEW: &str = "
[[view]]
name = 'v'
dataset = 'd'
table = 't'
topic = 'a:{b}'
event = 'e'";

#[test]
fn serve_names_file_line_and_column_of_what_makes_no_sense() {
    let directory = tempfile::tempdir().unwrap();
    let (config, data) = (directory.path().join("instep.toml"), directory.path().join("data"));
    for (content, place) in [
        (format!("{VIEW}\nfilter = '''\n  rwo.a'''\n"), "line 9, column 3: view[0].filter: "),
        (format!("{VIEW}{VIEW}"), "line 8, column 1: view[1]: "),
        (
            "[tls]\ncertificate = 'no'\nkey = 'no'".to_owned(),
            "line 2, column 15: tls.certificate: ",
        ),
        ("[tokens]\nsecret = 'no'".to_owned(), "line 2, column 10: tokens.secret: "),
        ("http = '0.0.0.0:0'".to_owned(), "line 1, column 8: http: 0.0.0.0:0 can be reached"),
    ] {
        std::fs::write(&config, &content).unwrap();

        let output = instep(&["serve", "--config", text(&config), "--data", text(&data)]);

        assert_eq!(output.status.code(), Some(2), "{content}: {}", stderr(&output));
        let told = stderr(&output);
        let expected = format!("instep: {}: {place}", config.display());
        assert!(told.lines().any(|line| line.starts_with(&expected)), "{expected}\n{told}");
    }
}
