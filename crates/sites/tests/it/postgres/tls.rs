//! Rules of encrypted connections.

use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::*;

/// A cluster that takes no connection but by TLS, and the certificate that vouches for it.
fn encrypted() -> (Cluster, PathBuf) {
    let mut certificate = PathBuf::new();
    let cluster = Cluster::prepared(|data, owner| {
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let rules = "hostssl all all all trust\n".to_owned();
        let key = signed.signing_key.serialize_pem();
        for (name, text) in
            [("server.crt", signed.cert.pem()), ("server.key", key), ("rules", rules)]
        {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            if let Some((id, group)) = owner {
                chown(&path, Some(id), Some(group)).unwrap();
            }
        }
        certificate = data.join("server.crt");
        vec!["ssl=on".into(), format!("hba_file={}", data.join("rules").display())]
    });
    // Up, as far as can be said without TLS: it refuses.
    let begun = Instant::now();
    while matches!(connecting(&cluster, "disable", None).open(), Err(StoreError::Passing(_))) {
        assert!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
    (cluster, certificate)
}

fn connecting(cluster: &Cluster, mode: &str, certificates: Option<&Path>) -> PostgresStore {
    let url = format!("{}?sslmode={mode}", cluster.url(DATABASE));
    let runtime = cluster.runtime.handle().clone();
    let store = PostgresStore::new(&url, identity(), targets(), runtime).unwrap();
    certificates.iter().fold(store, |store, path| store.trusting(path.to_path_buf()))
}

#[test]
fn commits_and_dumps_of_a_database_pass_through_tls() {
    let (cluster, certificate) = encrypted();
    let mut store = connecting(&cluster, "verify-full", Some(&certificate));

    store.open().unwrap();
    store.fence(1, Some(at(1))).unwrap();
    store.apply(&batch(2, &[&[put("items", "7", json!({"count": 3}))]])).unwrap();
    let mut dump = String::new();
    let mut outgoing = store.dumper().unwrap().begin().unwrap();
    outgoing.bytes.read_to_string(&mut dump).unwrap();

    assert_eq!(outgoing.position, at(2));
    assert!(dump.contains("{\"count\":3}"), "{dump}");
}

#[test]
fn a_database_is_not_spoken_to_without_a_certificate_that_is_trusted() {
    let (cluster, _) = encrypted();
    let other = tempfile::NamedTempFile::new().unwrap();
    let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(other.path(), signed.cert.pem()).unwrap();

    let missing = Path::new("/missing.pem");
    for certificates in [None, Some(other.path()), Some(missing)] {
        let refused = connecting(&cluster, "require", certificates).open().unwrap_err();

        assert!(
            matches!(refused, StoreError::Fatal(Fatal::Unusable(_))),
            "{certificates:?}: {refused:?}"
        );
    }
    assert!(connecting(&cluster, "disable", None).open().is_err(), "it takes TLS only");
}

#[test]
fn a_database_without_tls_is_not_spoken_to_when_tls_is_wanted() {
    let cluster = Cluster::start();

    let refused = connecting(&cluster, "require", None).open().unwrap_err();

    assert!(refused.to_string().contains("does not support TLS"), "{refused}");
    assert!(matches!(refused, StoreError::Fatal(Fatal::Unusable(_))));
}
