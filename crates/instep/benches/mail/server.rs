//! Instep in a process of its own.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use instep::model::name::Name;
use instep::{App, Config, MailConfig, Server};
use serde_json::{Value, json};

use crate::SERVE;
use crate::backlog::Backlog;
use crate::load::{Figures, HttpClient, Span, Tally, on_one_thread, request};
use crate::local::{self, Local, Push};
use crate::machine::resident_bytes_of;
use crate::program::Program;

const SEND: &str = "/v1/datasets/mail/queues/mail/messages";
/// The same queue for programs that hold a socket.
const QUEUE: &str = "mail:mail/mail";
/// Messages of one request.
const TOGETHER: usize = 1_000;
/// Requests under way at once while a backlog is made.
const FILLERS: usize = 2;

/// The server's process.
pub(crate) struct ServerProcess {
    program: Program,
    address: String,
    tcp: String,
    key: String,
}

impl ServerProcess {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut program = Program::start(&[SERVE.as_ref(), directory.as_os_str()]);
        let (address, tcp, key) = (program.line(), program.line(), program.line());
        Self { program, address, tcp, key }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Rc<[u8]> {
        request((&self.address, &self.key), method, path, body)
    }

    /// Routes all endpoints.
    pub(crate) fn route_all(&self) {
        on_one_thread(async {
            let mut client = HttpClient::connect(&self.address).await;
            let all: Vec<(u64, u32)> = Backlog::orgs().collect();
            for some in all.chunks(TOGETHER) {
                let ops = some.iter().map(|(org, server)| {
                    let (key, server) = (format!("org/{org}"), server.to_string());
                    let row = json!({"server": server, "generation": 1});
                    json!({"op": "put", "table": "directory", "key": key, "row": row})
                });
                let body = json!({"ops": ops.collect::<Vec<_>>()}).to_string();
                client.ask(&self.request("POST", "/v1/datasets/mail/commits", &body)).await;
            }
        });
    }

    /// Sends a backlog; gives messages a second.
    pub(crate) fn fill(&self, backlog: Backlog) -> f64 {
        let begin = Instant::now();
        on_one_thread(async {
            let all = Rc::new(std::cell::RefCell::new(backlog.messages()));
            let fillers = (0..FILLERS).map(|_| {
                let all = Rc::clone(&all);
                async move {
                    let mut client = HttpClient::connect(&self.address).await;
                    let mut body = String::new();
                    loop {
                        body.clear();
                        for message in all.borrow_mut().by_ref().take(TOGETHER) {
                            let (org, id, text) = (message.org, message.id(), message.body());
                            let before = if body.is_empty() { r#"{"messages":["# } else { "," };
                            let letter = r#"{"to":"org/"#;
                            write!(body, r#"{before}{letter}{org}","id":"{id}","body":"{text}"}}"#)
                                .expect("memory");
                        }
                        if body.is_empty() {
                            break;
                        }
                        body.push_str("]}");
                        client.ask(&self.request("POST", SEND, &body)).await;
                    }
                }
            });
            futures_util::future::join_all(fillers).await;
        });
        backlog.pending as f64 / begin.elapsed().as_secs_f64()
    }

    /// Fetches its overview of the mail.
    pub(crate) fn overview(&self) -> Value {
        on_one_thread(async {
            let mut client = HttpClient::connect(&self.address).await;
            let answer = client.ask(&self.request("GET", "/v1/datasets/mail/mail", "")).await;
            serde_json::from_slice(answer).expect("JSON")
        })
    }

    /// Bytes in memory, without the bodies that have not come to disk yet.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let young = self.overview()["bodies"]["young_bytes"].as_u64().unwrap_or(0);
        resident_bytes_of(self.program.id()).saturating_sub(young)
    }

    /// Waits until its memory is what it stays at.
    pub(crate) fn settle(&self) {
        let mut before = 0;
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(500));
            let now = self.resident_bytes();
            if now.abs_diff(before) < 1024 * 1024 {
                return;
            }
            before = now;
        }
    }

    /// Takes everything that waits for our server, once.
    pub(crate) fn push(&self) -> Push {
        on_one_thread(local::push(&self.tcp, &self.key))
    }

    /// Each client is a local server with one connection: it sends itself a message, takes it and
    /// acknowledges it, again and again.
    pub(crate) fn send_and_ack(&self, clients: usize, span: Span) -> Figures {
        on_one_thread(async {
            let mut connected = Vec::with_capacity(clients);
            for number in 0..clients {
                let server = format!("c{clients}-{number}");
                let letter = json!({"to": format!("server/{server}"), "body": Backlog::BODY});
                let mut local = Local::connect(&self.tcp, &server).await;
                local.register(&self.key).await;
                local.reply().await;
                local.open(QUEUE).await;
                connected.push((local, letter.to_string()));
            }
            let tally = Tally::new(span);
            let running = connected.into_iter().map(|(mut local, letter)| {
                let tally = tally.clone();
                tokio::task::spawn_local(async move {
                    let mut sent = Instant::now();
                    while tally.goes_on(sent) {
                        let seq = local.send_and_take(&letter).await;
                        local.ack(seq).await;
                        sent = tally.succeeded(sent);
                    }
                })
            });
            for client in running.collect::<Vec<_>>() {
                client.await.expect("a client");
            }
            tally.figures()
        })
    }
}

/// The server's process from inside: says where it listens, ends with its standard input.
#[expect(clippy::print_stdout, reason = "the bench reads it")]
pub(crate) fn serve(directory: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut config = Config::in_directory(directory);
        config.http = ([127, 0, 0, 1], 0).into();
        config.tcp = Some(([127, 0, 0, 1], 0).into());
        config.mail = vec![MailConfig::of(Name::new("mail").expect("a name"))];
        let mut server = Server::start(config, App::default()).await.expect("the server starts");
        server.ready().await.expect("the data is loaded");
        let tcp = server.tcp_address().expect("it was asked for");
        println!("{}\n{tcp}\n{}", server.address(), server.admin_key().as_str());
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        server.run_until(async { drop(end.await) }).await.expect("the data closes");
    });
}
