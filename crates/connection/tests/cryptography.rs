//! The provider of cryptography is the embedder's choice: what the process installs is what endpoints use.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use futures_util::{SinkExt, StreamExt};
use rustls::crypto::aws_lc_rs;
use websocket_connection::Error;

/// *ring* verifies no signatures of P-521, nor of P-256 with SHA-512, which TLS inspection proxies use.
#[tokio::test]
async fn an_installed_provider_verifies_what_the_built_in_one_does_not() {
    let names = [("ca-p521.pem", "p521-sha512"), ("ca-p521.pem", "p521-sha256"), ("ca-p256.pem", "p256-sha512")];
    let built_in = names.map(|(authority, _)| endpoint(&[("ca-cert", &certificate_file(authority))]));
    aws_lc_rs::default_provider().install_default().unwrap();
    for ((authority, name), built_in) in names.into_iter().zip(built_in) {
        let (listener, url) = listen().await;
        let acceptor = acceptor_of_file(name);
        let server = tokio::spawn(async move {
            assert!(acceptor.accept(listener.accept().await.unwrap().0).await.is_err(), "it was not verified");
            let tls = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(tls).await.unwrap();
            let message = socket.next().await.unwrap().unwrap();
            socket.send(message).await.unwrap();
        });
        let url = url.replacen("ws", "wss", 1).replace("127.0.0.1", "localhost");
        match error_of(&built_in, &url).await {
            // The client offers no signatures of P-521, so that the server has none to make.
            Error::ConnectionFailed(text) => {
                assert!(text.contains("is not supported") || text.contains("handshake_failure"), "{text}")
            }
            other => panic!("{name}: {other}"),
        }
        works(&endpoint(&[("ca-cert", &certificate_file(authority))]), &url).await;
        soon(server).await.unwrap();
    }
}
