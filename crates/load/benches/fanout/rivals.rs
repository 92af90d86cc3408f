//! The servers that take part, each in a process of its own on a core of its own.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use instep_load::Door;
use instep_load::process::resident_bytes_of;

/// The core of the server; the load has the other.
const CORE: &str = "0";
const PATIENCE: Duration = Duration::from_secs(20);

/// Servers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rival {
    Tcp,
    WebSocket,
    Plain,
    Coalescing,
    Redis,
    Nats,
    Mosquitto,
    Ws,
}

pub(crate) const ALL: [Rival; 8] = [
    Rival::Tcp,
    Rival::WebSocket,
    Rival::Plain,
    Rival::Coalescing,
    Rival::Redis,
    Rival::Nats,
    Rival::Mosquitto,
    Rival::Ws,
];

impl Rival {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "instep tcp",
            Self::WebSocket => "instep websocket",
            Self::Plain => "plain floor",
            Self::Coalescing => "coalescing floor",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
            Self::Ws => "ws",
        }
    }

    fn door(self) -> Door {
        match self {
            Self::Tcp | Self::Plain | Self::Coalescing => Door::Tcp,
            Self::WebSocket => Door::WebSocket,
            Self::Redis => Door::Redis,
            Self::Nats => Door::Nats,
            Self::Mosquitto => Door::Mqtt,
            Self::Ws => Door::PlainWebSocket,
        }
    }
}

/// A running server; it ends when this is dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) door: Door,
    pub(crate) address: SocketAddr,
    /// Right after the start.
    pub(crate) resident: u64,
    /// Address of Instep's HTTP.
    http: Option<SocketAddr>,
    directory: tempfile::TempDir,
}

impl Served {
    /// Starts it. `None`: it is not installed.
    pub(crate) fn start(rival: Rival) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let http = match rival {
            Rival::WebSocket => Some(address),
            Rival::Tcp => Some(SocketAddr::from(([127, 0, 0, 1], free_port()))),
            _ => None,
        };
        let mut command = command(rival, directory.path(), port, http)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        if std::env::var_os("FANOUT_STDERR").is_none() {
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().ok()?;
        if matches!(rival, Rival::Tcp | Rival::WebSocket) {
            let out = child.stdout.as_mut().expect("it was asked for");
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).expect("text");
            if line.is_empty() {
                return None;
            }
        }
        let mut served = Self { child, door: rival.door(), address, resident: 0, http, directory };
        served.wait(rival);
        Some(served)
    }

    fn wait(&mut self, rival: Rival) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "{} does not listen", rival.name());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(500));
        self.resident = self.resident_now();
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Address of Instep's metrics, and the key for them.
    pub(crate) fn metrics(&self) -> Option<(SocketAddr, String)> {
        let key = std::fs::read_to_string(self.directory.path().join("data/admin.key")).ok()?;
        Some((self.http?, key.trim().to_owned()))
    }

    pub(crate) fn resident_now(&self) -> u64 {
        resident_bytes_of(self.child.id()).unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

fn command(rival: Rival, directory: &Path, port: u16, http: Option<SocketAddr>) -> Option<Command> {
    match rival {
        Rival::Tcp | Rival::WebSocket => instep(rival, directory, port, http?),
        Rival::Plain => floor("plain", port),
        Rival::Coalescing => floor("coalescing", port),
        Rival::Redis => redis(directory, port),
        Rival::Nats => nats(directory, port),
        Rival::Mosquitto => mosquitto(directory, port),
        Rival::Ws => ws(port),
    }
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORE]).arg(program);
    command
}

fn instep(rival: Rival, directory: &Path, port: u16, http: SocketAddr) -> Option<Command> {
    let program = instep_binary()?;
    let tcp = match rival {
        Rival::Tcp => format!("tcp = '127.0.0.1:{port}'\n"),
        _ => String::new(),
    };
    let text = format!(
        "http = '{http}'\n{tcp}\n\
         [[live]]\ntopic = 'bench:*'\nanyone_publishes = true\n"
    );
    let config = directory.join("instep.toml");
    std::fs::write(&config, text).expect("our own directory");
    let mut command = pinned(&program);
    command.arg("serve").arg("--config").arg(config);
    command.arg("--data").arg(directory.join("data"));
    Some(command)
}

/// The binary that is measured: `INSTEP_BINARY`, or what the release profile has built.
pub(crate) fn instep_binary() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("release/instep");
    let named = std::env::var_os("INSTEP_BINARY").map(PathBuf::from);
    named.or(Some(built)).filter(|program| program.exists())
}

fn floor(kind: &str, port: u16) -> Option<Command> {
    let mut command = pinned(&std::env::current_exe().ok()?);
    command.args(["floor", kind, &port.to_string()]);
    Some(command)
}

fn redis(directory: &Path, port: u16) -> Option<Command> {
    let mut command = pinned(&found("redis-server")?);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no", "--maxclients", "19900", "--tcp-backlog", "4096", "--dir"]);
    command.arg(directory);
    Some(command)
}

fn nats(directory: &Path, port: u16) -> Option<Command> {
    let config = directory.join("nats.conf");
    let text = format!("listen: \"127.0.0.1:{port}\"\nmax_connections: 19900\n");
    std::fs::write(&config, text).expect("our own directory");
    let mut command = pinned(&found("nats-server")?);
    command.arg("-c").arg(config);
    Some(command)
}

fn mosquitto(directory: &Path, port: u16) -> Option<Command> {
    let config = directory.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n\
         log_dest none\n"
    );
    std::fs::write(&config, text).expect("our own directory");
    let mut command = pinned(&found("mosquitto")?);
    command.arg("-c").arg(config);
    Some(command)
}

fn ws(port: u16) -> Option<Command> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = crates.join("../../web/tests/node_modules/ws").canonicalize().ok()?;
    let mut command = pinned(&found("node")?);
    command.arg(crates.join("benches/fanout/broadcast.cjs"));
    command.arg(port.to_string()).arg(module);
    Some(command)
}

/// A program on the path, or where Debian puts servers.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(program)).find(|file| file.exists())
}
