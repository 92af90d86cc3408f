//! A server in a process of its own, and commands asked of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Timeout of anything outside.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A configuration with a public table, a view and live topics.
pub(crate) const CONFIG: &str = "
[[table]]
dataset = 'd'
name = 't'
public = true

[[live]]
topic = 'room:*'
anyone_publishes = true
";

/// A bound in time: told everywhere, and held where nothing else runs (`cargo xtask soak` sets
/// `INSTEP_TIMED`).
#[expect(clippy::print_stdout, reason = "a figure of the test, beside its verdict")]
pub(crate) fn hold_time(what: &str, took: Duration, bound: Duration) {
    println!("{what}: {took:?}, bound {bound:?}");
    let is_held = std::env::var_os("INSTEP_TIMED").is_some();
    assert!(!is_held || took <= bound, "{what}: {took:?}, bound {bound:?}");
}

/// The binary, with nothing of the environment that could reach another server.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_instep"));
    command.env_remove("INSTEP_SERVER").env_remove("INSTEP_KEY").env_remove("RUST_LOG");
    command.env_remove("INSTEP_TOKEN").env_remove("INSTEP_CA").env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null());
    command
}

/// A client of HTTP without trusted certificates.
pub(crate) fn http() -> reqwest::Client {
    trusting(rustls::RootCertStore::empty()).build().unwrap()
}

/// A client of HTTP that trusts these.
pub(crate) fn trusting(roots: rustls::RootCertStore) -> reqwest::ClientBuilder {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider);
    let tls = tls.with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls)
}

/// Free for now; another process may take it.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Memory of a process, in KiB.
pub(crate) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Runs a command to its end.
pub(crate) fn instep(arguments: &[&str]) -> Output {
    binary().args(arguments).output().unwrap()
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    pub(crate) url: String,
    pub(crate) data: PathBuf,
}

impl Server {
    /// `instep serve` with [`CONFIG`] on a free port, on the data in `directory`.
    pub(crate) fn serve(directory: &Path) -> Self {
        let server = Self::serve_with(directory, CONFIG);
        std::thread::scope(|scope| scope.spawn(|| server.wait_until_joinable("table:d/t")).join())
            .unwrap();
        server
    }

    /// `instep serve` with another configuration.
    pub(crate) fn serve_with(directory: &Path, configuration: &str) -> Self {
        Self::serve_in(directory, configuration, &[])
    }

    /// `instep serve` with another configuration and environment.
    pub(crate) fn serve_in(directory: &Path, configuration: &str, of: &[(&str, &str)]) -> Self {
        let (arguments, data) = serve(directory, configuration);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = of.iter().map(owned).collect();
        let spawned = spawn(&arguments, Some("127.0.0.1:0"), &environment);
        Self::spawned(spawned, arguments, environment, data)
    }

    /// `instep serve` with another configuration, whose log is the file `log` in `directory`.
    pub(crate) fn serve_logging(directory: &Path, configuration: &str) -> Self {
        let log = directory.join("log");
        let before = format!("exec 2>'{}'", text(&log));
        let server = Self::serve_by_shell(directory, configuration, (&before, "127.0.0.1:0"));
        server.wait_until_ready();
        server
    }

