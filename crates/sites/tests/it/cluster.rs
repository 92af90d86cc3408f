//! A PostgreSQL of a test's own, in its directory.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Directory of each version's programs, in packages of Debian.
const VERSIONS: &str = "/usr/lib/postgresql";

/// User and group that the server runs as, where the test runs as root.
pub(crate) type Owner = Option<(u32, u32)>;

/// A server that ends when this is dropped.
pub(crate) struct Cluster {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    settings: Vec<String>,
}

impl Cluster {
    /// A new database cluster, whose server is up.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with settings: `name=value`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let cluster = Self::prepared(|_, _| settings);
        cluster.until_up();
        cluster
    }

    /// A cluster whose settings need files in the directory of its data. It may not be up yet.
    pub(crate) fn prepared(prepare: impl FnOnce(&Path, Owner) -> Vec<String>) -> Self {
        let binaries = binaries();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        let user = unprivileged();
        let data = path.join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        if let Some((id, group)) = user {
            chown(&data, Some(id), Some(group)).unwrap();
        }
        let mut initdb = program(&binaries.join("initdb"), &data, user);
        initdb.args(["--auth=trust", "--username=site", "--no-locale", "--encoding=UTF8"]);
        let made = initdb.arg("--no-sync").arg("-D").arg(&data).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let settings = prepare(&data, user);
        let port = free_port();
        let child = serve(&binaries, &data, (user, port), &settings);
        let runtime = Runtime::new().unwrap();
        Self { child, port, directory, runtime, settings }
    }

    /// Address of a database, for the user `site`.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://site@127.0.0.1:{}/{database}", self.port)
    }

    /// Kills all of the server, and starts it again: what was not durable is gone.
    pub(crate) fn kill_and_restart(&mut self) {
        let binaries = binaries();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let data = self.directory.path().join("data");
        let begun = Instant::now();
        // Its children notice within moments; the memory that they share is theirs until then.
        loop {
            self.child = serve(&binaries, &data, (unprivileged(), self.port), &self.settings);
            let waited = Instant::now();
            // It recovers for as long as that takes; one that finds the memory in use ends.
            while waited.elapsed() < Duration::from_secs(20)
                && self.child.try_wait().unwrap().is_none()
            {
                if self.try_connect("postgres").is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not come back");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// A connection of the test.
    pub(crate) fn connect(&self, database: &str) -> Client {
        self.try_connect(database).unwrap()
    }

    /// Executes statements.
    pub(crate) fn execute(&self, database: &str, statements: &str) {
        self.runtime.block_on(self.connect(database).batch_execute(statements)).unwrap();
    }

    /// The first column of the rows of a query, as texts.
    pub(crate) fn text(&self, database: &str, query: &str) -> String {
        self.try_text(database, query).unwrap()
    }

    /// The same; none if the query fails.
    pub(crate) fn try_text(&self, database: &str, query: &str) -> Option<String> {
        let client = self.try_connect(database).ok()?;
        let rows = self.runtime.block_on(client.simple_query(query)).ok()?;
        let text = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("null").to_owned()),
            _ => None,
        };
        Some(rows.iter().filter_map(text).collect::<Vec<_>>().join(" "))
    }

    fn try_connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })
    }

    fn until_up(&self) {
        let begun = Instant::now();
        while self.try_connect("postgres").is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "PostgreSQL does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT is its fast shutdown; a kill would leave its children and shared memory behind.
        let process = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &process]).status();
        let _ = self.child.wait();
    }
}

fn serve(binaries: &Path, data: &Path, (user, port): (Owner, u16), settings: &[String]) -> Child {
    let mut server = program(&binaries.join("postgres"), data, user);
    server.arg("-D").arg(data).args(["-p", &port.to_string()]);
    for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB"]
    {
        server.args(["-c", setting]);
    }
    for setting in settings {
        server.args(["-c", setting]);
    }
    server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn program(path: &Path, data: &Path, user: Owner) -> Command {
    let mut command = Command::new(path);
    command.current_dir(data).stdin(Stdio::null());
    if let Some((id, group)) = user {
        command.uid(id).gid(group);
    }
    command
}

/// A free port that the system gives to no connection: it is still free when the server is away.
fn free_port() -> u16 {
    let begin = u16::try_from(std::process::id() % 10_000).unwrap();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..12_000).map(|n| 20_000 + (begin + n) % 12_000).find(is_free).unwrap()
}

/// The programs of the newest server that is there.
pub(crate) fn binaries() -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin"));
    let fit = installed.filter(|at| at.join("initdb").exists()).max();
    fit.unwrap_or_else(|| panic!("PostgreSQL is needed: `./test` installs it"))
}

/// The user and group to run as: PostgreSQL refuses to run as root.
fn unprivileged() -> Owner {
    let number = |args: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if number(&["-u"]) != Some(0) {
        return None;
    }
    let of = |name: &str| Some((number(&["-u", name])?, number(&["-g", name])?));
    of("postgres").or_else(|| of("daemon"))
}
