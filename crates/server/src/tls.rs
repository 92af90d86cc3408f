//! The certificate of the server: read at the start, and again whenever a file changes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use instep_edge::Certificates;

use crate::config::{Fault, TlsConfig};

/// The files are looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of a file.
const FILE_BYTES: u64 = 1024 * 1024;

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
    let chain = read(certificate).map_err(|problem| Fault::new("tls.certificate", problem))?;
    let secret = read(key).map_err(|problem| Fault::new("tls.key", problem))?;
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

/// Looks at the files for as long as the server runs. Whoever comes after a change meets the new
/// certificate. What cannot be used changes nothing, is told once, and is tried again: a change
/// counts as seen only when it was taken.
pub(crate) async fn watch(certificates: Certificates, tls: TlsConfig, mut seen: State) {
    let Some((certificate, key)) = tls.files() else { return };
    let mut told: Option<(State, String)> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = state(&tls);
        if now == seen {
            STALE.store(false, Ordering::Relaxed);
            continue;
        }
        let exchanged = read(certificate).and_then(|chain| Ok((chain, read(key)?)));
        let exchanged = exchanged.and_then(|(chain, secret)| {
            certificates.exchange(&chain, &secret).map_err(|error| error.to_string())
        });
        match exchanged {
            Ok(()) => {
                (seen, told) = (now, None);
                STALE.store(false, Ordering::Relaxed);
                tracing::info!("the certificate was read again");
            }
            Err(error) => {
                STALE.store(true, Ordering::Relaxed);
                let refused = Some((now, error.clone()));
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

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let bytes = path.metadata().map_err(|error| failed(&error))?.len();
    if bytes > FILE_BYTES {
        return Err(failed(&format!("longer than {FILE_BYTES} bytes")));
    }
    std::fs::read(path).map_err(|error| failed(&error))
}

/// State of a file, by which a change is found.
fn state_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
