//! TLS to servers of every kind: whom the client trusts, and how it identifies itself.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use futures_util::{SinkExt, StreamExt};
use rcgen::date_time_ymd;
use tokio_rustls::TlsAcceptor;
use websocket_connection::Error;

/// The URL of a TLS server that echoes one message for each client.
async fn serve(acceptor: TlsAcceptor) -> String {
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

#[tokio::test]
async fn tls_goes_to_servers_whose_certificate_is_good_and_to_no_other() {
    let (authority, stranger) = (Authority::new("known"), Authority::new("unknown"));
    let trusting = endpoint(&[("ca-cert", &authority.file("ca.pem"))]);
    let url = serve(authority.acceptor(authority.issue(&["localhost", "127.0.0.1"], |_| {}), false)).await;
    works(&trusting, &url).await;
    works(&trusting, &url.replace("localhost", "127.0.0.1")).await;
    let expired = authority.issue(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    for (wrong, certificate) in [
        ("UnknownIssuer", stranger.issue(&["localhost"], |_| {})),
        ("not valid for name", authority.issue(&["example.com"], |_| {})),
        ("expired", expired),
    ] {
        let url = serve(authority.acceptor(certificate, false)).await;
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
    let (client, key) = authority.issue_files("client");
    let url = serve(authority.acceptor(authority.issue(&["localhost"], |_| {}), true)).await;
    let ca = authority.file("ca.pem");
    assert!(matches!(error_of(&endpoint(&[("ca-cert", &ca)]), &url).await, Error::ConnectionFailed(_)));
    works(&endpoint(&[("ca-cert", &ca), ("client-cert", &client), ("client-key", &key)]), &url).await;
}
