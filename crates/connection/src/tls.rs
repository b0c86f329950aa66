//! TLS towards servers: rustls, with the built-in roots, the system's, and the operator's.

use crate::{ConnectError, Error, SettingError, Settings, error::chain, transport::Transport};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use std::{path::Path, sync::Arc};
use tokio_rustls::TlsConnector;
use url::Host;

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
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "a root certificate of this system cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        for path in &settings.ca_cert {
            for certificate in certificates("ca-cert", path)? {
                roots.add(certificate).map_err(|error| bad_file("ca-cert", path, &chain(&error)))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SettingError::Conflict(chain(&error)))?
            .with_root_certificates(roots);
        let mut config = match (&settings.client_cert, &settings.client_key) {
            (Some(certificate), Some(key)) => {
                let chain_of = certificates("client-cert", certificate)?;
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| bad_file("client-key", key, &error.to_string()))?;
                builder
                    .with_client_auth_cert(chain_of, private)
                    .map_err(|error| bad_file("client-key", key, &chain(&error)))?
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
            let error = Error::ConnectionFailed(format!("TLS with {host}: {}", chain(&cause)));
            ConnectError::tls(error, cause)
        })
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(bad_file(setting, path, "there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(bad_file(setting, path, &error.to_string())),
    }
}

fn bad_file(name: &'static str, path: &Path, reason: &str) -> SettingError {
    let reason = format!("{reason}; name a readable PEM file");
    SettingError::Value { name, value: path.display().to_string(), reason }
}
