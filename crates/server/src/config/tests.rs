use super::*;

fn read(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instep.toml");
    std::fs::write(&path, text).unwrap();
    Config::read(&path).map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_is_the_defaults_on_loopback() {
    let config = read("").unwrap();

    assert!(config.http.ip().is_loopback());
}

#[test]
fn a_view_whose_expression_does_not_compile_is_refused_with_line_and_column() {
    let error = read(
        "[[view]]\nname = 'v'\ndataset = 'd'\ntable = 't'\ntopic = 'a:{b}'\nevent = 'e'\n\
         filter = '''row.a == 1 &&\n  rwo.b'''",
    )
    .unwrap_err();

    assert!(error.contains("view v: filter: line 2, column 3"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = read("http = '127.0.0.1:1'\nhtpp = 2").unwrap_err();

    assert!(error.contains("line 2") && error.contains("htpp"), "{error}");
}

#[test]
fn a_reserved_live_topic_is_refused() {
    assert!(read("[[live]]\ntopic = 'table:*'").unwrap_err().contains("live[0].topic"));
    assert!(read("[[live]]\ntopic = '*'").unwrap_err().contains("live[0].topic"));
    assert!(read("[[live]]").unwrap_err().contains("live[0].topic"));
    assert!(read("[[live]]\ntopic = 'room:*'").is_ok());
}

#[test]
fn law_6_a_history_without_bound_is_refused() {
    let live = |rest: &str| read(&format!("[[live]]\ntopic = 'room:*'\n{rest}"));

    assert!(live("history = 10001").unwrap_err().contains("live[0].history"));
    assert!(live("history_bytes = 16777217").unwrap_err().contains("live[0].history_bytes"));
    assert!(live("presence = 'names'").unwrap_err().contains("list"));
    assert!(live("history = 10\nlast_value = true\npresence = 'list'").is_ok());
}
