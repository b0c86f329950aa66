//! A certificate authority for tests, and TLS servers under its certificates.

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// The provider of cryptography of the servers.
#[cfg(feature = "aws-lc-rs")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// The provider of cryptography of the servers.
#[cfg(not(feature = "aws-lc-rs"))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// An authority of its own, and the files that settings name. Its certificate is `ca.pem`.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    files: TempDir,
}

impl Authority {
    /// An authority of this name, with keys that no other has.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), der: certificate.der().clone(), files }
    }

    /// The path of a file of this authority.
    pub fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// A certificate for these names and its key, changed as a test needs it.
    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        self.sign(params, KeyPair::generate().unwrap())
    }

    /// A certificate of these parameters and this key.
    pub fn sign(&self, params: CertificateParams, key: KeyPair) -> (Certificate, KeyPair) {
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The same, as the files `NAME.pem` and `NAME.key`, whose paths it gives.
    pub fn issue_files(&self, name: &str) -> (String, String) {
        let (certificate, key) = self.issue(&[name], |_| {});
        let paths = (self.file(&format!("{name}.pem")), self.file(&format!("{name}.key")));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    /// What serves TLS with this certificate; with `asks_clients`, for clients with one of this authority's.
    pub fn acceptor(&self, (certificate, key): (Certificate, KeyPair), asks_clients: bool) -> TlsAcceptor {
        let provider = Arc::new(provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder =
            if asks_clients { builder.with_client_cert_verifier(verifier) } else { builder.with_no_client_auth() };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The path of a file of the folder `certificates`, which has what rcgen cannot make.
pub fn certificate_file(name: &str) -> String {
    format!("{}/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What serves TLS with these certificates, the server's own first, and this key.
pub fn acceptor_with(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> TlsAcceptor {
    let provider = provider();
    // Not with_single_cert, which reads the certificate and refuses a bad one.
    let certified = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).unwrap());
    let builder = ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let builder = builder.unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))))
}

/// What serves TLS with `NAME.pem` and `NAME.key` of the folder `certificates`.
pub fn acceptor_of_file(name: &str) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(certificate_file(&format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate_file(&format!("{name}.key"))).unwrap();
    acceptor_with(vec![certificate], key)
}
