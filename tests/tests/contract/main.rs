//! The contract of wit/README.md, promise by promise: the test of a promise carries its name, and runs
//! through a guest in the program, against a peer whose every byte it decides.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod close;
mod connect;
mod errors;
mod receive;
mod request;
mod resource;
mod second_host;
mod send;

use test_peer::{Peer, soon};
use tests::probe::{Config, Failure, Probe};
use tokio::net::TcpListener;

/// A listener on a free port of loopback, and its URL.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

fn to(url: impl Into<String>) -> Config {
    Config { url: url.into(), ..Config::default() }
}

fn offering(subprotocols: &[&str]) -> Config {
    let subprotocols = subprotocols.iter().map(|name| (*name).to_owned()).collect();
    Config { subprotocols: Some(subprotocols), ..Config::default() }
}

/// A guest with an open connection, its number, and the peer.
async fn open(options: &[&str]) -> (Probe, u32, Peer) {
    open_as(options, Config::default()).await
}

/// The same with this configuration, whose URL is replaced by the peer's.
async fn open_as(options: &[&str], wishes: Config) -> (Probe, u32, Peer) {
    let mut guest = Probe::start(options);
    let (number, peer) = open_in(&mut guest, wishes).await;
    (guest, number, peer)
}

/// One more connection of a guest.
async fn open_in(guest: &mut Probe, wishes: Config) -> (u32, Peer) {
    let (listener, url) = listen().await;
    let (connected, peer) = dial(guest, &listener, Config { url, ..wishes }, async |peer| peer.upgrade("").await).await;
    (connected.unwrap(), peer)
}

/// Dials a server that gets this far with the opening handshake.
async fn dial(
    guest: &mut Probe,
    listener: &TcpListener,
    config: Config,
    answer: impl AsyncFnOnce(&mut Peer),
) -> (Result<u32, Failure>, Peer) {
    let server = async {
        let mut peer = Peer::accept(listener).await;
        answer(&mut peer).await;
        peer
    };
    soon(async { tokio::join!(guest.connect(config), server) }).await
}
