//! TLS: rustls towards servers, with the built-in roots, the system's, and the operator's; and for both ends the reading
//! of PEM files and the words for errors.
//!
//! The cryptography is the embedder's choice: the provider that the process has installed
//! ([`rustls::crypto::CryptoProvider::install_default`]), or else *ring* or aws-lc-rs, as the feature `ring` or `aws-lc-rs`
//! selects.

pub(crate) mod connection;
mod files;
mod verifier;

pub use crate::error::tls::{Side, explain};
use crate::error::{chain, tls::explain_rustls};
pub use files::{Certificate, PrivateKey, certificates, private_key};

use crate::{ConnectError, Error, SettingError, Settings, drive::transport::Transport};
use rustls::{
    ClientConfig, RootCertStore, client::WebPkiServerVerifier, crypto::CryptoProvider, pki_types::ServerName,
};
use std::{error, path::Path, sync::Arc};
use tokio_rustls::TlsConnector;
use url::Host;
use verifier::{Verifier, may_sign};

/// What it takes to open TLS sessions.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// Reads every certificate that the settings name.
    ///
    /// # Errors
    /// [`SettingError::Value`] that names the setting and the file.
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        #[cfg(feature = "native-roots")]
        add_native(&mut roots);
        let mut named = Vec::new();
        for path in &settings.ca_cert {
            let found = certificates(path).map_err(|reason| bad_file("ca-cert", path, reason))?;
            // A server's certificate is trusted as it is, and not as an authority: its holder signs for no other name.
            let found: Vec<_> = found.into_iter().map(|certificate| certificate.0).collect();
            for certificate in found.iter().filter(|certificate| may_sign(certificate)) {
                let added = roots.add(certificate.clone());
                added.map_err(|error| bad_file("ca-cert", path, explain_file(&error, "a certificate in it")))?;
            }
            named.extend(found);
        }
        let provider = provider().map_err(|error| SettingError::Conflict(error.to_string()))?;
        let failed = |error: rustls::Error| SettingError::Conflict(explain_rustls(&error, Side::Client));
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| SettingError::Conflict(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(verifier, named)));
        let mut config = match (&settings.client_cert, &settings.client_key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate).map_err(|reason| bad_file("client-cert", certificate, reason))?;
                let private = private_key(key).map_err(|reason| bad_file("client-key", key, reason))?;
                let chain = chain.into_iter().map(|certificate| certificate.0).collect();
                builder.with_client_auth_cert(chain, private.0).map_err(|error| match error {
                    rustls::Error::InvalidCertificate(_) => {
                        bad_file("client-cert", certificate, explain_file(&error, "the certificate"))
                    }
                    error => bad_file("client-key", key, explain_file(&error, "the certificate")),
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        // WebSockets start as HTTP/1.1 (RFC 6455); say so to servers that would rather speak HTTP/2.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }

    /// Opens a TLS session with `host` over `transport`.
    ///
    /// # Errors
    /// [`Error::ConnectionFailed`] with what is wrong, the certificate for example.
    pub(crate) async fn connect<T: Transport>(
        &self,
        host: &Host<String>,
        transport: T,
    ) -> Result<tokio_rustls::client::TlsStream<T>, ConnectError> {
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|error| {
                let why = format!("{name:?} cannot be the name of a TLS server: {error}");
                ConnectError::invalid_request(Error::InvalidUrl(why))
            })?,
            Host::Ipv4(address) => ServerName::IpAddress((*address).into()),
            Host::Ipv6(address) => ServerName::IpAddress((*address).into()),
        };
        self.0.connect(name, transport).await.map_err(|cause| {
            let error = Error::ConnectionFailed(format!("TLS with {host}: {}", explain(&cause, Side::Client)));
            ConnectError::tls(error, cause)
        })
    }
}

/// The process has installed no provider of cryptography, and there is none to fall back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cryptography for TLS is missing; install a rustls CryptoProvider first, or turn on the feature `ring` or `aws-lc-rs`"
)]
pub struct NoCryptography;

/// The provider of cryptography that this process has installed, or else the built-in one.
///
/// # Errors
/// [`NoCryptography`] where there is neither.
///
/// Hidden, because its type is that of rustls: it is for `websocket-listener`, which has the same version of rustls.
#[doc(hidden)]
pub fn provider() -> Result<Arc<CryptoProvider>, NoCryptography> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Ok(Arc::clone(installed));
    }
    #[cfg(feature = "ring")]
    return Ok(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
    return Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    Err(NoCryptography)
}

/// Adds the root certificates of the system. One that cannot be read or parsed is left out.
#[cfg(feature = "native-roots")]
fn add_native(roots: &mut RootCertStore) {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "a root certificate of this system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
}

/// Why a TLS library cannot use a certificate or a key of a file: an error of rustls in words, any other with its causes.
///
/// `whose` names the certificate.
pub fn explain_file(error: &(dyn error::Error + 'static), whose: &str) -> String {
    match error.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(error)) => crate::error::tls::explain_certificate(error, whose),
        Some(rustls::Error::General(_)) => files::BAD_KEY.to_owned(),
        Some(error) => explain_rustls(error, Side::Client),
        None => chain(error),
    }
}

fn bad_file(name: &'static str, path: &Path, reason: String) -> SettingError {
    SettingError::Value { name, value: path.display().to_string(), reason }
}
