//! TLS to servers of every kind: whom the client trusts, and how it identifies itself.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use websocket_connection::Error;

/// An authority of its own, and the files that settings name.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: rustls::pki_types::CertificateDer<'static>,
    files: TempDir,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), certificate.pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), der: certificate.der().clone(), files }
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// A certificate for these names and its key, changed as a test needs it.
    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The URL of a TLS server that echoes one message for each client.
    async fn serve(&self, (certificate, key): (rcgen::Certificate, KeyPair), asks_clients: bool) -> String {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder =
            if asks_clients { builder.with_client_cert_verifier(verifier) } else { builder.with_no_client_auth() };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (listener, url) = listen().await;
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(tls) = acceptor.accept(tcp).await else { continue };
                let mut socket = tokio_tungstenite::accept_async(tls).await.unwrap();
                let message = socket.next().await.unwrap().unwrap();
                socket.send(message).await.unwrap();
            }
        });
        url.replacen("ws", "wss", 1).replace("127.0.0.1", "localhost")
    }
}

#[tokio::test]
async fn tls_goes_to_servers_whose_certificate_is_good_and_to_no_other() {
    let (authority, stranger) = (Authority::new("known"), Authority::new("unknown"));
    let trusting = endpoint(&[("ca-cert", &authority.file("ca.pem"))]);
    let url = authority.serve(authority.issue(&["localhost", "127.0.0.1"], |_| {}), false).await;
    works(&trusting, &url).await;
    works(&trusting, &url.replace("localhost", "127.0.0.1")).await;
    let expired = authority.issue(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    for (wrong, certificate) in [
        ("UnknownIssuer", stranger.issue(&["localhost"], |_| {})),
        ("not valid for name", authority.issue(&["example.com"], |_| {})),
        ("expired", expired),
    ] {
        let url = authority.serve(certificate, false).await;
        match error_of(&trusting, &url).await {
            Error::ConnectionFailed(text) => assert!(text.contains(wrong), "{text}"),
            other => panic!("{wrong}: {other}"),
        }
    }
    // Without the setting, the good certificate is a stranger's.
    assert!(matches!(error_of(&endpoint(&[]), &url).await, Error::ConnectionFailed(_)));
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_the_hosts() {
    let authority = Authority::new("known");
    let (certificate, key) = authority.issue(&["client"], |_| {});
    std::fs::write(authority.file("client.pem"), certificate.pem()).unwrap();
    std::fs::write(authority.file("client.key"), key.serialize_pem()).unwrap();
    let url = authority.serve(authority.issue(&["localhost"], |_| {}), true).await;
    let (ca, client) = (authority.file("ca.pem"), authority.file("client.pem"));
    assert!(matches!(error_of(&endpoint(&[("ca-cert", &ca)]), &url).await, Error::ConnectionFailed(_)));
    let key = authority.file("client.key");
    works(&endpoint(&[("ca-cert", &ca), ("client-cert", &client), ("client-key", &key)]), &url).await;
}
