//! WebSockets over a listener, dialled by the endpoint of the core.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use std::path::Path;
use test_peer::{Authority, soon};
use tokio::sync::{mpsc, watch};
use websocket_connection::{ConnectConfig, Connection, Endpoint, Message, Reason, Settings};
use websocket_listener::{
    Listener, Service,
    tls::{TlsError, from_files},
};

/// Hands each WebSocket over, and says whether it came over TLS.
#[derive(Clone)]
struct Upgrades(Endpoint, mpsc::UnboundedSender<(Connection, bool)>);

impl Service for Upgrades {
    async fn answer(&self, mut request: Request<Incoming>, secure: bool) -> Response<Full<Bytes>> {
        match self.0.upgrade(&mut request, secure) {
            Ok(upgrade) => {
                let (response, accepted) = (upgrade.response(), self.1.clone());
                tokio::spawn(async move { accepted.send((upgrade.accept().await.unwrap(), secure)) });
                response
            }
            Err(refusal) => refusal.response(),
        }
    }
}

/// A server that runs, and a client that is allowed to dial it.
async fn exchange(listener: Listener, scheme: &str, settings: Settings) {
    let url = format!("{scheme}://localhost:{}/", listener.local_addr().unwrap().port());
    let (client, server) = (Endpoint::new(settings).unwrap(), Endpoint::new(Settings::default()).unwrap());
    let (stop, stopping) = watch::channel(false);
    let (accepted, mut connections) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move { listener.serve(Upgrades(server, accepted), stopping).await });
    let config = || ConnectConfig::new(url.clone());
    let dialled = soon(client.connect(config())).await.unwrap();
    let (connection, secure) = soon(connections.recv()).await.unwrap();
    assert_eq!(secure, scheme == "wss");
    stop.send_replace(true);
    // It does not wait for WebSockets, and they outlive it.
    soon(serving).await.unwrap().unwrap();
    let failure = soon(client.connect(config())).await.expect_err("nothing listens");
    assert!(matches!(failure.reason(), Reason::Tcp(_)), "{failure:?}");
    connection.send("hello").await.unwrap();
    assert_eq!(soon(dialled.receive()).await.unwrap(), Some(Message::Text("hello".into())));
}

fn allowed() -> Settings {
    let mut settings = Settings::default();
    settings.set("allow", "localhost").unwrap();
    settings
}

#[tokio::test]
async fn a_websocket_outlives_the_listener_that_accepted_it() {
    exchange(Listener::bind("localhost:0").await.unwrap(), "ws", allowed()).await;
}

#[tokio::test]
async fn tls_is_that_of_the_files() {
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let config = from_files(Path::new(&certificate), Path::new(&key)).unwrap();
    let mut settings = allowed();
    settings.set("ca-cert", &authority.file("ca.pem")).unwrap();
    exchange(Listener::bind("localhost:0").await.unwrap().with_tls(config), "wss", settings).await;
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new("test");
    let (certificate, key) = authority.issue_files("localhost");
    let (_, other) = authority.issue_files("other");
    let told = |certificate: &str, key: &str| from_files(Path::new(certificate), Path::new(key)).unwrap_err();
    assert!(matches!(told(&certificate, &other), TlsError::Mismatch { .. }));
    for (error, named) in [(told(&key, &key), &key), (told(&certificate, &certificate), &certificate)] {
        assert!(matches!(&error, TlsError::File { path, .. } if path == Path::new(named)), "{error}");
    }
}
