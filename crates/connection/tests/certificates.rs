//! Certificates that identify nobody, or somebody else: none opens a connection, whoever signed it.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use rcgen::{Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use std::sync::Arc;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};
use websocket_connection::{Error, Reason, TlsReason};

/// The URL of a TLS server that ends each connection once the handshake is over.
async fn serve(chain: &[CertificateDer<'static>], key: &KeyPair) -> String {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.to_vec(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // A client that refuses the certificate ends the handshake.
            drop(acceptor.accept(tcp).await);
        }
    });
    url.replacen("ws", "wss", 1).replace("127.0.0.1", "localhost")
}

/// What a client that trusts this file says of a server with this certificate.
async fn reason(ca: &str, (certificate, key): (Certificate, KeyPair)) -> Reason {
    reason_of_chain(ca, &[certificate.der().clone()], &key).await
}

async fn reason_of_chain(ca: &str, chain: &[CertificateDer<'static>], key: &KeyPair) -> Reason {
    let url = serve(chain, key).await;
    let failure = soon(endpoint(&[("ca-cert", ca)]).connect(to(url))).await.err().unwrap();
    assert!(matches!(failure.error(), Error::ConnectionFailed(_)), "{failure}");
    failure.reason().clone()
}

/// What a test changes about a certificate.
type Change = fn(&mut CertificateParams);

const INVALID: Reason = Reason::Tls(TlsReason::Certificate);

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_names_the_server_and_is_valid_now() {
    let authority = Authority::new("known");
    let ca = authority.file("ca.pem");
    let good = reason(&ca, authority.issue(&["localhost"], |_| {})).await;
    assert!(matches!(good, Reason::Transport(_)), "TLS opens with a good certificate: {good:?}");
    for names in
        [&["example.com"][..], &["*.localhost"], &["localhost.example.com"], &["local", "host"], &["127.0.0.1"], &[]]
    {
        assert_eq!(reason(&ca, authority.issue(names, |_| {})).await, INVALID, "{names:?}");
    }
    let changes: [(&str, Change); 4] = [
        ("expired", |params| params.not_after = date_time_ymd(2020, 1, 1)),
        ("not yet valid", |params| params.not_before = date_time_ymd(4000, 1, 1)),
        ("for clients", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ("named in its subject alone", |params| {
            params.subject_alt_names.clear();
            params.distinguished_name.push(DnType::CommonName, "localhost");
        }),
    ];
    for (what, change) in changes {
        assert_eq!(reason(&ca, authority.issue(&["localhost"], change)).await, INVALID, "{what}");
    }
}

#[tokio::test]
async fn a_leaf_is_not_an_authority() {
    let authority = Authority::new("known");
    let (leaf, leaf_key) = authority.issue(&["example.com"], |params| params.is_ca = IsCa::ExplicitNoCa);
    let trusted = authority.file("leaf.pem");
    std::fs::write(&trusted, leaf.pem()).unwrap();
    // The holder of a certificate for one name signs one for another.
    let issuer = Issuer::new(CertificateParams::new(vec!["example.com".to_owned()]).unwrap(), leaf_key);
    let key = KeyPair::generate().unwrap();
    let forged = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let chain = [forged.der().clone(), leaf.der().clone()];
    // Neither where the operator trusts its authority, nor where the operator trusts itself.
    for ca in [authority.file("ca.pem"), trusted] {
        assert_eq!(reason_of_chain(&ca, &chain, &key).await, INVALID, "{ca}");
    }
}

/// A certificate that signs itself, for a server alone, in a file that the operator trusts.
async fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Reason {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leaf.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    reason(file.to_str().unwrap(), (certificate, key)).await
}

#[tokio::test]
async fn a_certificate_that_the_operator_names_is_still_for_its_name_and_its_time() {
    for names in [&["example.com"][..], &["127.0.0.1"], &[]] {
        assert_eq!(self_signed(names, |_| {}).await, INVALID, "{names:?}");
    }
    assert_eq!(self_signed(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1)).await, INVALID);
    assert_eq!(self_signed(&["localhost"], |params| params.not_before = date_time_ymd(4000, 1, 1)).await, INVALID);
}
