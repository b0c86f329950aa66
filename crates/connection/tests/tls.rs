//! TLS to servers of every kind: whom the client trusts, how it identifies itself, and how it tells what is wrong.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use futures_util::{SinkExt, StreamExt};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    NameConstraints, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use websocket_connection::{Endpoint, Error, Settings};

/// The URL of a TLS server that echoes one message for each client.
async fn serve(acceptor: TlsAcceptor) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let Ok(mut socket) = tokio_tungstenite::accept_async(tls).await else { continue };
            let message = socket.next().await.unwrap().unwrap();
            socket.send(message).await.unwrap();
        }
    });
    url.replacen("ws", "wss", 1).replace("127.0.0.1", "localhost")
}

/// The text of the error with which a connect to this URL fails.
async fn told(endpoint: &Endpoint, url: &str) -> String {
    match error_of(endpoint, url).await {
        Error::ConnectionFailed(text) => {
            let dump = text.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| {
                word.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
            });
            assert!(dump.is_none_or(|word| word == "WebSockets"), "{text}");
            text
        }
        other => panic!("{other}"),
    }
}

fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).unwrap()
}

/// A certificate that signs itself, as `openssl req -x509` writes it: CA:TRUE, and for localhost.
fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), key)
}

#[tokio::test]
async fn tls_goes_to_servers_whose_certificate_is_good() {
    let authority = Authority::new("known");
    let trusting = endpoint(&[("ca-cert", &authority.file("ca.pem"))]);
    let url = serve(authority.acceptor(authority.issue(&["localhost", "127.0.0.1"], |_| {}), false)).await;
    works(&trusting, &url).await;
    works(&trusting, &url.replace("localhost", "127.0.0.1")).await;
    // Without the setting, it is a stranger's.
    assert!(told(&endpoint(&[]), &url).await.contains("no authority that this host trusts has signed"));
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_told_with_cause_and_remedy() {
    let (authority, stranger) = (Authority::new("known"), Authority::new("unknown"));
    let trusting = endpoint(&[("ca-cert", &authority.file("ca.pem"))]);
    let issue = |change: fn(&mut CertificateParams)| authority.issue(&["localhost"], change);
    for ((certificate, key), cause, remedy) in [
        (stranger.issue(&["localhost"], |_| {}), "no authority that this host trusts", "`ca-cert`"),
        (issue(|params| params.not_after = date_time_ymd(2020, 1, 1)), "expired on 2020-01-01T00:00:00Z", "renew"),
        (issue(|params| params.not_before = date_time_ymd(3000, 1, 1)), "not valid before 3000-01-01", "clock"),
        (
            authority.issue(&["example.com", "*.example.org", "10.0.0.1"], |_| {}),
            "for example.com, *.example.org, 10.0.0.1, not for localhost",
            "dial a name",
        ),
        (authority.issue(&[], |_| {}), "no subject alternative name", "common name does not count"),
        (
            issue(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "that of an authority (CA:TRUE)",
            "`ca-cert`",
        ),
        (
            issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "extended key usage",
            "right one",
        ),
        (
            issue(|params| {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions = vec![extension];
            }),
            "critical extension",
            "issued without",
        ),
    ] {
        let acceptor = acceptor_with(vec![certificate.der().clone()], key_of(&key));
        let text = told(&trusting, &serve(acceptor).await).await;
        assert!(text.starts_with("TLS with localhost: ") && text.contains(cause) && text.contains(remedy), "{text}");
    }

    // An invalid signature.
    let (certificate, key) = issue(|_| {});
    let mut der = certificate.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let text = told(&trusting, &serve(acceptor_with(vec![CertificateDer::from(der)], key_of(&key))).await).await;
    assert!(text.contains("signature") && text.contains("issued again"), "{text}");

    // Others that OpenSSL made: an old digest, an old version.
    let trusting = endpoint(&[("ca-cert", &certificate_file("ca-p256.pem"))]);
    for (name, cause, remedy) in [
        ("p256-sha1", "signed with ECDSA and SHA-1", "SHA-256 or better"),
        ("v1", "not of X.509 version 3", "subject alternative"),
    ] {
        let text = told(&trusting, &serve(acceptor_of_file(name)).await).await;
        assert!(text.contains(cause) && text.contains(remedy), "{text}");
    }
}

#[tokio::test]
async fn a_chain_that_breaks_the_rules_of_its_authorities_is_told_with_cause_and_remedy() {
    let authority = Authority::new("known");
    let trusting = endpoint(&[("ca-cert", &authority.file("ca.pem"))]);
    type Change = fn(&mut CertificateParams);
    let elsewhere: Change = |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example.com".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    };
    let no_authority: Change = |_| {};
    for (change, cause, remedy) in
        [(elsewhere, "may not sign (a name constraint)", "another"), (no_authority, "CA:FALSE", "signed by")]
    {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "between");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let (between, between_key) = authority.sign(params.clone(), key);
        let issuer = rcgen::Issuer::new(params, between_key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
        let acceptor = acceptor_with(vec![leaf.der().clone(), between.der().clone()], key_of(&leaf_key));
        let text = told(&trusting, &serve(acceptor).await).await;
        assert!(text.contains(cause) && text.contains(remedy), "{text}");
    }
}

#[tokio::test]
async fn the_very_certificate_that_the_operator_names_is_trusted_for_its_name_and_dates() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("named.pem").display().to_string();
    let named = |pem: String| {
        fs::write(&file, pem).unwrap();
        endpoint(&[("ca-cert", &file)])
    };
    // What OpenSSL writes.
    let url = serve(acceptor_of_file("self-signed")).await;
    let trusting = endpoint(&[("ca-cert", &certificate_file("self-signed.pem"))]);
    works(&trusting, &url).await;
    works(&trusting, &url.replace("localhost", "127.0.0.1")).await;
    // The certificate of a server that an unknown authority signed.
    let (certificate, key) = Authority::new("unknown").issue(&["localhost"], |_| {});
    let trusting = named(certificate.pem());
    works(&trusting, &serve(acceptor_with(vec![certificate.der().clone()], key_of(&key))).await).await;
    // Whatever it is meant for.
    let (certificate, key) = self_signed(|params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let trusting = named(certificate.pem());
    works(&trusting, &serve(acceptor_with(vec![certificate.der().clone()], key_of(&key))).await).await;
    // Its dates and its name hold.
    for (change, cause) in [
        ((|params| params.not_after = date_time_ymd(2020, 1, 1)) as fn(&mut CertificateParams), "expired on 2020"),
        (|params| params.not_before = date_time_ymd(3000, 1, 1), "not valid before 3000"),
        (|params| params.subject_alt_names.clear(), "no subject alternative name"),
        (
            |params| params.subject_alt_names = vec![rcgen::SanType::DnsName("example.com".try_into().unwrap())],
            "for example.com, not for localhost",
        ),
    ] {
        let (certificate, key) = self_signed(change);
        let trusting = named(certificate.pem());
        let url = serve(acceptor_with(vec![certificate.der().clone()], key_of(&key))).await;
        let text = told(&trusting, &url).await;
        assert!(text.contains(cause), "{text}");
    }
    // Another certificate for the same name and key is not the one that is named.
    let (certificate, key) = self_signed(|_| {});
    let trusting = named(certificate.pem());
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(7.into());
    let other = params.self_signed(&key).unwrap();
    let text = told(&trusting, &serve(acceptor_with(vec![other.der().clone()], key_of(&key))).await).await;
    assert!(text.contains("CA:TRUE") && text.contains("`ca-cert`"), "{text}");
}

/// The URL of a server that reads the client's first record and answers with these bytes.
async fn answering(bytes: Vec<u8>) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = [0; 5];
        tcp.read_exact(&mut head).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        tcp.read_exact(&mut hello).await.unwrap();
        tcp.write_all(&bytes).await.unwrap();
        end(tcp).await;
    });
    url.replacen("ws", "wss", 1)
}

