//! Trust anchors for TLS.

mod named;

use std::sync::Arc;

use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

use self::named::Named;

/// Root certificates that may vouch for a server that is asked over `https://`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificates in PEM; none: the roots of this machine.
    roots: Option<Vec<u8>>,
}

/// Error in trust anchors.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The machine has none.
    #[error("this machine has no trusted certificates; name one to trust")]
    NoRoots,
    /// The file has none.
    #[error("the file of certificates to trust holds none in PEM")]
    Empty,
    /// The file is not PEM.
    #[error("the certificate to trust: {0}")]
    Pem(#[from] pem::Error),
    /// A certificate cannot be read.
    #[error("the certificate to trust: {0}")]
    Certificate(rustls::Error),
    /// TLS itself.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The verifier cannot be made.
    #[error(transparent)]
    Verifier(#[from] VerifierBuilderError),
}

impl Trust {
    /// Trusts the roots of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// Trusts these certificates in PEM and no others: authorities, and servers that sign for
    /// themselves (`openssl req -x509`). Names and times are checked as always.
    #[must_use]
    pub fn only(pem: Vec<u8>) -> Self {
        Self { roots: Some(pem) }
    }

    /// Builds the configuration of a client's TLS.
    ///
    /// # Errors
    /// [`TrustError`] when there is nothing to trust, or something that is no certificate.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        self.config(true)
    }

    /// Builds the same; without `tls` no roots are read for it.
    pub(crate) fn config(&self, tls: bool) -> Result<ClientConfig, TrustError> {
        // Said outright, because none is installed for the whole process.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let mut roots = RootCertStore::empty();
        let named = match (tls, &self.roots) {
            (false, _) => vec![],
            (true, None) => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(TrustError::NoRoots);
                }
                vec![]
            }
            (true, Some(pem)) => read(pem, &mut roots)?,
        };
        if named.is_empty() {
            return Ok(builder.with_root_certificates(roots).with_no_client_auth());
        }
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = Arc::new(Named::new(chains.build()?, named));
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// Reads certificates; each becomes a root as well.
fn read(pem: &[u8], roots: &mut RootCertStore) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let mut named = vec![];
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate?;
        roots.add(certificate.clone()).map_err(TrustError::Certificate)?;
        named.push(certificate);
    }
    if named.is_empty() { Err(TrustError::Empty) } else { Ok(named) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_certificates_are_not_trusted() {
        for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
        {
            assert!(Trust::only(bad.into()).config(true).is_err(), "{bad}");
        }
        assert!(Trust::only(vec![]).config(false).is_ok(), "nothing is read without TLS");
    }
}
