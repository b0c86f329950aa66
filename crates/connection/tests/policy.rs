//! The embedder's own policy: what it is asked, when, and what its answers do.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use std::{
    future::pending,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;
use websocket_connection::{Destination, Endpoint, Error, Reason, Step};

/// An endpoint whose policy notes what it is asked and denies these addresses.
fn noting(endpoint: Endpoint, denied: &'static [IpAddr]) -> (Endpoint, Arc<Mutex<Vec<Destination>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    let endpoint = endpoint.with_policy(move |destination: Destination| {
        let is_denied = destination.address.is_some_and(|address| denied.contains(&address));
        notes.lock().unwrap().push(destination);
        async move { if is_denied { Err("this tenant may not".to_owned()) } else { Ok(()) } }
    });
    (endpoint, asked)
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn the_embedder_is_asked_about_every_address_that_the_rules_grant() {
    let (listener, _) = listen().await;
    let port = listener.local_addr().unwrap().port();
    let (endpoint, asked) = noting(endpoint(&[]), &[V6]);
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        peer
    };
    let connect = endpoint.connect(to(format!("ws://localhost:{port}/")));
    let (connection, _peer) = soon(async { tokio::join!(connect, server) }).await;
    connection.unwrap();
    let asked = asked.lock().unwrap();
    let shown: Vec<_> = asked.iter().map(|to| (to.host.as_str(), to.address, to.port, to.secure)).collect();
    assert_eq!(shown, [("localhost", Some(V6), port, false), ("localhost", Some(V4), port, false)]);
}

#[tokio::test]
async fn a_denied_destination_is_never_dialled_and_the_guest_reads_why() {
    let (listener, url) = listen().await;
    let (endpoint, asked) = noting(endpoint(&[]), &[V4]);
    let failure = soon(endpoint.connect(to(&url))).await.unwrap_err();
    assert_eq!(*failure.reason(), Reason::Denied { address: Some(V4) });
    let address = listener.local_addr().unwrap();
    let text = format!("the host's policy does not grant {address}: this tenant may not");
    assert_eq!(*failure.error(), Error::AuthenticationFailed(text));
    assert_eq!(asked.lock().unwrap().len(), 1);
    assert_not_dialled(&listener).await;
    // Byte streams ask it as well.
    let failure = soon(endpoint.connect_tcp(&address.to_string())).await.unwrap_err();
    assert_eq!(*failure.reason(), Reason::Denied { address: Some(V4) });
    assert_not_dialled(&listener).await;
}

/// A connection of our own is the first that the listener sees.
async fn assert_not_dialled(listener: &TcpListener) {
    let own = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, from) = soon(listener.accept()).await.unwrap();
    assert_eq!(from, own.local_addr().unwrap());
}

#[tokio::test]
async fn other_notations_of_a_destination_are_asked_about_in_one_form() {
    let (listener, _) = listen().await;
    let port = listener.local_addr().unwrap().port();
    for (written, host) in
        [("localhost.", "localhost"), ("LOCALHOST", "localhost"), ("[::ffff:127.0.0.1]", "127.0.0.1")]
    {
        let (endpoint, asked) = noting(endpoint(&[]), &[V4, V6]);
        let failure = soon(endpoint.connect(to(format!("ws://{written}:{port}/")))).await.unwrap_err();
        assert!(matches!(failure.reason(), Reason::Denied { .. }), "{written}: {failure}");
        let asked = asked.lock().unwrap();
        assert!(asked.iter().all(|to| to.host == host), "{written}: {asked:?}");
        assert!(asked.iter().any(|to| to.address == Some(V4)), "{written}: {asked:?}");
    }
}

#[tokio::test]
async fn the_embedder_grants_nothing_that_the_rules_deny() {
    let (endpoint, asked) = noting(Endpoint::new(Default::default()).unwrap(), &[]);
    let (_listener, url) = listen().await;
    let failure = soon(endpoint.connect(to(url))).await.unwrap_err();
    assert!(matches!(failure.reason(), Reason::Denied { .. }), "{failure}");
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_embedder_is_asked_about_the_name_that_a_proxy_resolves() {
    let rules = [("allow", "example.com"), ("proxy", "http://127.0.0.1:9"), ("proxy-dns", "proxy")];
    let (endpoint, asked) = noting(endpoint(&rules), &[]);
    let failure = soon(endpoint.connect(to("wss://EXAMPLE.com/"))).await.unwrap_err();
    assert!(matches!(failure.reason(), Reason::Tcp(_)), "{failure}");
    let asked = asked.lock().unwrap();
    let shown: Vec<_> = asked.iter().map(|to| (to.host.as_str(), to.address, to.port, to.secure)).collect();
    assert_eq!(shown, [("example.com", None, 443, true)]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_the_time_limit_s() {
    let endpoint = endpoint(&[]).with_policy(|_| pending());
    let (_listener, url) = listen().await;
    let config = to_with(url, |config| config.timeout = Some(Duration::from_millis(50)));
    let failure = soon(endpoint.connect(config)).await.unwrap_err();
    assert_eq!(*failure.reason(), Reason::Timeout(Step::Dns));
}

#[tokio::test]
async fn each_guest_may_have_a_policy_of_its_own() {
    let (listener, url) = listen().await;
    let host = endpoint(&[]);
    let (denied, _) = noting(host.for_guest(), &[V4]);
    let inherits = denied.for_guest();
    for endpoint in [&denied, &inherits] {
        let failure = soon(endpoint.connect(to(&url))).await.unwrap_err();
        assert!(matches!(failure.reason(), Reason::Denied { .. }), "{failure}");
    }
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        peer
    };
    let (connection, _peer) = soon(async { tokio::join!(host.connect(to(&url)), server) }).await;
    connection.unwrap();
}
