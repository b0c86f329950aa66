//! `websocket-provider echo`, with a third-party client.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use std::time::{Duration, Instant};
use tests::{Running, program, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

/// An echo server and where it listens.
async fn start() -> (Running, String, TcpStream) {
    let mut echo = Running::start(&["echo"]);
    let url = echo.line("listening on ").await;
    let address = url.trim_start_matches("ws://").trim_end_matches('/').to_owned();
    let tcp = TcpStream::connect(address).await.unwrap();
    (echo, url, tcp)
}

#[tokio::test]
async fn messages_come_back_and_ctrl_c_closes_with_1001() {
    let (echo, url, tcp) = start().await;
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat, log".parse().unwrap());
    let (mut socket, response) = soon(client_async(request, tcp)).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat", "the first that is offered is chosen");
    for message in [Message::Text("text".into()), Message::Binary(vec![7; 1 << 20].into())] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(soon(socket.next()).await.unwrap().unwrap(), message);
    }
    let closed = tokio::spawn(async move {
        let Some(Ok(Message::Close(Some(frame)))) = soon(socket.next()).await else { panic!("a close frame comes") };
        assert!(soon(socket.next()).await.is_none(), "the handshake completes");
        u16::from(frame.code)
    });
    let asked = Instant::now();
    let (status, errors) = echo.interrupt().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "it waits for the handshake, not for the close timeout");
    assert!(status.success() && errors.is_empty(), "{status}: {errors}");
    assert_eq!(closed.await.unwrap(), 1001);
}

#[tokio::test]
async fn a_request_that_is_not_a_handshake_gets_426() {
    let (_echo, _, mut tcp) = start().await;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(tcp.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("this is a WebSocket"), "{answer}");
}

#[tokio::test]
async fn a_tls_session_that_fails_is_logged_in_words() {
    let mut command = program();
    command.args(["echo", "--tls"]).env("RUST_LOG", "info");
    let mut echo = Running::of(command);
    let url = echo.line("listening on ").await;
    let address = url.trim_start_matches("wss://").trim_end_matches('/').to_owned();
    let connect = async || TcpStream::connect(&address).await.unwrap();
    // In plain text.
    let mut tcp = connect().await;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    echo.logs("TLS failed: the client does not speak TLS; it has to use wss:// or https:// for this port").await;
    // A client that sends nothing.
    drop(connect().await);
    echo.logs("TLS failed: the client closed the connection during the TLS handshake").await;
    // A client that does not trust the certificate.
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(std::sync::Arc::new(config)).connect(name, connect().await).await.unwrap_err();
    echo.logs("TLS failed: the client does not accept this server's certificate; have it trust the authority").await;
}
