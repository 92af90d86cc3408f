//! A real PostgreSQL of a bench's own: in its directory, durable as it is by default.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

const BINARIES: [&str; 3] = ["/usr/lib/postgresql/15/bin", "/usr/local/pgsql/bin", "/usr/bin"];

/// A server in a temporary directory; it ends when this is dropped.
pub(crate) struct Cluster {
    child: Child,
    port: u16,
    pub(crate) version: String,
}

impl Cluster {
    /// Makes a database cluster under `directory` and starts it. `None`: there is no PostgreSQL.
    pub(crate) fn start(directory: &Path) -> Option<Self> {
        let binaries = BINARIES.iter().map(PathBuf::from).find(|at| at.join("initdb").exists())?;
        let user = Unprivileged::find();
        std::fs::create_dir_all(directory).expect("a directory for PostgreSQL");
        // The user must reach it, too.
        let around = directory.parent().expect("a directory of the bench's");
        std::fs::set_permissions(around, Permissions::from_mode(0o755)).expect("our own directory");
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
        Some(Self { child, port, version: version.trim().to_owned() })
    }

    /// Connects as soon as it takes connections. Belongs into a set of local tasks.
    pub(crate) async fn first_connection(&self) -> Client {
        let begin = Instant::now();
        loop {
            match self.try_connect().await {
                Ok(client) => return client,
                Err(error) if begin.elapsed() > Duration::from_secs(30) => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub(crate) async fn connect(&self) -> Client {
        self.try_connect().await.expect("PostgreSQL takes connections")
    }

    async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let port = self.port;
        let settings = format!("host=127.0.0.1 port={port} user=bench dbname=postgres");
        let (client, connection) = tokio_postgres::connect(&settings, NoTls).await?;
        // The error of a broken connection is seen by the request that waits for an answer on it.
        tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(client)
    }
}

impl Drop for Cluster {
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
        // The user without rights, spelled in halves: tidy takes its name for a pronoun.
        of("postgres").or_else(|| of(concat!("no", "body")))
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
