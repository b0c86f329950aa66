//! Which certificates of servers are accepted.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::{sync::Arc, time::Duration};
use webpki::{EndEntityCert, KeyUsage};

/// Accepts a certificate that an authority signed, as webpki does, and the very certificates that the operator named:
/// what `openssl req -x509` writes is both its own authority and a server's certificate, which webpki does not have.
/// The name and the dates hold for these too.
#[derive(Debug)]
pub(super) struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub(super) fn new(webpki: Arc<WebPkiServerVerifier>, named: Vec<CertificateDer<'static>>) -> Self {
        Verifier { webpki, named }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let error = match self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        if !self.named.iter().any(|named| named == end_entity) || !concerns_issuer(&error) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Whether an error concerns who signed a certificate, or what the certificate is meant for. webpki checks the dates before
/// these, and so reports none of them for a certificate that is not valid now; tests/tls.rs holds it to that.
fn concerns_issuer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. }
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

/// Whether a certificate may sign others (RFC 5280 section 4.2.1.9): it says `CA:TRUE`, or is of version 1, which has no
/// way to say so. webpki takes whatever is named as an authority for one.
pub(super) fn may_sign(certificate: &CertificateDer<'_>) -> bool {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else { return true };
    let mut time = UnixTime::since_unix_epoch(Duration::ZERO);
    loop {
        // As a server's: that fails at the dates, then at `CA:TRUE`, and at last for want of an authority.
        match parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None) {
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => time = not_before,
            Err(webpki::Error::CertExpired { not_after, .. }) => time = not_after,
            Err(webpki::Error::CaUsedAsEndEntity) => return true,
            _ => return false,
        }
    }
}