/// Ends a connection without a reset: what the peer still sends is read.
async fn end(mut tcp: TcpStream) {
    tcp.shutdown().await.unwrap();
    let _ = tcp.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_server_that_answers_no_tls_is_told_with_cause_and_remedy() {
    let endpoint = endpoint(&[]);
    // A ServerHello of TLS 1.1 without extensions.
    let old = [&[0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0x00, 0x2f, 0]].concat();
    for (answer, cause, remedy) in [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(), "not TLS", "ws://"),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "not TLS", "ws://"),
        (b"220 mail.example ESMTP\r\n".to_vec(), "not TLS", "ws://"),
        (Vec::new(), "closed the connection during the TLS handshake", "see that this port speaks TLS"),
        (vec![0x16, 3, 3, 0xff, 0xff, 0, 0], "malformed TLS message", "see"),
        (vec![0x16, 3, 3, 0, 4, 2, 0, 0, 0], "malformed TLS message", "see"),
        (vec![0x17, 3, 3, 0, 1, 0], "out of order", "updated"),
        (old, "neither TLS 1.2 nor TLS 1.3", "updated"),
    ] {
        let text = told(&endpoint, &answering(answer.clone()).await).await;
        assert!(text.contains(cause) && text.contains(remedy), "{answer:?}: {text}");
    }
}

