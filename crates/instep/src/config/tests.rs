use super::*;

fn read(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("instep.toml");
    std::fs::write(&path, text).unwrap();
    Config::read(&path).map_err(|error| {
        let error = error.to_string();
        let named = error.strip_prefix(&format!("{}: ", path.display()));
        named.unwrap_or_else(|| panic!("the file is not named: {error}")).to_owned()
    })
}

/// The message of the refusal, which begins with the place.
fn refused(text: &str) -> String {
    read(text).unwrap_err()
}

#[test]
fn an_empty_file_is_the_defaults_on_loopback() {
    let config = read("").unwrap();

    assert!(config.http.ip().is_loopback());
}

const VIEW: &str =
    "[[view]]\nname = 'v'\ndataset = 'd'\ntable = 't'\ntopic = 'a:{b}'\nevent = 'e'\n";

#[test]
fn an_expression_that_does_not_compile_is_refused_with_its_place_in_the_file() {
    let filter = format!("{VIEW}filter = '''row.a == 1 &&\n  rwo.b'''");
    let project = format!("{VIEW}[view.project]\n\"a.b\" = \"'\\\"' + rwo\"");
    let when = "[[rights]]\nwho = 'token'\nactions = ['join']\ntopics = ['*']\nwhen = 'claim.a'";

    assert_eq!(
        refused(&filter),
        "line 8, column 3: view[0].filter: unknown name \"rwo\"; known are row, key"
    );
    assert_eq!(
        refused(&project),
        "line 8, column 17: view[0].project.a.b: unknown name \"rwo\"; known are row, key"
    );
    let expected = "line 5, column 9: rights[0].when: unknown name \"claim\"";
    assert!(refused(when).starts_with(expected), "{}", refused(when));
}

#[test]
fn every_error_of_meaning_names_its_line() {
    for (text, expected) in [
        ("\nring_frames = 0", "line 2, column 15: ring_frames: at least 1"),
        ("[log]\nsegment_bytes = 3", "line 2, column 17: log.segment_bytes: from"),
        ("[tls]\ncertificate = 'c'", "line 1, column 1: tls.key: a certificate needs its key"),
        ("origins = ['http:']", "line 1, column 11: origins: "),
        ("names = ['a b']", "line 1, column 9: names: "),
        ("proxies = ['x']", "line 1, column 11: proxies: "),
        ("proxy_protocol = ['tcp']", "line 1, column 18: proxy_protocol: whose headers"),
        ("[[live]]\ntopic = 'phoenix'", "line 2, column 9: live[0].topic: a name"),
        ("[[rights]]\nwho = 'me'\nactions = []", "line 2, column 7: rights[0].who: "),
        ("[[key]]\nname = 'k'\nsha256 = '0'", "line 3, column 10: key[0].sha256: 64"),
        ("[[mail]]\ndataset = 'm'\nqueues = []", "line 3, column 10: mail[0].queues: "),
        (
            "[[mail]]\ndataset = 'm'\n[[mail.kind]]\nname = 'a'\nnumber = 1\nfollows = 'b'",
            "line 6, column 11: mail[0].kind[0].follows: there is no kind \"b\"",
        ),
    ] {
        let refused = refused(text);
        assert!(refused.starts_with(expected), "{refused}");
    }
}

const ISSUER: &str = "[[tokens]]\njwks = 'a'\nissuer = 'a'\nsubject_prefix = ''\n";

