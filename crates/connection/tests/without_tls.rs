//! What a build without the feature `tls` refuses: `make test-features` runs it.

#![cfg(not(feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use futures_util::{FutureExt, SinkExt};
use test_peer::soon;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use websocket_connection::{ConnectConfig, Endpoint, Message, Reason, Settings, TlsReason};

/// An endpoint that may dial this machine, a listener, and the authority of its URL.
async fn local() -> (Endpoint, TcpListener, String) {
    let mut settings = Settings::default();
    settings.set("allow", "localhost").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = format!("localhost:{}", listener.local_addr().unwrap().port());
    (Endpoint::new(settings).unwrap(), listener, authority)
}

#[tokio::test]
async fn wss_is_refused_before_the_network_is_used() {
    let (endpoint, listener, authority) = local().await;
    let failure = soon(endpoint.connect(ConnectConfig::new(format!("wss://{authority}/")))).await.unwrap_err();
    assert_eq!(*failure.reason(), Reason::Tls(TlsReason::Unavailable));
    assert!(failure.to_string().contains("the feature `tls`"), "{failure}");
    assert!(listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn a_redirect_to_wss_is_refused() {
    let (endpoint, listener, authority) = local().await;
    let server = async {
        let mut tcp = listener.accept().await.unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            tcp.read_buf(&mut request).await.unwrap();
        }
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: wss://{authority}/\r\nContent-Length: 0\r\n\r\n");
        tcp.write_all(answer.as_bytes()).await.unwrap();
    };
    let mut config = ConnectConfig::new(format!("ws://{authority}/"));
    config.max_redirects = 1;
    let (failure, ()) = soon(async { tokio::join!(endpoint.connect(config), server) }).await;
    assert_eq!(*failure.unwrap_err().reason(), Reason::Tls(TlsReason::Unavailable));
    assert!(listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn ws_is_dialled_as_ever() {
    let (endpoint, listener, authority) = local().await;
    let server = async {
        let mut socket = tokio_tungstenite::accept_async(listener.accept().await.unwrap().0).await.unwrap();
        socket.send("hello".into()).await.unwrap();
    };
    let client = async {
        let connection = endpoint.connect(ConnectConfig::new(format!("ws://{authority}/"))).await.unwrap();
        assert_eq!(connection.receive().await.unwrap(), Some(Message::Text("hello".into())));
    };
    soon(async { tokio::join!(server, client) }).await;
}

#[test]
fn settings_of_tls_are_refused() {
    for name in ["ca-cert", "client-cert", "client-key"] {
        let mut settings = Settings::default();
        settings.set(name, "file.pem").unwrap();
        let refusal = Endpoint::new(settings).unwrap_err().to_string();
        assert!(refusal.contains(name) && refusal.contains("the feature `tls`"), "{refusal}");
    }
}
