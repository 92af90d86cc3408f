//! The certificate of the server: read at the start, and again whenever a file changes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use instep_edge::{CertificateError, Certificates};
use instep_node::blocking;

use crate::config::{Fault, TlsConfig};
use crate::private_file;

/// The files are looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Certificates that were not taken because a file is not good.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// The files are not those of the certificate that is shown.
static STALE: AtomicBool = AtomicBool::new(false);

/// True while a changed certificate cannot be taken.
pub(crate) fn is_stale() -> bool {
    STALE.load(Ordering::Relaxed)
}

/// Count of changed certificates that were not taken.
pub(crate) fn refused() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

/// The certificate as the files have it; none if there is to be no TLS.
pub(crate) fn certificates(tls: &TlsConfig) -> Result<Option<Certificates>, Fault> {
    let Some((certificate, key)) = tls.files() else { return Ok(None) };
    let chain =
        read(certificate).map_err(|error| Fault::new("tls.certificate", error.to_string()))?;
    let secret = read(key).map_err(|error| Fault::new("tls.key", error.to_string()))?;
    let read = Certificates::new(&chain, &secret);
    read.map(Some).map_err(|error| {
        let files = format!("{}, {}", certificate.display(), key.display());
        Fault::new("tls", format!("{files}: {error}"))
    })
}

/// State of the files of the certificate and its key, by which a change is found.
pub(crate) type State = [Option<(SystemTime, u64)>; 2];

/// The state of the files, to be taken before they are read: what is changed meanwhile is noticed.
pub(crate) fn state(tls: &TlsConfig) -> State {
    tls.files().map_or([None; 2], |(certificate, key)| [state_of(certificate), state_of(key)])
}

/// Looks at the files for as long as the server runs. A client that comes after a change meets the
/// new certificate. What cannot be used changes nothing, is told once, and is tried again: a change
/// counts as seen only when it was taken.
pub(crate) async fn watch(certificates: Certificates, tls: TlsConfig, mut seen: State) {
    let Some((certificate, key)) = tls.files() else { return };
    let mut told: Option<(State, String)> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        // A file system that does not answer keeps no thread that serves clients.
        let of = tls.clone();
        let Ok((now, read)) = blocking(move || changed(&of, seen)).await else {
            // The system gives no thread now; the next look asks again.
            continue;
        };
        let Some(exchanged) = read else {
            STALE.store(false, Ordering::Relaxed);
            continue;
        };
        let exchanged =
            exchanged.and_then(|(chain, secret)| Ok(certificates.exchange(&chain, &secret)?));
        match exchanged {
            Ok(()) => {
                (seen, told) = (now, None);
                STALE.store(false, Ordering::Relaxed);
                tracing::info!("the certificate was read again");
            }
            Err(error) => {
                STALE.store(true, Ordering::Relaxed);
                let refused = Some((now, error.to_string()));
                if told == refused {
                    continue;
                }
                told = refused;
                REFUSED.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    %error,
                    certificate = %certificate.display(),
                    key = %key.display(),
                    "the certificate is as before: a file is not good"
                );
            }
        }
    }
}

/// The state of the files now, and what they say if it is another one.
fn changed(tls: &TlsConfig, seen: State) -> (State, Option<Result<Pair, FileError>>) {
    let now = state(tls);
    let files = tls.files().filter(|_| now != seen);
    let pair = files.map(|(certificate, key)| Ok((read(certificate)?, read(key)?)));
    (now, pair)
}

/// Bytes of a certificate and of its key.
type Pair = (Vec<u8>, Vec<u8>);

/// Error of a file of the certificate or its key.
#[derive(Debug, thiserror::Error)]
enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    /// The files are no certificate with its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    private_file::bytes(path).map_err(|error| FileError::Read { path: path.to_owned(), error })
}

/// State of a file, by which a change is found.
fn state_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