#[tokio::test]
async fn every_alert_of_a_server_is_told_in_words() {
    let endpoint = endpoint(&[]);
    for (code, cause) in [
        (10, "refuses a TLS message of this end"),
        (40, "no TLS parameters that both ends support, or wants a client certificate"),
        (42, "refuses this end's certificate"),
        (44, "certificate_revoked"),
        (45, "certificate_expired"),
        (46, "certificate_unknown"),
        (48, "unknown_ca"),
        (49, "access"),
        (50, "decode_error"),
        (51, "decrypt_error"),
        (70, "neither TLS 1.2 nor TLS 1.3"),
        (71, "no TLS parameters"),
        (80, "see its log"),
        (86, "inappropriate_fallback"),
        (112, "no certificate for this host name"),
        (116, "name one with the settings `client-cert` and `client-key`"),
        (120, "does not speak HTTP/1.1 over TLS"),
        (200, "(TLS alert 200)"),
    ] {
        let text = told(&endpoint, &answering(vec![0x15, 3, 3, 0, 2, 2, code]).await).await;
        assert!(text.contains(cause), "{code}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_the_hosts() {
    let authority = Authority::new("known");
    let (client, key) = authority.issue_files("client");
    let url = serve(authority.acceptor(authority.issue(&["localhost"], |_| {}), true)).await;
    let ca = authority.file("ca.pem");
    // In TLS 1.3 the server asks for it, and misses it, after the client has all that it needs.
    let text = told(&endpoint(&[("ca-cert", &ca)]), &url).await;
    assert!(text.contains("asks for a client certificate") && text.contains("`client-key`"), "{text}");
    works(&endpoint(&[("ca-cert", &ca), ("client-cert", &client), ("client-key", &key)]), &url).await;
    let stranger = Authority::new("unknown");
    let (strange, strange_key) = stranger.issue_files("client");
    let text =
        told(&endpoint(&[("ca-cert", &ca), ("client-cert", &strange), ("client-key", &strange_key)]), &url).await;
    assert!(text.contains("refuses this end's certificate") && text.contains("`client-cert`"), "{text}");
}

#[test]
fn a_pem_file_that_cannot_be_used_is_told_by_its_setting_and_path() {
    let authority = Authority::new("known");
    let (certificate, key) = authority.issue_files("client");
    let (_, other_key) = authority.issue_files("other");
    let write = |name: &str, content: &str| {
        fs::write(authority.file(name), content).unwrap();
        authority.file(name)
    };
    let damaged = write("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let damaged_key = write("damaged.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let missing = authority.file("missing.pem");
    for (settings, at, why) in [
        (&[("ca-cert", &damaged)][..], ("ca-cert", &damaged), "a certificate in it is damaged"),
        (&[("ca-cert", &missing)], ("ca-cert", &missing), "it cannot be read"),
        (&[("ca-cert", &key)], ("ca-cert", &key), "it has PRIVATE KEY"),
        (&[("client-cert", &damaged), ("client-key", &key)], ("client-cert", &damaged), "the certificate is damaged"),
        (&[("client-cert", &key), ("client-key", &key)], ("client-cert", &key), "the file has no certificate"),
        (
            &[("client-cert", &certificate), ("client-key", &certificate)],
            ("client-key", &certificate),
            "the file has no private key: it has CERTIFICATE",
        ),
        (
            &[("client-cert", &certificate), ("client-key", &other_key)],
            ("client-key", &other_key),
            "is not that of the certificate",
        ),
        (
            &[("client-cert", &certificate), ("client-key", &damaged_key)],
            ("client-key", &damaged_key),
            "is damaged, or of a kind",
        ),
    ] {
        let mut all = Settings::default();
        settings.iter().for_each(|(name, path)| all.set(name, path).unwrap());
        let text = Endpoint::new(all).err().unwrap().to_string();
        assert!(text.starts_with(&format!("`{}` cannot be {:?}: ", at.0, at.1)) && text.contains(why), "{text}");
        assert!(!text.contains("Error") && !text.contains("Encoding"), "{text}");
    }
}
