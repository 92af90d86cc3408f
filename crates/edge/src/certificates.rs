//! Certificates of the server, which may change while it runs, and handshakes by them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Over TLS, HTTP/1.1 is spoken and nothing else.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// The certificate of a server, with its key. Cloning gives another handle; what is exchanged holds
/// for every handshake that begins afterwards.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<RwLock<Arc<ServerConfig>>>);

/// Reason why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No chain of certificates in PEM.
    #[error("no certificate in PEM (-----BEGIN CERTIFICATE): {0}")]
    Certificate(String),
    /// No key in PEM.
    #[error("no private key in PEM (-----BEGIN PRIVATE KEY): {0}")]
    Key(String),
    /// They do not belong together, or are of a kind that is not known.
    #[error("the certificate and the key do not go together: {0}")]
    Pair(String),
}

/// Counters of handshakes, by outcome.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    done: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

/// Counters of TLS handshakes since the server began, by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlsCounts {
    /// Completed.
    pub done: u64,
    /// Failed: the client does not speak TLS, or does not trust the certificate.
    pub failed: u64,
    /// Timed out.
    pub late: u64,
}

impl Certificates {
    /// Takes a chain of certificates and its private key, both in PEM.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(read(chain, key)?)))))
    }

    /// Takes others. What is connected stays.
    ///
    /// # Errors
    /// [`CertificateError`]; nothing has changed then.
    pub fn exchange(&self, chain: &[u8], key: &[u8]) -> Result<(), CertificateError> {
        let config = Arc::new(read(chain, key)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<ServerConfig, CertificateError> {
    let bad = |error: &dyn std::fmt::Display| CertificateError::Certificate(error.to_string());
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(&error))?;
    if chain.is_empty() {
        return Err(bad(&"the file holds none"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| CertificateError::Key(error.to_string()))?;
    let pair = |error: rustls::Error| CertificateError::Pair(error.to_string());
    // Said outright, because no provider is installed for the whole process.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

impl Handshakes {
    /// Shakes hands within `limit`; none when that fails.
    pub(crate) async fn shake(
        &self,
        certificates: &Certificates,
        stream: TcpStream,
        limit: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        let shaking = certificates.acceptor().accept(stream);
        let (count, shaken) = match tokio::time::timeout(limit, shaking).await {
            Ok(Ok(stream)) => (&self.done, Some(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                (&self.failed, None)
            }
            Err(_) => (&self.late, None),
        };
        count.fetch_add(1, Ordering::Relaxed);
        shaken
    }

    /// Counts a client that has said nothing in time.
    pub(crate) fn note_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> TlsCounts {
        let [done, failed, late] =
            [&self.done, &self.failed, &self.late].map(|count| count.load(Ordering::Relaxed));
        TlsCounts { done, failed, late }
    }
}
