//! Verification of a server whose own certificate is among those to trust.
//!
//! A self-signed certificate as `openssl req -x509` makes it says that it is an authority, and an
//! authority is no server to the library of chains. An operator who names that very certificate has
//! said that it is. Its time, its purpose and its name are checked all the same.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::time::Time;

/// Verifier of chains that end at roots, and of servers that show one of the roots themselves.
#[derive(Debug)]
pub(super) struct Named {
    chains: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl Named {
    pub(super) fn new(
        chains: Arc<WebPkiServerVerifier>,
        named: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { chains, named }
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Byte for byte: the same name or key in another certificate is another certificate.
        if !self.named.iter().any(|named| named.as_ref() == shown.as_ref()) {
            return self.chains.verify_server_cert(shown, more, name, ocsp, now);
        }
        // Also refuses extensions that are not understood here.
        let parsed = ParsedCertificate::try_from(shown)?;
        is_for_servers_now(shown, now)?;
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Checks the time of a certificate, and that it may be a server's.
fn is_for_servers_now(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let unreadable = |_: x509_cert::der::Error| Error::from(CertificateError::BadEncoding);
    let certificate = Certificate::from_der(certificate).map_err(unreadable)?.tbs_certificate;
    let not_before = since_1970(certificate.validity.not_before);
    let not_after = since_1970(certificate.validity.not_after);
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    let purposes = certificate.get::<ExtendedKeyUsage>().map_err(unreadable)?;
    let serves = |ExtendedKeyUsage(purposes)| {
        purposes.iter().any(|it| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(it))
    };
    if purposes.is_none_or(|(_, purposes)| serves(purposes)) {
        Ok(())
    } else {
        Err(CertificateError::InvalidPurpose.into())
    }
}

fn since_1970(time: Time) -> UnixTime {
    UnixTime::since_unix_epoch(time.to_unix_duration())
}
