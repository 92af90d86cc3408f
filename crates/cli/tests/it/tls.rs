//! TLS from outside: browsers' doors and the TCP door, certificates that change, clients that
//! do not shake hands.

mod self_signed;
pub(crate) mod server;

use std::io::{ErrorKind, Read, Write as _};
use std::net::TcpStream;

use instep_client::{ChannelEvent, Channels, Client, Method, Trust};
use serde_json::{Value, json};

use self::server::{Identity, Secure, socket};
use crate::running::{PATIENCE, instep, stderr, stdout, text};

#[test]
fn the_command_line_speaks_https_and_wss_with_trusted_servers() {
    let secure = Secure::start("");
    let ca = secure.certificate();
    let ask = |more: &[&str]| {
        let list = ["table", "list", "d", "--server", &secure.url, "--data", text(&secure.data)];
        instep(&[&list, more].concat())
    };

    let trusted = ask(&["--ca", text(&ca)]);
    assert!(trusted.status.success() && stdout(&trusted).contains('t'), "{}", stderr(&trusted));
    let stranger = ask(&[]);
    assert_eq!(stranger.status.code(), Some(3), "{}", stderr(&stranger));
    assert!(stderr(&stranger).contains("certificate"), "{}", stderr(&stranger));
    let other = secure.directory.path().join("other.pem");
    std::fs::write(&other, Identity::new().certificate).unwrap();
    assert_eq!(ask(&["--ca", text(&other)]).status.code(), Some(3));
    let join = ["subscribe", "nowhere", "--server", &secure.url, "--ca", text(&ca)];
    let refused = instep(&join);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("unmatched topic"), "over wss: {}", stderr(&refused));
    let plain = secure.url.replace("https", "http");
    let plain = instep(&["table", "list", "d", "--server", &plain, "--data", text(&secure.data)]);
    assert_eq!(plain.status.code(), Some(3), "{}", stderr(&plain));
}