#[test]
fn tokens_are_one_section_or_one_for_each_issuer() {
    let one = read("[tokens]\njwks = 'a'\nleeway_s = 7").unwrap().tokens;
    let two = read(&format!("{ISSUER}{}", ISSUER.replace("= 'a'", "= 'b'"))).unwrap().tokens;

    assert_eq!((one.len(), one[0].leeway_s), (1, 7));
    assert_eq!(
        two.iter().map(|tokens| &**tokens.issuer.as_ref().unwrap()).collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn issuers_that_could_not_be_told_apart_are_refused_with_their_line() {
    let prefix = |prefix: &str| format!("[tokens]\nsubject_prefix = '{prefix}'");
    let many = |count: usize| -> String {
        (0..count).map(|at| ISSUER.replace("issuer = 'a'", &format!("issuer = '{at}'"))).collect()
    };

    assert!(read(&prefix(&"a".repeat(64))).is_ok() && read(&many(16)).is_ok());
    for (text, expected) in [
        (prefix(&"a".repeat(65)), "line 2, column 18: tokens.subject_prefix: at most 64 bytes"),
        (prefix("a:"), "line 2, column 18: tokens.subject_prefix: without :"),
        (many(17), "line 1, column 1: tokens: at most 16 issuers"),
        (ISSUER.repeat(2), "line 5, column 1: tokens[1]: [[tokens]] of a is declared already: see"),
        (format!("{ISSUER}[[tokens]]\njwks = 'b'"), "line 5, column 1: tokens[1].issuer: needed"),
        (
            format!("{ISSUER}[[tokens]]\njwks = 'b'\nissuer = 'b'"),
            "line 5, column 1: tokens[1].subject_prefix: needed where there are several",
        ),
        (
            format!("{ISSUER}[[tokens]]\nissuer = 'b'\nsubject_prefix = 'b-'"),
            "line 5, column 1: tokens[1].jwks: none of secret",
        ),
    ] {
        let refused = refused(&text);
        assert!(refused.starts_with(expected), "{refused}");
    }
    assert!(refused("[tokens]\nissuers = 'a'").contains("issuers"));
    assert!(refused(&format!("{ISSUER}issuers = 'a'")).contains("line 5"));
    assert!(refused("tokens = 7").contains("[tokens]"));
}

#[test]
fn a_section_is_given_once_and_the_refusal_names_both_lines() {
    let key = format!("[[key]]\nname = 'k'\nsha256 = '{}'\n", "0".repeat(64));
    for (section, expected) in [
        ("[[dataset]]\nname = 'd'\n", "line 3, column 1: dataset[1]: [[dataset]] of d"),
        ("[[table]]\ndataset = 'd'\nname = 't'\n", "line 4, column 1: table[1]: [[table]] of d/t"),
        (VIEW, "line 7, column 1: view[1]: [[view]] of d/v"),
        ("[[live]]\ntopic = 'a:*'\n", "line 3, column 1: live[1]: [[live]] of a:*"),
        ("[[mail]]\ndataset = 'd'\n", "line 3, column 1: mail[1]: [[mail]] of d"),
        (&key, "line 4, column 1: key[1]: [[key]] of k"),
    ] {
        let expected = format!("{expected} is declared already: see line 1");
        assert_eq!(refused(&format!("{section}{section}")), expected);
    }
    let of_another = "[[table]]\ndataset = 'd'\nname = 't'\n[[table]]\ndataset = 'e'\nname = 't'";
    assert!(read(of_another).is_ok());
}

#[test]
fn a_topic_is_told_by_one_dataset_and_by_one_event_for_each_view() {
    let other = |dataset: &str, topic: &str, event: &str| {
        format!(
            "{VIEW}[[view]]\nname = 'w'\ndataset = '{dataset}'\ntable = 't'\ntopic = '{topic}'\n\
             event = '{event}'"
        )
    };

    assert_eq!(
        refused(&other("x", "a:{c}:d", "f")),
        "line 11, column 9: view[1].topic: dataset d shows rows on the same topics, and a topic is \
         told by one dataset: see line 5"
    );
    let alike = refused(&other("d", "a:{c}", "e"));
    assert!(alike.starts_with("line 12, column 9: view[1].event: view v announces"), "{alike}");
    assert!(alike.ends_with(": see line 6"), "{alike}");
    assert!(read(&other("x", "b:{c}", "e")).is_ok() && read(&other("d", "a:{c}", "f")).is_ok());
}

#[test]
fn a_live_section_that_could_never_take_effect_is_refused() {
    let two =
        |one: &str, other: &str| format!("[[live]]\ntopic = '{one}'\n[[live]]\ntopic = '{other}'");

    for (one, other) in [("room:*", "room:vip:*"), ("room:*", "room:lobby")] {
        let refused = refused(&two(one, other));
        assert!(refused.starts_with("line 4, column 9: live[1].topic: the first"), "{refused}");
        assert!(refused.ends_with(": see line 2"), "{refused}");
        assert!(read(&two(other, one)).is_ok());
    }
    for (topic, is_refused) in
        [("a:*", true), ("a:b:*", true), ("a:7", true), ("*:a", true), ("b:*", false)]
    {
        let read = read(&format!("{VIEW}[[live]]\ntopic = '{topic}'"));
        assert_eq!(read.is_err(), is_refused, "{topic}: {read:?}");
    }
}

#[test]
fn a_value_of_the_command_line_is_not_looked_for_in_the_file() {
    let mut config = read("http = '127.0.0.1:1'").unwrap();
    config.http = "0.0.0.0:2".parse().unwrap();
    let exposed = || config.check_exposure().unwrap_err().located(config.source.as_ref());

    assert!(exposed().to_string().starts_with("http: 0.0.0.0:2 can be"), "{}", exposed());
    let config = read("http = '0.0.0.0:1'").unwrap();
    let exposed = config.check_exposure().unwrap_err().located(config.source.as_ref());
    assert!(exposed.to_string().contains(": line 1, column 8: http: 0.0.0.0:1"), "{exposed}");
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
