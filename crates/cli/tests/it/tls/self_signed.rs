//! The usual certificate of a server that signs for itself, as `openssl req -x509` makes it.

use std::path::Path;
use std::process::Command;

use super::server::{Identity, Secure};
use crate::running::{instep, stderr, stdout, text};

/// A certificate for `localhost`, with more options of `openssl req`.
fn openssl(more: &[&str]) -> Identity {
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", text(&key), "-out", text(&certificate)])
        .args(more)
        .output()
        .expect("the tests want openssl");
    assert!(made.status.success(), "{}", stderr(&made));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    Identity { certificate: read(&certificate), key: read(&key) }
}

/// The same as an authority of the past.
fn expired() -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wanted = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    wanted.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = wanted.self_signed(&key).unwrap().pem();
    Identity { certificate, key: key.serialize_pem() }
}

/// Lists tables of a server under a name; returns the exit code and the output.
fn list(server: &Secure, host: &str, ca: &Path) -> (Option<i32>, String) {
    let url = format!("https://{host}:{}", server.address().port());
    let data = text(&server.data);
    let list = ["table", "list", "d", "--server", &url, "--data", data, "--ca", text(ca)];
    let output = instep(&list);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

#[test]
fn a_certificate_that_openssl_has_self_signed_is_trusted_when_it_is_named() {
    let server = Secure::start_as(openssl(&[]), "");
    let ca = server.certificate();

    let (code, said) = list(&server, "localhost", &ca);
    assert_eq!(code, Some(0), "{said}");
    let url = format!("https://localhost:{}", server.address().port());
    let joined = instep(&["subscribe", "nowhere", "--server", &url, "--ca", text(&ca)]);
    assert!(stderr(&joined).contains("unmatched topic"), "over wss: {}", stderr(&joined));
    let both = server.directory.path().join("both.pem");
    let other = openssl(&[]).certificate;
    std::fs::write(&both, other + &server.identity.certificate).unwrap();
    assert_eq!(list(&server, "localhost", &both).0, Some(0), "among others");
}

#[test]
fn a_named_certificate_is_still_checked_for_its_name_its_time_and_its_purpose() {
    let server = Secure::start_as(openssl(&[]), "");
    let (code, said) = list(&server, "127.0.0.1", &server.certificate());
    assert_eq!(code, Some(3), "another name: {said}");
    assert!(said.contains("not valid for name"), "{said}");
    let namesake = server.directory.path().join("namesake.pem");
    std::fs::write(&namesake, openssl(&[]).certificate).unwrap();
    let (code, said) = list(&server, "localhost", &namesake);
    assert_eq!(code, Some(3), "another certificate of the same name: {said}");

    let server = Secure::start_as(expired(), "");
    let (code, said) = list(&server, "localhost", &server.certificate());
    assert!(code == Some(3) && said.contains("certificate expired"), "{said}");

    let server = Secure::start_as(openssl(&["-addext", "extendedKeyUsage=clientAuth"]), "");
    let (code, said) = list(&server, "localhost", &server.certificate());
    assert!(code == Some(3) && said.contains("InvalidPurpose"), "{said}");
}