#[test]
fn a_certificate_that_does_not_fit_its_key_refuses_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = [Identity::new(), Identity::new()];
    one.write(directory.path());
    std::fs::write(directory.path().join("key.pem"), other.key).unwrap();
    let start = |configuration: &str| {
        let config = directory.path().join("instep.toml");
        std::fs::write(&config, configuration).unwrap();
        let data = directory.path().join("data");
        let serve = ["serve", "--config", text(&config), "--data", text(&data)];
        let output = instep(&[&serve[..], &["--http", "127.0.0.1:0"]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let certificate = text(&directory.path().join("certificate.pem")).to_owned();
    let key = text(&directory.path().join("key.pem")).to_owned();

    let pair = start(&format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n"));
    assert!(pair.contains("tls: ") && pair.contains("do not go together"), "{pair}");
    let swapped = start(&format!("[tls]\ncertificate = {key:?}\nkey = {certificate:?}\n"));
    assert!(swapped.contains("no certificate in PEM"), "{swapped}");
    assert!(start(&format!("[tls]\ncertificate = {certificate:?}\n")).contains("tls.key"));
    assert!(start("[tls]\ntcp = true\n").contains("tls.tcp"));
}

#[test]
fn a_changed_certificate_is_taken_without_dropping_connections_and_a_broken_one_is_not() {
    let secure = Secure::start("");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let old = Trust::only(std::fs::read(secure.certificate()).unwrap());
        let channels = Channels::connect_trusting(&secure.url, None, &old).await.unwrap();
        let (_, mut channel) = channels.join("room:1", json!({})).await.unwrap();
        let new = Identity::new();
        new.write(secure.directory.path());
        let trust = Trust::only(new.certificate.clone().into_bytes());
        let is_new = async || {
            let client = Client::trusting(&secure.url, None, &trust).unwrap();
            client.request::<Value>(Method::GET, &["v1", "datasets", "d", "tables"], None).await
        };

        secure
            .until("the new certificate", async || {
                !matches!(is_new().await, Err(instep_client::Error::Unreachable { .. }))
            })
            .await;
        channel.push("hello", json!({"n": 1})).await.unwrap();
        let heard = channel.next().await.unwrap();
        let expected = ChannelEvent::Event { event: "hello".into(), payload: json!({"n": 1}) };
        assert_eq!(heard, expected, "who came before is still connected");

        std::fs::write(secure.directory.path().join("key.pem"), "nonsense").unwrap();
        secure.until("the complaint", async || secure.log().contains("a file is not good")).await;
        assert!(secure.log().contains("ERROR"), "loudly: {}", secure.log());
        assert!(!matches!(is_new().await, Err(instep_client::Error::Unreachable { .. })));
        channel.push("hello", json!({"n": 2})).await.unwrap();
        assert!(matches!(channel.next().await, Some(ChannelEvent::Event { .. })));
        let page = secure.get("/metrics", &trust).await;
        assert!(page.contains("instep_tls_certificates_refused_total 1"), "{page}");
        assert!(!page.contains("instep_tls_handshakes_total{end=\"done\"} 0"), "{page}");
    });
}

/// Law 9, through the encrypted door: waiting bytes are bounded, and the truth comes in the end.
#[test]
fn law_9_a_slow_reader_over_tls_is_told_what_it_missed() {
    const MESSAGES: u64 = 400;
    let secure = Secure::start("");
    let mut slow = socket(secure.tcp, &secure.identity);
    server::send(&mut slow, &json!(["1", "1", "room:1", "phx_join", {}]));
    assert_eq!(server::next(&mut slow).unwrap()[4]["status"], "ok");
    let mut quick = socket(secure.tcp, &secure.identity);
    server::send(&mut quick, &json!(["1", "1", "room:1", "phx_join", {}]));
    assert_eq!(server::next(&mut quick).unwrap()[4]["status"], "ok");
    let filling = "x".repeat(60_000);

    for number in 0..MESSAGES {
        let payload = json!({"n": number, "filling": filling});
        server::send(&mut quick, &json!(["1", null, "room:1", "tick", payload]));
        let heard = server::next(&mut quick).unwrap();
        assert_eq!((&heard[3], &heard[4]["n"]), (&json!("tick"), &json!(number)));
    }
    let (mut expected, mut gaps) = (0, 0);
    while expected < MESSAGES {
        let heard = server::next(&mut slow).unwrap();
        match heard[3].as_str().unwrap() {
            "tick" => {
                assert_eq!(
                    (&heard[4]["n"], heard[4]["filling"] == filling),
                    (&json!(expected), true)
                );
                expected += 1;
            }
            "gap" => {
                gaps += 1;
                expected += heard[4]["missed"].as_u64().unwrap();
            }
            other => panic!("{other}"),
        }
    }

    assert!(gaps > 0, "24 MB do not fit the ring");
    server::send(&mut slow, &json!(["1", "9", "room:1", "tick", {"n": MESSAGES}]));
    let heard = server::next(&mut slow).unwrap();
    assert!(heard[3] == "tick" || heard[3] == "phx_reply", "it is back: {heard}");
}

#[test]
fn a_client_without_a_handshake_or_a_request_is_sent_away() {
    let secure = Secure::start("handshake_ms = 300\n");
    let until_closed = |stream: &mut dyn Read| {
        let mut rest = vec![];
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "it stays open"),
        }
        rest
    };
    let http = secure.address();

    for address in [http, secure.tcp] {
        let mut silent = TcpStream::connect(address).unwrap();
        silent.set_read_timeout(Some(PATIENCE)).unwrap();
        until_closed(&mut silent);
    }
    let mut shaken = socket(http, &secure.identity);
    shaken.flush().unwrap();
    assert_eq!(until_closed(&mut shaken), b"");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let trust = Trust::only(secure.identity.certificate.clone().into_bytes());
    let page = runtime.block_on(secure.get("/metrics", &trust));
    assert!(page.contains("instep_tls_handshakes_total{end=\"late\"} 2"), "{page}");
}
