//! PostgreSQL as the baseline: messages as rows, queried in the two ways of the system that
//! Instep's mail comes from, and claimed as job queues do.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::backlog::{Backlog, OUR_ENDPOINTS, OUR_SERVER, OURS};
use crate::cluster::Cluster;
use crate::load::{Figures, Span, Tally, on_one_thread};
use crate::local::Push;

/// Bytes of rows that one `COPY` sends at once.
const COPY_BYTES: usize = 1024 * 1024;

pub(crate) struct Postgres(Cluster);

/// Query for a server's messages.
#[derive(Clone, Copy)]
pub(crate) enum Query {
    /// By the list of its endpoints, worked out when it registers.
    Dynamic,
    /// By the server that was stored with the message, through an index.
    Static,
}

impl Postgres {
    /// `None`: there is no PostgreSQL.
    pub(crate) fn start(directory: &Path) -> Option<Self> {
        Cluster::start(directory).map(Self)
    }

    pub(crate) fn version(&self) -> &str {
        &self.0.version
    }

    /// Makes the table anew with a backlog, its indexes and its statistics.
    pub(crate) fn fill(&self, backlog: Backlog) {
        on_one_thread(async {
            let client = self.0.first_connection().await;
            let make = "DROP TABLE IF EXISTS mail;
                CREATE TABLE mail (id bigserial PRIMARY KEY, dest_type int NOT NULL,
                    dest_id bigint NOT NULL, svr_id int NOT NULL, state int NOT NULL DEFAULT 0,
                    body text NOT NULL);";
            client.batch_execute(make).await.expect("a table");
            let copy = "COPY mail (dest_type, dest_id, svr_id, body) FROM STDIN";
            let sink = client.copy_in(copy).await.expect("a copy");
            pin_mut!(sink);
            let mut piece = String::with_capacity(COPY_BYTES + 1024);
            for message in backlog.messages() {
                let (org, server) = (message.org, message.server);
                piece.push_str(&format!("1\t{org}\t{server}\t{}\n", message.body()));
                if piece.len() >= COPY_BYTES {
                    let full = std::mem::take(&mut piece);
                    sink.send(bytes::Bytes::from(full)).await.expect("rows");
                }
            }
            sink.send(bytes::Bytes::from(piece)).await.expect("rows");
            sink.finish().await.expect("the end of the rows");
            let index = "CREATE INDEX mail_by_dest ON mail (dest_type, dest_id) WHERE state = 0;
                CREATE INDEX mail_by_server ON mail (svr_id, id) WHERE state = 0;
                ANALYZE mail; CHECKPOINT;";
            client.batch_execute(index).await.expect("indexes");
        });
    }

    /// Reads everything that waits for our server, once.
    pub(crate) fn push(&self, query: Query) -> Push {
        on_one_thread(async {
            let client = self.0.connect().await;
            let text = match query {
                Query::Dynamic => {
                    let orgs: Vec<String> =
                        Backlog::our_orgs().map(|org| org.to_string()).collect();
                    assert_eq!(orgs.len(), OUR_ENDPOINTS);
                    let orgs = orgs.join(",");
                    format!(
                        "SELECT id, body FROM mail WHERE state = 0 AND dest_type = 1
                         AND dest_id IN ({orgs}) ORDER BY id"
                    )
                }
                Query::Static => format!(
                    "SELECT id, body FROM mail WHERE state = 0 AND svr_id IN ({OUR_SERVER})
                     ORDER BY id"
                ),
            };
            let begin = Instant::now();
            let nothing: [&(dyn ToSql + Sync); 0] = [];
            let rows = client.query_raw(&text, nothing).await.expect("rows");
            pin_mut!(rows);
            let (mut first, mut messages) = (Duration::ZERO, 0);
            while let Some(row) = rows.try_next().await.expect("a row") {
                let body: &str = row.get(1);
                assert!(!body.is_empty());
                if messages == 0 {
                    first = begin.elapsed();
                }
                messages += 1;
            }
            assert_eq!(messages, OURS);
            Push { first, all: begin.elapsed() }
        })
    }

    /// Each client sends a message, claims one and acknowledges it, again and again.
    pub(crate) fn send_and_ack(&self, clients: usize, span: Span) -> Figures {
        on_one_thread(async {
            let first = self.0.first_connection().await;
            let make = "DROP TABLE IF EXISTS queue;
                CREATE TABLE queue (id bigserial PRIMARY KEY, dest_id bigint NOT NULL,
                    svr_id int NOT NULL, state int NOT NULL DEFAULT 0, body text NOT NULL);
                CREATE INDEX queue_ready ON queue (svr_id, id) WHERE state = 0;";
            first.batch_execute(make).await.expect("a table");
            let mut connected = Vec::with_capacity(clients);
            for number in 0..clients {
                connected.push(Worker::connect(&self.0, number).await);
            }
            let tally = Tally::new(span);
            let running: Vec<_> = connected
                .into_iter()
                .map(|worker| tokio::task::spawn_local(worker.run(tally.clone())))
                .collect();
            for worker in running {
                worker.await.expect("a client");
            }
            tally.figures()
        })
    }
}

struct Worker {
    client: Client,
    send: Statement,
    claim: Statement,
    ack: Statement,
    /// Each sender has a server of its own, so that as little as possible is contended.
    server: i32,
    body: Rc<str>,
}

impl Worker {
    async fn connect(cluster: &Cluster, number: usize) -> Self {
        let client = cluster.connect().await;
        let send = "INSERT INTO queue (dest_id, svr_id, body) VALUES (1, $1, $2)";
        let claim = "UPDATE queue SET state = 1 WHERE id = (SELECT id FROM queue
            WHERE svr_id = $1 AND state = 0 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id, body";
        let ack = "DELETE FROM queue WHERE id = $1";
        Self {
            send: client.prepare(send).await.expect("a statement"),
            claim: client.prepare(claim).await.expect("a statement"),
            ack: client.prepare(ack).await.expect("a statement"),
            client,
            server: i32::try_from(number).expect("a small number"),
            body: Backlog::BODY.into(),
        }
    }

    async fn run(self, tally: Tally) {
        let Self { client, send, claim, ack, server, body } = &self;
        let mut sent = Instant::now();
        while tally.goes_on(sent) {
            client.execute(send, &[server, &&**body]).await.expect("an insert");
            let row = client.query_one(claim, &[server]).await.expect("a claim");
            let id: i64 = row.get(0);
            let deleted = client.execute(ack, &[&id]).await.expect("a delete");
            assert_eq!(deleted, 1);
            sent = tally.succeeded(sent);
        }
    }
}
