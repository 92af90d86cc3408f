//! Writers: clients in closed loops that change rows, of Instep and of PostgreSQL. Both write the
//! same rows.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::instep::{PATIENCE, Server};
use crate::load::{HttpClient, on_one_thread};

/// The table of all scenarios.
pub(crate) const TABLE: &str = "CREATE TABLE items (key text PRIMARY KEY, n bigint NOT NULL,
    name text NOT NULL, price numeric(10, 2) NOT NULL, note text)";
/// Digest of the table.
pub(crate) const DIGEST: &str = "SELECT count(*) || ' ' ||
    md5(string_agg(items::text, ' ' ORDER BY key COLLATE \"C\")) FROM items";
/// Key of the row that is written last.
const END: &str = "end";

/// Rows to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) commits: usize,
    /// Rows of a commit.
    pub(crate) rows: usize,
    /// Clients at once. Each has keys of its own, so that the last state is always the same.
    pub(crate) writers: usize,
    /// Keys of each of them.
    pub(crate) keys: usize,
    /// Number of the load: its rows differ from those of another.
    pub(crate) round: usize,
}

struct Row {
    key: String,
    n: i64,
    name: String,
    price: String,
    note: String,
}

impl Load {
    pub(crate) fn all_rows(&self) -> usize {
        self.commits * self.rows
    }

    fn commits_of(&self, writer: usize) -> impl Iterator<Item = Vec<Row>> {
        let load = *self;
        let commits = (writer..load.commits).step_by(load.writers).enumerate();
        commits.map(move |(at, _)| {
            (0..load.rows).map(|row| load.row(writer, at * load.rows + row)).collect()
        })
    }

    fn row(&self, writer: usize, at: usize) -> Row {
        let key = format!("k{writer:03}-{:06}", at % self.keys);
        let n = i64::try_from(self.round * 1_000_000_000 + at).expect("a small number");
        Row {
            name: format!("sneaker {key}, black and white"),
            price: format!("{}.{:02}", at % 900 + 10, at % 100),
            note: format!("counted for the {at}th time, in the aisle behind the door"),
            key,
            n,
        }
    }

    /// The row that comes behind all others.
    fn end(&self) -> Row {
        Row { key: END.into(), ..self.row(0, 0) }
    }
}

impl Row {
    fn operation(&self) -> Value {
        let Self { key, n, name, price, note } = self;
        let price: serde_json::Number = price.parse().expect("a number");
        let row = json!({"n": n, "name": name, "price": price, "note": note});
        json!({"op": "put", "table": "items", "key": key, "row": row})
    }
}

/// Writes a load to Instep, and then the row that ends it. Returns the time that writing took.
pub(crate) fn write_to_instep(server: &Server, load: Load) -> Duration {
    on_one_thread(async {
        let begun = Instant::now();
        let writers = (0..load.writers).map(|writer| async move {
            let mut client = HttpClient::connect(server.address()).await;
            for rows in load.commits_of(writer) {
                let operations = rows.iter().map(Row::operation).collect();
                client.ask(&server.commit(&operations)).await;
            }
        });
        join_all(writers).await;
        let taken = begun.elapsed();
        let mut client = HttpClient::connect(server.address()).await;
        client.ask(&server.commit(&json!([load.end().operation()]))).await;
        taken
    })
}

/// The same to a database.
pub(crate) fn write_to_postgres(url: &str, load: Load) -> Duration {
    on_one_thread(async {
        let clients = join_all((0..load.writers).map(|_| connect(url))).await;
        let begun = Instant::now();
        join_all(clients.iter().enumerate().map(|(writer, client)| async move {
            let statement = client.prepare(UPSERT).await.expect("a statement");
            for rows in load.commits_of(writer) {
                upsert(client, &statement, &rows).await;
            }
        }))
        .await;
        let taken = begun.elapsed();
        let statement = clients[0].prepare(UPSERT).await.expect("a statement");
        upsert(&clients[0], &statement, &[load.end()]).await;
        taken
    })
}

const UPSERT: &str = "INSERT INTO items
    SELECT k, n, name, price::numeric, note
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[])
        AS given (k, n, name, price, note)
    ON CONFLICT (key) DO UPDATE SET
        n = EXCLUDED.n, name = EXCLUDED.name, price = EXCLUDED.price, note = EXCLUDED.note";

async fn upsert(client: &Client, statement: &tokio_postgres::Statement, rows: &[Row]) {
    let texts = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<Vec<_>>();
    let [keys, names, prices, notes] = [
        texts(|row| &row.key),
        texts(|row| &row.name),
        texts(|row| &row.price),
        texts(|row| &row.note),
    ];
    let numbers: Vec<i64> = rows.iter().map(|row| row.n).collect();
    let written = client.execute(statement, &[&keys, &numbers, &names, &prices, &notes]).await;
    assert_eq!(written.expect("an upsert"), rows.len() as u64);
}

/// Waits until the row that ends a load is in each database.
pub(crate) fn until_everywhere(urls: &[String], load: Load) {
    on_one_thread(async {
        let begun = Instant::now();
        join_all(urls.iter().map(|url| async move {
            let client = connect(url).await;
            let query = "SELECT FROM items WHERE key = $1 AND n = $2";
            let query = client.prepare(query).await.expect("a statement");
            let end = load.end();
            while client.query_opt(&query, &[&end.key, &end.n]).await.expect("a query").is_none() {
                assert!(begun.elapsed() < PATIENCE, "{url} does not get everything");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }))
        .await;
    });
}

/// Connects; the connection is driven by a local task.
pub(crate) async fn connect(url: &str) -> Rc<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    // The error of a broken connection is seen by the request that waits for an answer on it.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Rc::new(client)
}

/// Rows of `bytes` for a dump, written to Instep by large commits.
pub(crate) fn fill(server: &Server, bytes: usize) {
    const ROW_BYTES: usize = 1_000;
    on_one_thread(async {
        let mut client = HttpClient::connect(server.address()).await;
        let all: Vec<usize> = (0..bytes / ROW_BYTES).collect();
        for some in all.chunks(1_000) {
            let operations = some.iter().map(|at| {
                let mut text = String::with_capacity(ROW_BYTES);
                while text.len() < ROW_BYTES - 60 {
                    write!(text, "{:x} ", (at * 31 + text.len()) * 0x9e37_79b9).expect("memory");
                }
                let row = json!({"n": at, "text": text});
                json!({"op": "put", "table": "items", "key": format!("d{at:07}"), "row": row})
            });
            client.ask(&server.commit(&operations.collect())).await;
        }
    });
}
