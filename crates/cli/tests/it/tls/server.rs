//! A server with a certificate of its own making, and a client that trusts it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use instep_client::Trust;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::running::{CONFIG, PATIENCE, binary, serve, trusting};

/// A certificate for this machine, and its key.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A running server; killed when dropped.
pub(crate) struct Secure {
    child: Child,
    pub(crate) identity: Identity,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) data: PathBuf,
    pub(crate) url: String,
    pub(crate) tcp: SocketAddr,
    log: Arc<Mutex<String>>,
}

pub(crate) type Socket = StreamOwned<ClientConnection, TcpStream>;

impl Identity {
    pub(crate) fn new() -> Self {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Key first, as careful people do: the certificate without its key is never the newer one.
    pub(crate) fn write(&self, directory: &Path) {
        std::fs::write(directory.join("key.pem"), &self.key).unwrap();
        std::fs::write(directory.join("certificate.pem"), &self.certificate).unwrap();
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        roots.add(der).unwrap();
        roots
    }
}

impl Secure {
    /// Serves HTTP and TCP over TLS, with more configuration.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_as(Identity::new(), more)
    }

    /// The same with a certificate from elsewhere.
    pub(crate) fn start_as(identity: Identity, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        identity.write(directory.path());
        let [certificate, key] =
            ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
        let configuration = format!(
            "tcp = '127.0.0.1:0'\n{more}\n[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
             tcp = true\n{CONFIG}"
        );
        let (arguments, data) = serve(directory.path(), &configuration);
        let mut child = binary()
            .args(arguments)
            .args(["--http", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log: Arc<Mutex<String>> = Arc::default();
        let mut stderr = child.stderr.take().unwrap();
        let told = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(bytes @ 1..) = stderr.read(&mut buffer) {
                told.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..bytes]));
            }
        });
        let (found, announced) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = found.send(line);
            }
        });
        let line = || announced.recv_timeout(PATIENCE).expect("the server announces itself");
        let url = line().strip_prefix("listening ").unwrap().to_owned();
        assert!(url.starts_with("https://"), "{url}");
        let tcp = line().strip_prefix("listening tls://").unwrap().parse().unwrap();
        let secure = Self { child, identity, directory, data, url, tcp, log };
        // Whether its certificate is trusted is what tests look at.
        let is_ready = || secure.log().lines().any(|line| line.ends_with(": ready"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(secure.until("ready", async || is_ready()));
        secure
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("https://").unwrap().parse().unwrap()
    }

    /// The number of the process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Log of the server so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Reads a page with the admin key.
    pub(crate) async fn get(&self, path: &str, trust: &Trust) -> String {
        let key = std::fs::read_to_string(self.data.join("admin.key")).unwrap();
        let pem = std::fs::read(self.certificate()).unwrap();
        assert_eq!(*trust, Trust::only(pem.clone()), "the certificate of now");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let client = trusting(roots).build().unwrap();
        let asked = client.get(format!("{}{path}", self.url)).bearer_auth(key.trim());
        asked.send().await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !done().await {
            assert!(begun.elapsed() < PATIENCE, "never: {what}\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection over TLS, its handshake done.
pub(crate) fn socket(address: SocketAddr, trusted: &Identity) -> Socket {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted.roots())
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).unwrap();
    }
    StreamOwned::new(session, stream)
}

/// Sends a message behind its length.
pub(crate) fn send(socket: &mut Socket, message: &Value) {
    let text = message.to_string();
    socket.write_all(&u32::try_from(text.len()).unwrap().to_be_bytes()).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket.flush().unwrap();
}

/// The next message; none at the end of the stream.
pub(crate) fn next(socket: &mut Socket) -> Option<Value> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut message).unwrap();
    Some(serde_json::from_slice(&message).unwrap())
}
