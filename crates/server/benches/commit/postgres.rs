//! A real PostgreSQL beside Instep: same disk, same row, durable as it is by default.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls, Statement};

use crate::START;
use crate::load::{Figures, Span, Tally, on_one_thread};

const HOT: i32 = 1;
const BINARIES: [&str; 3] = ["/usr/lib/postgresql/15/bin", "/usr/local/pgsql/bin", "/usr/bin"];

/// A server of its own in a temporary directory; it ends when this is dropped.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    pub(crate) version: String,
}

impl Postgres {
    /// Makes a database cluster under `directory` and starts it. `None`: there is no PostgreSQL.
    pub(crate) fn start(directory: &Path) -> Option<Self> {
        let binaries = BINARIES.iter().map(PathBuf::from).find(|at| at.join("initdb").exists())?;
        let user = Unprivileged::find();
        std::fs::create_dir_all(directory).expect("a directory for PostgreSQL");
        if let Some(user) = &user {
            chown(directory, Some(user.id), Some(user.group)).expect("root may give it away");
        }
        let data = directory.join("data");
        let run = |program: &str| {
            let mut command = Command::new(binaries.join(program));
            command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
            if let Some(user) = &user {
                command.uid(user.id).gid(user.group);
            }
            command
        };
        let mut initdb = run("initdb");
        initdb.args(["--auth=trust", "--username=bench", "--no-locale", "--encoding=UTF8", "-D"]);
        let made = initdb.arg(&data).status().expect("initdb starts");
        assert!(made.success(), "initdb: {made}");
        let version = std::fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
        let port = free_port();
        let mut server = run("postgres");
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]).stderr(Stdio::null());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=1100",
            "fsync=on",
            "synchronous_commit=on",
            "shared_buffers=256MB",
            "max_wal_size=4GB",
        ] {
            server.args(["-c", setting]);
        }
        let child = server.spawn().expect("postgres starts");
        let postgres = Self { child, port, version: version.trim().to_owned() };
        on_one_thread(postgres.make_table());
        Some(postgres)
    }

    async fn make_table(&self) {
        let begin = Instant::now();
        let client = loop {
            match self.try_connect().await {
                Ok(client) => break client,
                Err(error) if begin.elapsed() > Duration::from_secs(30) => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        // Room on the page for new versions of the row, as one who knows PostgreSQL would do it.
        let make = format!(
            "CREATE TABLE items (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
             INSERT INTO items SELECT id, {START} FROM generate_series(1, 100) AS id;
             CHECKPOINT"
        );
        client.batch_execute(&make).await.expect("a table");
    }

    async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let port = self.port;
        let settings = format!("host=127.0.0.1 port={port} user=bench dbname=postgres");
        let (client, connection) = tokio_postgres::connect(&settings, NoTls).await?;
        // The error of a broken connection is seen by whoever waits for an answer on it.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(client)
    }

    /// Decrements the hot row with so many clients at once, and checks what is left of it.
    pub(crate) fn load(&self, clients: usize, span: Span) -> Figures {
        on_one_thread(async {
            let mut prepared = Vec::with_capacity(clients);
            for _ in 0..clients {
                let client = self.try_connect().await.expect("PostgreSQL takes connections");
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

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is its fast shutdown; a kill would leave its children and shared memory behind.
        let process = self.child.id().to_string();
        let asked = Command::new("kill").args(["-INT", &process]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// PostgreSQL refuses to run as root.
struct Unprivileged {
    id: u32,
    group: u32,
}

impl Unprivileged {
    fn find() -> Option<Self> {
        let number = |args: &[&str]| -> Option<u32> {
            let output = Command::new("id").args(args).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        if number(&["-u"]) != Some(0) {
            return None;
        }
        let of =
            |name: &str| Some(Self { id: number(&["-u", name])?, group: number(&["-g", name])? });
        of("postgres").or_else(|| of("nobody"))
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
