//! TLS of a server: its certificate chain and private key, from PEM files or from memory.
//!
//! The cryptography is the embedder's choice: the provider that the process has installed
//! ([`rustls::crypto::CryptoProvider::install_default`]), or else *ring* or aws-lc-rs, as the feature `ring` or `aws-lc-rs`
//! selects.

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use std::path::{Path, PathBuf};
use websocket_connection::tls::{NoCryptography, certificates, explain_file, private_key, provider};

/// Why a server cannot speak TLS with a certificate and a key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{} cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The key is not that of the certificate.
    #[error(
        "the certificate in {} cannot be used with the key in {}, which is another's; name the two that belong together",
        certificate.display(), key.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The process has no provider of cryptography.
    #[error(transparent)]
    NoCryptography(#[from] NoCryptography),
    /// rustls refuses the configuration, for instance a key of a kind that the provider does not know.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The configuration of a server with the certificate chain and the private key of these PEM files.
///
/// # Errors
/// [`TlsError`], which names the file that is wrong.
pub fn from_files(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let bad = |path: &Path, reason: String| TlsError::File { path: path.to_owned(), reason };
    let chain = certificates(certificate).map_err(|reason| bad(certificate, reason))?;
    let chain = chain.iter().map(|certificate| certificate.der().to_vec().into()).collect();
    let private = private_key(key).map_err(|reason| bad(key, reason))?;
    let private = PrivateKeyDer::try_from(private.der().to_vec()).map_err(|reason| bad(key, reason.to_owned()))?;
    config(chain, private).map_err(|error| match error {
        TlsError::Rustls(error @ rustls::Error::InvalidCertificate(_)) => {
            bad(certificate, explain_file(&error, "the server's certificate"))
        }
        TlsError::Rustls(rustls::Error::InconsistentKeys(_)) => {
            TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        TlsError::Rustls(error) => bad(key, explain_file(&error, "the server's certificate")),
        error => error,
    })
}

/// The configuration of a server with this certificate chain, its own certificate first, and the private key of that.
///
/// # Errors
/// [`TlsError::NoCryptography`] and [`TlsError::Rustls`].
pub fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()?).with_safe_default_protocol_versions()?;
    Ok(builder.with_no_client_auth().with_single_cert(chain, key)?)
}