    /// `instep serve` with another configuration, by a shell that does something before. It may not
    /// be ready yet.
    pub(crate) fn serve_by_shell(
        directory: &Path,
        configuration: &str,
        (before, address): (&str, &str),
    ) -> Self {
        let (arguments, data) = serve(directory, configuration);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{before} && exec \"$0\" \"$@\"")]);
        shell.arg(env!("CARGO_BIN_EXE_instep")).stdin(Stdio::null());
        let (child, url) = spawn_with(shell, &arguments, Some(address), &[]);
        Self { child, arguments, environment: Vec::new(), url, data }
    }

    /// A server by its arguments, on a free port.
    pub(crate) fn start(arguments: &[&str], data: PathBuf) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let spawned = spawn(&arguments, Some("127.0.0.1:0"), &[]);
        Self::spawned(spawned, arguments, vec![], data)
    }

    /// A server by its arguments, where it listens by itself.
    pub(crate) fn start_anywhere(arguments: &[&str], data: PathBuf) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Self::spawned(spawn(&arguments, None, &[]), arguments, vec![], data)
    }

    fn spawned(
        (child, url): (Child, String),
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        data: PathBuf,
    ) -> Self {
        let server = Self { child, arguments, environment, url, data };
        server.wait_until_ready();
        server
    }

    /// Address that the server listens on, without `http://`.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// The number of the process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Memory of the process, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        resident_kib(self.process())
    }

    /// Ends the process; answers its exit code, none if a signal ended it.
    pub(crate) fn signal(&mut self, signal: &str) -> Option<i32> {
        self.tell(signal);
        self.ended()
    }

    /// Sends a signal.
    pub(crate) fn tell(&self, signal: &str) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    /// Waits for the end of the process; its exit code, none if a signal ended it.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the server did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts again on the same data and port.
    pub(crate) fn start_again(&mut self) {
        let (child, url) = spawn(&self.arguments, Some(self.address()), &self.environment);
        assert_eq!(url, self.url);
        self.child = child;
        self.wait_until_ready();
    }

    /// Starts again with a dataset that does not open: it serves, and is not ready.
    pub(crate) fn start_unready(&mut self) {
        let (child, url) = spawn(&self.arguments, Some(self.address()), &self.environment);
        assert_eq!(url, self.url);
        self.child = child;
        let begun = Instant::now();
        while request(self.address(), "GET", "/metrics", "").0 == 0
            || request(self.address(), "GET", "/readyz", "").1.contains("\"loading\"")
        {
            assert!(begun.elapsed() < PATIENCE, "the server does not serve");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs a command against this server.
    pub(crate) fn instep(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command against this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = binary();
        command.args(arguments).args(["--server", &self.url, "--data", text(&self.data)]);
        command
    }

    /// Runs a command that must succeed; answers its stdout.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let output = self.instep(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// Runs a command with `--json` that must succeed; answers what it printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.must(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A request with the admin key; answers the status and the body.
    pub(crate) fn request(&self, method: &str, path: &str) -> (u16, String) {
        let key = std::fs::read_to_string(self.data.join("admin.key")).unwrap();
        let head = format!("authorization: Bearer {}\r\n", key.trim());
        request(self.address(), method, path, &head)
    }

    /// A request with nothing to show, and with these lines of the head.
    pub(crate) fn ask_anonymously(&self, method: &str, path: &str, head: &str) -> (u16, String) {
        request(self.address(), method, path, head)
    }

    /// The status of an answer that may have no end.
    pub(crate) fn status(&self, method: &str, path: &str) -> u16 {
        let address = self.address();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Posts JSON with the admin key and more lines of the head; answers the status and the body.
    pub(crate) fn post(&self, path: &str, head: &str, body: &str) -> (u16, String) {
        let key = std::fs::read_to_string(self.data.join("admin.key")).unwrap();
        let head = format!("authorization: Bearer {}\r\n{head}", key.trim());
        request_with(self.address(), "POST", path, &head, body)
    }

    /// Begins a pull of a server's mail that waits; its connection. The server is known then.
    pub(crate) fn begin_to_pull(&self, dataset: &str, mail_server: &str) -> TcpStream {
        let key = std::fs::read_to_string(self.data.join("admin.key")).unwrap();
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = "{\"max\":1,\"wait_ms\":20000}";
        let request = format!(
            "POST /v1/datasets/{dataset}/servers/{mail_server}/pull HTTP/1.1\r\nhost: x\r\n\
             connection: close\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            key.trim(),
            body.len(),
        );
        stream.write_all(request.as_bytes()).unwrap();
        let begun = Instant::now();
        let (servers, named) =
            (format!("/v1/datasets/{dataset}/servers"), format!("\"{mail_server}\""));
        while !self.request("GET", &servers).1.contains(&named) {
            assert!(begun.elapsed() < PATIENCE, "the pull does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        stream
    }

    /// Puts JSON with the admin key; answers the status and the body.
    pub(crate) fn put(&self, path: &str, body: &str) -> (u16, String) {
        let key = std::fs::read_to_string(self.data.join("admin.key")).unwrap();
        let head = format!("authorization: Bearer {}\r\n", key.trim());
        request_with(self.address(), "PUT", path, &head, body)
    }

    /// A table is acknowledged a moment before its topic can be joined.
    pub(crate) fn wait_until_joinable(&self, topic: &str) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let channels = instep_client::Channels::connect(&self.url).await.unwrap();
            let begun = Instant::now();
            while let Err(error) = channels.join(topic, serde_json::json!({})).await {
                assert!(begun.elapsed() < PATIENCE, "{topic} cannot be joined: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }

    pub(crate) fn wait_until_ready(&self) {
        let begun = Instant::now();
        while request(self.address(), "GET", "/readyz", "").0 != 200 {
            assert!(begun.elapsed() < PATIENCE, "the server is not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration; answers the arguments of a server with it, and where its data will be.
pub(crate) fn serve(directory: &Path, configuration: &str) -> (Vec<String>, PathBuf) {
    let (config, data) = (directory.join("instep.toml"), directory.join("data"));
    std::fs::write(&config, configuration).unwrap();
    let arguments = ["serve", "--config", text(&config), "--data", text(&data)];
    (arguments.map(str::to_owned).to_vec(), data)
}

/// Starts a process and waits until it says where it listens.
fn spawn(
    arguments: &[String],
    address: Option<&str>,
    environment: &[(String, String)],
) -> (Child, String) {
    spawn_with(binary(), arguments, address, environment)
}

fn spawn_with(
    mut command: Command,
    arguments: &[String],
    address: Option<&str>,
    environment: &[(String, String)],
) -> (Child, String) {
    let mut child = command
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .args(address.map(|address| format!("--http={address}")))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (found, announced) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        // Read to the end: a full pipe would stop the server.
        for line in stdout.lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("listening ") {
                let _ = found.send(url.to_owned());
            }
        }
    });
    let mut stderr = child.stderr.take().unwrap();
    let told = std::thread::spawn(move || {
        let mut told = String::new();
        let _ = stderr.read_to_string(&mut told);
        told
    });
    match announced.recv_timeout(PATIENCE) {
        Ok(url) => (child, url),
        Err(_) => {
            let _ = child.kill();
            panic!("the server announced no address: {}", told.join().unwrap());
        }
    }
}

/// One HTTP request; answers the status and the body, or status 0 without a connection.
fn request(address: &str, method: &str, path: &str, head: &str) -> (u16, String) {
    request_with(address, method, path, head, "")
}

fn request_with(address: &str, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(address) else { return (0, String::new()) };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-length: {}\r\n{head}\r\n{body}",
        body.len(),
    );
    let mut answer = Vec::new();
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
