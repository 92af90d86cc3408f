//! Many datasets on one server: one for each tenant of a program.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::running::{CONFIG, Server};
use crate::shims::until;

const MANY: usize = 300;
/// Threads that ask at the same time.
const ASKING: usize = 8;
/// Threads that all datasets together may have while they idle, beyond those of an empty server.
const MORE_THREADS: usize = 8;
/// Memory of an idle dataset, beyond an empty server.
const EACH_KIB: u64 = 64;

fn threads(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", server.process())).unwrap().count()
}

/// Does something with every dataset, by several threads.
fn with_each(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for first in 0..ASKING {
            let work = &work;
            scope.spawn(move || (first..MANY).step_by(ASKING).for_each(work));
        }
    });
}

fn commit(server: &Server, dataset: usize, operations: &str) -> (u16, String) {
    let body = format!(r#"{{"ops":[{operations}]}}"#);
    server.post(&format!("/v1/datasets/tenant-{dataset}/commits"), "", &body)
}

/// Adds one to the row of a dataset; true when that was acknowledged.
fn count(server: &Server, dataset: usize) -> bool {
    let add = r#"{"op":"add","table":"t","key":"k","field":"n","by":1}"#;
    let (status, body) = commit(server, dataset, add);
    assert!(status == 200 || status == 0, "{status}: {body}");
    status == 200
}

fn counted(server: &Server, dataset: usize) -> u64 {
    let path = format!("/v1/datasets/tenant-{dataset}/tables/t/rows/k");
    let (status, body) = server.request("GET", &path);
    assert_eq!(status, 200, "tenant-{dataset}: {body}");
    serde_json::from_str::<serde_json::Value>(&body).unwrap()["row"]["n"].as_u64().unwrap()
}

#[test]
fn hundreds_of_datasets_share_a_few_threads_take_little_and_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::serve_with(directory.path(), CONFIG);
    let (empty, memory) = (threads(&server), server.resident_kib());

    with_each(|dataset| {
        let (status, body) = server.request("PUT", &format!("/v1/datasets/tenant-{dataset}"));
        assert_eq!(status, 200, "{body}");
        let table = r#"{"op":"create_table","table":"t"}"#;
        let row = r#"{"op":"put","table":"t","key":"k","row":{"n":0}}"#;
        let (status, body) = commit(&server, dataset, &format!("{table},{row}"));
        assert_eq!(status, 200, "{body}");
    });
    until("threads that idle have ended", || threads(&server) <= empty + MORE_THREADS);
    let each = server.resident_kib().saturating_sub(memory) / MANY as u64;
    assert!(each <= EACH_KIB, "{each} KiB for each dataset");

    with_each(|dataset| assert!(count(&server, dataset), "tenant-{dataset}"));
    assert_eq!(server.signal("-TERM"), Some(0));
    server.start_again();
    assert!(threads(&server) <= empty + MORE_THREADS + 4, "{} threads", threads(&server));
    with_each(|dataset| assert_eq!(counted(&server, dataset), 1, "tenant-{dataset}"));

    let acknowledged: Vec<AtomicU64> = (0..MANY).map(|_| AtomicU64::new(1)).collect();
    let all = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("every dataset is written to", || all.load(Ordering::SeqCst) >= MANY as u64);
            server.tell("-KILL");
        });
        for first in 0..ASKING {
            let (server, acknowledged, all) = (&server, &acknowledged, &all);
            scope.spawn(move || {
                let mut datasets = (first..MANY).step_by(ASKING).cycle();
                while let Some(dataset) = datasets.next().filter(|of| count(server, *of)) {
                    acknowledged[dataset].fetch_add(1, Ordering::SeqCst);
                    all.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(server.ended(), None);
    server.start_again();

    with_each(|dataset| {
        let (found, said) =
            (counted(&server, dataset), acknowledged[dataset].load(Ordering::SeqCst));
        assert!((said..=said + 1).contains(&found), "tenant-{dataset}: {found}, said {said}");
    });
}
