//! Instep in a process of its own, and the same dataset in this process.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use instep::model::commit::{Operation, Proposal, TableOptions};
use instep::model::name::{Key, Name};
use instep::{App, Config, Dataset, Server};

use crate::load::{Figures, HttpClient, Span, Tally, on_one_thread, request};
use crate::machine::cpu_of;
use crate::program::Program;
use crate::{SERVE, START};

const BODY: &str =
    r#"{"ops":[{"op":"add","table":"items","key":"hot","field":"n","by":-1,"min":0}]}"#;

/// The server's process.
pub(crate) struct ServerProcess {
    program: Program,
    address: String,
    key: String,
}

impl ServerProcess {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut program = Program::start(&[SERVE.as_ref(), directory.as_os_str()]);
        let (address, key) = (program.line(), program.line());
        Self { program, address, key }
    }

    /// Decrements the hot row with so many connections at once, and checks what is left of it.
    pub(crate) fn load(&self, clients: usize, span: Span) -> Figures {
        on_one_thread(async {
            let Self { address, key, .. } = self;
            let request = request((address, key), "POST", "/v1/datasets/shop/commits", BODY);
            let mut connected = Vec::with_capacity(clients);
            for _ in 0..clients {
                connected.push(HttpClient::connect(address).await);
            }
            let before = self.left();
            let cpu = || [self.program.id(), std::process::id()].map(cpu_of);
            let cpu_before = cpu();
            let tally = Tally::new(span);
            let running: Vec<_> = connected
                .into_iter()
                .map(|client| tokio::task::spawn_local(client.run(request.clone(), tally.clone())))
                .collect();
            for client in running {
                client.await.expect("a client");
            }
            let mut figures = tally.figures();
            let cpu_after = cpu();
            let [server, load] = [0, 1].map(|at| {
                (cpu_after[at] - cpu_before[at]).as_secs_f64() * 1e6 / figures.successes as f64
            });
            figures.cpu_us = Some((server, load));
            let gone = before - self.left();
            assert_eq!(u64::try_from(gone), Ok(figures.successes), "Instep's row");
            figures
        })
    }

    fn left(&self) -> i64 {
        use std::io::Write;
        let Self { address, key, .. } = self;
        let mut stream = std::net::TcpStream::connect(address).expect("the server");
        let ask = format!(
            "GET /v1/datasets/shop/tables/items/rows/hot HTTP/1.1\r\nhost: {address}\r\n\
             authorization: Bearer {key}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        body["row"]["n"].as_i64().expect("the hot row")
    }
}

/// The server's process from inside: says where it listens, ends with its standard input.
#[expect(clippy::print_stdout, reason = "the bench reads it")]
pub(crate) fn serve(directory: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = start(directory).await;
        println!("{}\n{}", server.address(), server.admin_key().as_str());
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        server.run_until(async { drop(end.await) }).await.expect("the data closes");
    });
}

/// Decrements the hot row by calls, without HTTP: what the dataset itself can do.
pub(crate) fn load_inside(directory: &Path, clients: usize, span: Span) -> Figures {
    // The server's own threads are idle here; the callers are tasks of one thread.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(start(directory));
    let dataset = server.node().dataset("shop").expect("the dataset");
    let before = left(&dataset);
    let figures = on_one_thread(async {
        let tally = Tally::new(span);
        let running: Vec<_> = (0..clients)
            .map(|_| {
                let (dataset, tally) = (dataset.clone(), tally.clone());
                tokio::task::spawn_local(async move {
                    let mut sent = Instant::now();
                    while tally.goes_on(sent) {
                        dataset.commit(decrement()).await.expect("a commit");
                        sent = tally.succeeded(sent);
                    }
                })
            })
            .collect();
        for client in running {
            client.await.expect("a client");
        }
        tally.figures()
    });
    assert_eq!(u64::try_from(before - left(&dataset)), Ok(figures.successes), "Instep's row");
    runtime.block_on(server.stop()).expect("the data closes");
    figures
}

async fn start(directory: &Path) -> Server {
    let (dataset, table) = (name("shop"), name("items"));
    let app = App::default().table(&dataset, &table, TableOptions::default());
    let mut config = Config::in_directory(directory);
    config.http = ([127, 0, 0, 1], 0).into();
    let mut server = Server::start(config, app).await.expect("the server starts");
    server.ready().await.expect("the data is loaded");
    let dataset = server.node().dataset("shop").expect("the dataset");
    if dataset.state().tables.get("items").is_none_or(|table| table.rows.is_empty()) {
        let row = serde_json::json!({ "n": START }).as_object().cloned().unwrap_or_default();
        let put = Operation::Put { table, key: key(), row };
        dataset.commit(proposal(put)).await.expect("the hot row");
    }
    server
}

fn left(dataset: &Dataset) -> i64 {
    let state = dataset.state();
    let row = &state.tables["items"].rows["hot"].row;
    row.fields()["n"].as_i64().expect("a number")
}

fn decrement() -> Proposal {
    let (table, field) = (name("items"), "n".to_owned());
    proposal(Operation::Add { table, key: key(), field, by: -1, min: Some(0), max: None })
}

fn proposal(operation: Operation) -> Proposal {
    vec![operation].into()
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn key() -> Key {
    Key::new("hot").expect("a key")
}
