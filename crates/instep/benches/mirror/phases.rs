//! Phases of the bench, in processes of their own: make the data, open it, read it with a bare
//! loop, serve it. Each prints its figures on standard output.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use instep::model::commit::{Operation, Proposal, TableOptions};
use instep::model::name::{Key, Name};
use instep::{App, Config, Server};
use serde_json::{Value, json};

use crate::machine::{cpu_of_threads, resident_bytes};
use crate::{ROW_BYTES, ROWS_PER_COMMIT, bare};

/// Directory of the dataset in the data directory.
pub(crate) fn dataset_directory(data: &Path) -> PathBuf {
    data.join("datasets/d")
}

/// The file that is streamed beside the snapshot.
pub(crate) fn plain_file(data: &Path) -> PathBuf {
    data.join("plain")
}

/// Commits the rows and waits until a snapshot has all of them.
pub(crate) async fn make(data: &Path, rows: usize) -> Value {
    let mut config = config(data);
    config.log.snapshot_after_seconds = 1;
    let server = start(config, App::default()).await;
    let dataset = server.node().dataset("d").expect("the dataset");
    for first in (0..rows).step_by(ROWS_PER_COMMIT) {
        let numbers = first..rows.min(first + ROWS_PER_COMMIT);
        let operations: Vec<_> = numbers.map(put).collect();
        let proposal = Proposal::from(operations);
        dataset.commit(proposal).await.expect("a commit");
    }
    let bytes = dataset.state().tables["t"].bytes;
    let head = dataset.log_bounds().1.0;
    let snapshot = dataset_directory(data).join(format!("snapshots/{head:020}.snapshot"));
    while !snapshot.exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await.expect("the data closes");
    json!({ "bytes": bytes })
}

/// Opens the data and says what that took, in time, in CPU time and in memory.
pub(crate) async fn open(data: &Path) -> Value {
    let (cpu, resident, begin) = (cpu_of_threads(), resident_bytes(), Instant::now());
    let server = start(config(data), App::default()).await;
    let (cpu_after, resident_after, wall) = (cpu_of_threads(), resident_bytes(), begin.elapsed());
    let state = server.node().dataset("d").expect("the dataset").state();
    json!({
        "cpu_s": (cpu_after - cpu).as_secs_f64(),
        "wall_s": wall.as_secs_f64(),
        "resident_bytes": resident_after - resident,
        "rows": state.tables["t"].rows.len(),
    })
}

/// The bare loop over the log, or over the snapshot and, as an opening does, the log's checksums.
pub(crate) fn read_barely(data: &Path, snapshot: bool) -> Value {
    let directory = dataset_directory(data);
    let (cpu, begin) = (cpu_of_threads(), Instant::now());
    let rows = if snapshot {
        bare::read_log(&directory, false) + bare::read_snapshot(&directory)
    } else {
        bare::read_log(&directory, true)
    };
    let (cpu_after, wall) = (cpu_of_threads(), begin.elapsed());
    json!({
        "cpu_s": (cpu_after - cpu).as_secs_f64(),
        "wall_s": wall.as_secs_f64(),
        "rows": rows,
    })
}

/// Serves the table's snapshot and a plain file until the standard input ends.
pub(crate) async fn serve(data: &Path, say: impl FnOnce(Value)) {
    let file = plain_file(data);
    let app = App::default().routes(move |_| {
        let file = file.clone();
        Router::new().route("/plain", get(move || stream_file(file.clone())))
    });
    let server = start(config(data), app).await;
    say(json!({ "address": server.address().to_string() }));
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    server.run_until(async { drop(end.await) }).await.expect("the data closes");
}

/// The best that is known here: one blocking thread reads ahead of the socket, without copies.
async fn stream_file(path: PathBuf) -> Body {
    let (give, take) = tokio::sync::mpsc::channel::<Bytes>(4);
    tokio::task::spawn_blocking(move || {
        let mut file = File::open(path).expect("the plain file");
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
            if read.expect("the plain file") == 0 || give.blocking_send(chunk.into()).is_err() {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(take, |mut take| async move {
        let chunk = take.recv().await?;
        Some((Ok::<_, Infallible>(chunk), take))
    }))
}

const CHUNK_BYTES: usize = 256 * 1024;

fn config(data: &Path) -> Config {
    let mut config = Config::in_directory(data);
    config.http = ([127, 0, 0, 1], 0).into();
    config
}

async fn start(config: Config, app: App) -> Server {
    let options = TableOptions { public: true };
    let app = app.table(&name("d"), &name("t"), options);
    let mut server = Server::start(config, app).await.expect("the server starts");
    server.ready().await.expect("the data is loaded");
    server
}

/// A key of 16 bytes and a row of exactly [`ROW_BYTES`].
fn put(number: usize) -> Operation {
    let key = Key::new(&format!("row-{number:012}")).expect("a key");
    let text = format!("{:x<1$}", format!("item {number} "), ROW_BYTES);
    let mut row = json!({ "count": number, "name": text, "released": true });
    let over = row.to_string().len() - ROW_BYTES;
    row["name"] = text[..text.len() - over].into();
    let row = row.as_object().cloned().unwrap_or_default();
    Operation::Put { table: name("t"), key, row }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}
