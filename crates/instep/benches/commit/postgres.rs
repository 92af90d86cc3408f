//! A real PostgreSQL beside Instep: same disk, same row, durable as it is by default.

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use tokio_postgres::{Client, Statement};

use crate::START;
use crate::cluster::Cluster;
use crate::load::{Figures, Span, Tally, on_one_thread};

const HOT: i32 = 1;

/// A server of its own with the hot row in a table.
pub(crate) struct Postgres(Cluster);

impl Postgres {
    /// `None`: there is no PostgreSQL.
    pub(crate) fn start(directory: &Path) -> Option<Self> {
        let cluster = Cluster::start(directory)?;
        on_one_thread(make_table(&cluster));
        Some(Self(cluster))
    }

    pub(crate) fn version(&self) -> &str {
        &self.0.version
    }

    /// Decrements the hot row with so many clients at once, and checks what is left of it.
    pub(crate) fn load(&self, clients: usize, span: Span) -> Figures {
        on_one_thread(async {
            let mut prepared = Vec::with_capacity(clients);
            for _ in 0..clients {
                let client = self.0.connect().await;
                let update = "UPDATE items SET n = n - 1 WHERE id = $1 AND n > 0";
                let statement = client.prepare(update).await.expect("a statement");
                prepared.push(Rc::new((client, statement)));
            }
            let before = left(&prepared[0]).await;
            let tally = Tally::new(span);
            let running: Vec<_> = prepared
                .iter()
                .map(|client| tokio::task::spawn_local(run(Rc::clone(client), tally.clone())))
                .collect();
            for client in running {
                client.await.expect("a client");
            }
            let figures = tally.figures();
            let gone = before - left(&prepared[0]).await;
            assert_eq!(u64::try_from(gone), Ok(figures.successes), "PostgreSQL's row");
            figures
        })
    }
}

async fn make_table(cluster: &Cluster) {
    let client = cluster.first_connection().await;
    // Room on the page for new versions of the row, as one who knows PostgreSQL would do it.
    let make = format!(
        "CREATE TABLE items (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
         INSERT INTO items SELECT id, {START} FROM generate_series(1, 100) AS id;
         CHECKPOINT"
    );
    client.batch_execute(&make).await.expect("a table");
}

async fn run(client: Rc<(Client, Statement)>, tally: Tally) {
    let (client, statement) = &*client;
    let mut sent = Instant::now();
    while tally.goes_on(sent) {
        let updated = client.execute(statement, &[&HOT]).await.expect("an update");
        assert_eq!(updated, 1);
        sent = tally.succeeded(sent);
    }
}

async fn left((client, _): &(Client, Statement)) -> i64 {
    let row = client.query_one("SELECT n FROM items WHERE id = $1", &[&HOT]).await;
    row.expect("the hot row").get(0)
}
