//! A system that gives no thread: what needs one waits or is refused, and all the rest goes on.

use std::path::{Path, PathBuf};

use instep_embedded::real::RealDisk;
use instep_model::disk::{Disk as _, Sharing};

use crate::running::{CONFIG, Server, text};
use crate::shims::{compile, until};

/// While the file is there that the environment names, only as many threads begin as it says.
const FEW_THREADS: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static int may_begin(void) {
    const char *name = getenv("THREADS_LEFT");
    FILE *file = name ? fopen(name, "r+") : NULL;
    if (!file) return 1;
    int left = 0;
    if (fscanf(file, "%d", &left) != 1) left = 0;
    rewind(file);
    if (left > 0) fprintf(file, "%d \n", left - 1);
    fclose(file);
    return left > 0;
}
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *with) {
    pthread_mutex_lock(&one);
    int may = may_begin();
    pthread_mutex_unlock(&one);
    if (!may) return EAGAIN;
    return ((int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))
        dlsym(RTLD_NEXT, "pthread_create"))(t, a, run, with);
}
"#;

struct Fixture {
    server: Server,
    left: PathBuf,
}

impl Fixture {
    fn open(directory: &Path, config: &str) -> Self {
        let library = compile(directory, "few_threads", FEW_THREADS);
        let left = directory.join("left");
        let environment = [("LD_PRELOAD", text(&library)), ("THREADS_LEFT", text(&left))];
        Self { server: Server::serve_in(directory, config, &environment), left }
    }

    /// Lets only so many threads begin.
    fn leave(&self, threads: usize) {
        std::fs::write(&self.left, threads.to_string()).unwrap();
    }

    /// Lets all threads begin.
    fn give(&self) {
        std::fs::remove_file(&self.left).unwrap();
    }

    fn running(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.server.process())).unwrap().count()
    }

    fn ready(&self) -> (u16, String) {
        self.server.request("GET", "/readyz")
    }

    fn commit(&self, dataset: &str, operations: &str) -> (u16, String) {
        let body = format!(r#"{{"ops":[{operations}]}}"#);
        self.server.post(&format!("/v1/datasets/{dataset}/commits"), "", &body)
    }

    /// Checks that the dataset is still served.
    fn goes_on(&self) {
        let (status, body) = self.commit("d", r#"{"op":"put","table":"t","key":"k","row":{}}"#);
        assert_eq!(status, 200, "{body}");
    }
}

#[test]
fn a_dataset_that_is_given_no_thread_is_refused_and_made_as_soon_as_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), CONFIG);
    house.goes_on();
    let running = house.running();

    house.leave(0);
    for _ in 0..3 {
        let (status, body) = house.server.request("PUT", "/v1/datasets/new");
        assert!(status == 503 && body.contains("resources_exhausted"), "{status}: {body}");
        house.goes_on();
        assert_eq!(house.server.request("GET", "/v1/datasets/new").0, 404);
        assert_eq!(house.ready().0, 200, "it is not a dataset of this server");
    }
    // The thread that opens it is all that a dataset needs.
    house.leave(1);
    let (status, body) = house.server.request("PUT", "/v1/datasets/new");
    assert_eq!(status, 200, "{body}");

    let put = r#"{"op":"create_table","table":"t"}"#;
    let (status, body) = house.commit("new", put);
    assert_eq!(status, 200, "{body}");
    until("the thread that opened it has ended", || house.running() <= running);
}

#[test]
fn a_dataset_that_is_given_no_thread_at_a_start_is_tried_again_until_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("{CONFIG}[[table]]\ndataset = 'e'\nname = 't'\n");
    let mut house = Fixture::open(directory.path(), &config);
    assert_eq!(house.server.signal("-TERM"), Some(0));
    // The start meets a dataset that another process has, and goes on without it.
    let lock = house.server.data.join("datasets/e/lock");
    let held = RealDisk.lock(&lock, Sharing::Exclusive).unwrap();
    house.server.start_unready();
    house.leave(0);
    drop(held);

    let shown = || house.server.request("GET", "/v1/datasets/e").1;
    until("it is tried again, without a thread", || shown().contains("thread"));
    let (status, body) = house.server.request("PUT", "/v1/datasets/e");
    assert!(status == 503, "{status}: {body}");
    let (status, body) = house.ready();
    assert!(status == 503 && body.contains("dataset_unavailable"), "{body}");
    assert!(shown().contains("unopened"), "{}", shown());
    house.goes_on();
    house.give();

    until("it is opened by itself", || house.ready().0 == 200);
    let (status, body) = house.commit("e", r#"{"op":"put","table":"t","key":"k","row":{}}"#);
    assert_eq!(status, 200, "{body}");
}

#[test]
fn commits_and_mail_go_on_with_the_threads_that_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let house = Fixture::open(directory.path(), CONFIG);
    for dataset in ["d", "e", "f"] {
        assert_eq!(house.server.request("PUT", &format!("/v1/datasets/{dataset}")).0, 200);
    }
    house.leave(0);

    std::thread::scope(|scope| {
        for dataset in ["d", "e", "f"] {
            let house = &house;
            scope.spawn(move || {
                let queue = r#"{"op":"create_queue","queue":"mail"}"#;
                let message = r#"{"op":"send","queue":"mail","to":"server/7","body":1}"#;
                for operation in [queue, message, message] {
                    let (status, body) = house.commit(dataset, operation);
                    assert_eq!(status, 200, "{body}");
                }
            });
        }
    });

    assert_eq!(house.ready().0, 200, "nothing is lacking");
    house.give();
    let pulled = house.server.must(&["mail", "pull", "7", "--dataset", "e"]);
    assert!(pulled.contains("server/7"), "{pulled}");
}
