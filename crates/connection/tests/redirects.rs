//! Redirects of the opening handshake, over real sockets.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{
    log::{logged, observed, one},
    *,
};
use std::time::Duration;
use tokio::net::TcpListener;
use websocket_connection::{ConnectConfig, Error, Reason, Step};

/// Answers one connect after another, each with the next answer, and returns the heads of the requests.
async fn answer(listener: &TcpListener, answers: Vec<String>) -> Vec<Peer> {
    let mut peers = Vec::new();
    for answer in answers {
        let mut peer = Peer::accept(listener).await;
        match answer.as_str() {
            "" => peer.upgrade("").await,
            location => peer.write(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n")).await,
        }
        peers.push(peer);
    }
    peers
}

fn following(url: impl Into<String>, max: u8) -> ConnectConfig {
    to_with(url, |config| {
        config.max_redirects = max;
        config.query = vec![("room".to_owned(), "a b&c".to_owned())];
        config.cookies = vec![("id".to_owned(), "1".to_owned())];
        config.headers = vec![("X-A".to_owned(), "1".to_owned()), ("cookie".to_owned(), "own=0".to_owned())];
    })
}

#[tokio::test]
async fn redirects_are_followed_to_the_websocket_behind_them() {
    let (listener, url) = listen().await;
    let (elsewhere, other) = listen().await;
    let endpoint = endpoint(&[("max-connections", "1")]);
    let other_origin = other.replacen("ws", "http", 1) + "there";
    let servers = async {
        let mut peers = answer(&listener, vec!["/second?x#y".to_owned(), other_origin]).await;
        peers.extend(answer(&elsewhere, vec![String::new()]).await);
        peers
    };
    let connect = endpoint.connect(following(format!("{url}first"), 2));
    let (connection, peers) = soon(async { tokio::join!(connect, servers) }).await;
    let connection = connection.unwrap();
    assert_eq!(connection.url(), format!("{other}there"));
    let lines: Vec<_> = peers.iter().map(|peer| peer.request.lines().next().unwrap()).collect();
    let expected = ["GET /first?room=a+b%26c HTTP/1.1", "GET /second?x HTTP/1.1", "GET /there HTTP/1.1"];
    assert_eq!(lines, expected);
    for peer in &peers[..2] {
        assert_eq!((peer.field("cookie"), peer.field("X-A")), ("own=0; id=1", "1"));
    }
    assert!(peers[2].request.contains("X-A: 1") && !peers[2].request.to_lowercase().contains("cookie"));
}

#[tokio::test]
async fn a_redirect_to_what_the_policy_denies_is_not_followed() {
    let (listener, url) = listen().await;
    let endpoint = endpoint(&[]);
    let server = answer(&listener, vec!["ws://example.com/".to_owned()]);
    let (connection, _) = soon(async { tokio::join!(endpoint.connect(following(url, 1)), server) }).await;
    assert_eq!(*connection.unwrap_err().reason(), Reason::Denied { address: None });
}

#[tokio::test]
async fn a_redirect_beyond_the_limit_is_a_refusal() {
    let (listener, url) = listen().await;
    let endpoint = endpoint(&[]);
    for (max, why) in [(0, "redirects are not followed"), (1, "not followed: it is redirect 2, and 1 may be")] {
        let answers = vec!["/next".to_owned(); usize::from(max) + 1];
        let server = answer(&listener, answers);
        let (connection, _) = soon(async { tokio::join!(endpoint.connect(following(&url, max)), server) }).await;
        match connection.unwrap_err().error() {
            Error::ConnectionFailed(text) => assert!(text.contains(why), "{text}"),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn one_time_limit_holds_for_all_redirects() {
    let (listener, url) = listen().await;
    let endpoint = endpoint(&[]);
    let mut config = following(url, 255);
    config.timeout = Some(Duration::from_millis(200));
    let server = async {
        answer(&listener, vec!["/".to_owned(); 3]).await;
        Peer::accept(&listener).await
    };
    let (connection, _silent) = soon(async { tokio::join!(endpoint.connect(config), server) }).await;
    assert_eq!(*connection.unwrap_err().reason(), Reason::Timeout(Step::Handshake));
}

#[tokio::test]
async fn invalid_cookies_are_refused_without_their_value() {
    let endpoint = endpoint(&[]);
    for (name, value) in [("", "v"), ("a b", "v"), ("a=b", "v"), ("a", "s3cret;"), ("a", "s3cret\""), ("a", "s3 cret")]
    {
        let config = to_with("ws://localhost/", |config| config.cookies = vec![(name.to_owned(), value.to_owned())]);
        let error = soon(endpoint.connect(config)).await.unwrap_err();
        assert_eq!(*error.reason(), Reason::InvalidRequest, "{name}={value}");
        assert!(matches!(error.error(), Error::Protocol(text) if !text.contains("s3")), "{error}");
    }
}

#[tokio::test]
async fn a_log_shows_where_a_redirect_leads_without_its_path() {
    let (listener, url) = listen().await;
    let endpoint = observed(&[]);
    let server = answer(&listener, vec!["/t0k3n".to_owned(), String::new()]);
    let (connection, _peers) = soon(async { tokio::join!(endpoint.connect(following(&url, 1)), server) }).await;
    connection.unwrap();
    let logged = logged(&url);
    assert_eq!(one(&logged, "redirected").get("destination"), url.trim_end_matches('/'));
    assert!(!format!("{logged:?}").contains("t0k3n"));
}
