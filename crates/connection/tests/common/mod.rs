//! What the tests share: endpoints that may dial this machine, and a peer whose every byte the test
//! decides.

// Each file of tests is a program of its own and uses a part of this.
#![allow(dead_code)]

pub(crate) mod log;

use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};
pub(crate) use test_peer::*;
use tokio::{net::TcpListener, sync::mpsc, time::sleep};
use tokio_tungstenite::accept_async_with_config;
use websocket_connection::{
    AcceptConfig, ConnectConfig, Connection, ConnectionState, Endpoint, Error, Message, Settings,
};

/// Polls a call once, and says whether it waits now.
pub(crate) async fn waits<F: Future>(call: &mut Pin<Box<F>>) -> bool {
    poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await
}

/// Waits for a state that nothing else announces.
pub(crate) async fn reaches(connection: &Connection, state: ConnectionState) {
    soon(async {
        while connection.state() != state {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Settings that grant this machine, with changes by name.
pub(crate) fn settings(changes: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in [("allow", "localhost")].iter().chain(changes) {
        settings.set(name, value).unwrap();
    }
    settings
}

pub(crate) fn endpoint(changes: &[(&str, &str)]) -> Endpoint {
    Endpoint::new(settings(changes)).unwrap()
}

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

pub(crate) fn to(url: impl Into<String>) -> ConnectConfig {
    ConnectConfig::new(url)
}

/// A connect to this URL with changes.
pub(crate) fn to_with(url: impl Into<String>, change: impl FnOnce(&mut ConnectConfig)) -> ConnectConfig {
    let mut config = ConnectConfig::new(url);
    change(&mut config);
    config
}

/// A connection and its peer, with the host's defaults.
pub(crate) async fn open(endpoint: &Endpoint) -> (Connection, Peer) {
    open_as(endpoint, |_| {}).await
}

/// A connection and its peer, with these changes to the host's defaults.
pub(crate) async fn open_as(endpoint: &Endpoint, change: impl FnOnce(&mut ConnectConfig)) -> (Connection, Peer) {
    let (listener, url) = listen().await;
    let peer = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        peer
    };
    let (connection, peer) = soon(async { tokio::join!(endpoint.connect(to_with(url, change)), peer) }).await;
    (connection.unwrap(), peer)
}

/// Why this URL cannot be dialled.
pub(crate) async fn error_of(endpoint: &Endpoint, url: &str) -> Error {
    soon(endpoint.connect(to(url))).await.expect_err("this must not connect").into()
}

/// Opens a connection and sends a message there and back.
pub(crate) async fn works(endpoint: &Endpoint, url: &str) {
    let connection = soon(endpoint.connect(to(url))).await.unwrap();
    let message = Message::Text("there and back".into());
    soon(connection.send(&message)).await.unwrap();
    assert_eq!(next(&connection).await, Ok(message));
}

/// What `receive` gives next, however often it has nothing yet.
pub(crate) async fn next(connection: &Connection) -> Result<Message, Error> {
    soon(async {
        loop {
            if let Some(message) = connection.receive().await.transpose() {
                return message;
            }
        }
    })
    .await
}

pub(crate) async fn next_is_closed(connection: &Connection) {
    for _ in 0..2 {
        assert_eq!(next(connection).await, Err(Error::ConnectionClosed));
    }
}

/// The URL of a server that sends back every text and binary message it gets.
pub(crate) async fn echo_server() -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                // A client that is dropped while it connects goes away within its handshake.
                let Ok(mut socket) = accept_async_with_config(tcp, None).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

/// Serves requests; gives the server's address, and what became of each request that asked for an upgrade.
pub(crate) async fn serve(endpoint: &Endpoint) -> (String, mpsc::Receiver<Result<Connection, Error>>) {
    serve_with(endpoint, &AcceptConfig::new()).await
}

/// [`serve`], with these options for each connection.
pub(crate) async fn serve_with(
    endpoint: &Endpoint,
    config: &AcceptConfig,
) -> (String, mpsc::Receiver<Result<Connection, Error>>) {
    let (listener, url) = listen().await;
    let (accepted, receiver) = mpsc::channel(8);
    let (endpoint, config) = (endpoint.clone(), config.clone());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (endpoint, config, accepted) = (endpoint.clone(), config.clone(), accepted.clone());
            let service = service_fn(move |request| {
                let (endpoint, config, accepted) = (endpoint.clone(), config.clone(), accepted.clone());
                async move { Ok::<_, Infallible>(answer(request, endpoint, config, accepted)) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service).with_upgrades());
        }
    });
    (url.trim_start_matches("ws://").trim_end_matches('/').to_owned(), receiver)
}

fn answer(
    mut request: Request<Incoming>,
    endpoint: Endpoint,
    config: AcceptConfig,
    accepted: mpsc::Sender<Result<Connection, Error>>,
) -> Response<String> {
    let mut upgrade = match endpoint.upgrade(&mut request, false) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.response(),
    };
    upgrade.choose("chat");
    let response = upgrade.response();
    tokio::spawn(async move { accepted.send(upgrade.accept_with(&config).await.map_err(Error::from)).await });
    response
}
