//! Whom a client trusts when it speaks TLS.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Who may vouch for a server that is asked over `https://`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// None: whoever this machine trusts.
    roots: Option<Vec<u8>>,
}

impl Trust {
    /// Whoever this machine trusts.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// These authorities and nobody else: certificates in PEM. That of a server that vouches for
    /// itself is good as well.
    #[must_use]
    pub fn only(pem: Vec<u8>) -> Self {
        Self { roots: Some(pem) }
    }

    /// How to speak TLS; without `tls` nothing is read for it.
    pub(crate) fn config(&self, tls: bool) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        if tls {
            self.fill(&mut roots)?;
        }
        // Said outright, because nobody installs one for the whole process.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    fn fill(&self, roots: &mut RootCertStore) -> Result<(), String> {
        let Some(pem) = &self.roots else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return match roots.is_empty() {
                true => Err("this machine trusts nobody; name a certificate to trust".into()),
                false => Ok(()),
            };
        };
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|error| format!("the certificate to trust: {error}"))?;
        }
        match roots.is_empty() {
            true => Err("the file of certificates to trust holds none in PEM".into()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_not_trusted() {
        for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
        {
            assert!(Trust::only(bad.into()).config(true).is_err(), "{bad}");
        }
        assert!(Trust::only(vec![]).config(false).is_ok(), "nothing is read without TLS");
    }
}
