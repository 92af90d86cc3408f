//! Rules of a connection that is lost around a commit.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use instep_sites::{PostgresStore, Store as _, StorePosition};
use serde_json::json;

use super::{DATABASE, apply_through_trouble, store, targets};
use crate::cluster::Cluster;
use crate::commits::{append, at, batch, identity, put};

/// Message of a client that commits.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Nothing is cut.
const THROUGH: u8 = 0;
/// The next commit does not reach the server.
const REQUEST: u8 = 1;
/// The answer to the next commit does not reach the client.
const ANSWER: u8 = 2;

/// A proxy that cuts connections around a commit.
#[derive(Clone, Default)]
struct Proxy {
    next: Arc<AtomicU8>,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts it, and returns its port.
    fn start(&self, server: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = self.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, proxy) = (client.unwrap(), proxy.clone());
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                std::thread::spawn(move || proxy.pass(&client, &server));
            }
        });
        port
    }

    fn pass(&self, client: &TcpStream, server: &TcpStream) {
        for end in [client, server] {
            end.set_nodelay(true).unwrap();
        }
        let is_lost = AtomicU8::new(THROUGH);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                forward(client, server, |bytes| {
                    if !bytes.windows(COMMIT.len()).any(|window| window == COMMIT) {
                        return true;
                    }
                    let cut = self.next.swap(THROUGH, Ordering::SeqCst);
                    is_lost.store(cut, Ordering::SeqCst);
                    self.cuts.fetch_add(u64::from(cut != THROUGH), Ordering::SeqCst);
                    cut != REQUEST
                });
            });
            // The first bytes behind a commit are its answer: it is done.
            forward(server, client, |_| is_lost.load(Ordering::SeqCst) != ANSWER);
        });
    }
}

/// Passes bytes on until `may` refuses some, and cuts the connection then.
fn forward(mut from: &TcpStream, mut to: &TcpStream, may: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !may(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        // It may be closed by its other end already.
        let _ = end.shutdown(Shutdown::Both);
    }
}

// I31, I33
#[test]
fn a_commit_whose_answer_or_request_is_lost_takes_effect_once() {
    let cluster = Cluster::start();
    let begin = "CREATE TABLE counts (key text PRIMARY KEY, n integer NOT NULL);
        INSERT INTO counts VALUES ('k', 0)";
    store(&cluster).apply(&batch(2, &[&[append("sql", 1, begin)]])).unwrap();
    let proxy = Proxy::default();
    let direct: tokio_postgres::Config = cluster.url(DATABASE).parse().unwrap();
    let server = direct.get_ports()[0];
    let url = cluster.url(DATABASE).replace(&server.to_string(), &proxy.start(server).to_string());
    let runtime = cluster.runtime.handle().clone();
    let mut store = PostgresStore::new(&url, identity(), targets(), runtime).unwrap();
    store.open().unwrap();
    store.fence(1, None).unwrap();

    for n in 2..=201 {
        let count = append("sql", n, "UPDATE counts SET n = n + 1");
        let row = put("items", "last", json!({"n": n}));
        proxy.next.store(if n % 2 == 0 { ANSWER } else { REQUEST }, Ordering::SeqCst);
        let from = StorePosition::At(at(n));
        apply_through_trouble(&mut store, &batch(n + 1, &[&[count, row]]), from);
    }

    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 200);
    assert_eq!(cluster.text(DATABASE, "SELECT n::text FROM counts"), "200");
    assert_eq!(cluster.text(DATABASE, "SELECT \"row\"->>'n' FROM items"), "201");
}
