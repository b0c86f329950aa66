//! Connections over byte streams that the caller brings, here pipes in memory.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use futures_util::{SinkExt, StreamExt};
use http::Response;
use std::{io::ErrorKind, pin::pin, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::{
    WebSocketStream, accept_async, client_async,
    tungstenite::{self, protocol::Role as TheirRole},
};
use websocket_connection::{Connection, ConnectionState, Established, Message, Reason, Role, Step};

const REQUEST: &str = "GET /chat?a=b HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: chat, log\r\n\r\n";
/// A masked text frame, "hi".
const FRAME: &[u8] = &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];

fn text(text: &str) -> Option<Message> {
    Some(Message::Text(text.to_owned()))
}

#[tokio::test]
async fn a_client_and_a_server_talk_over_a_pipe() {
    let (near, far) = duplex(64);
    let (client, server) = (endpoint(&[]), endpoint(&[]));
    let config = to_with("wss://example.com/chat", |config| config.subprotocols = vec!["a".to_owned(), "b".to_owned()]);
    let accept = async {
        let mut incoming = server.accept_over(far, Bytes::new(), true).await.unwrap();
        assert_eq!(incoming.request().uri(), "/chat");
        assert_eq!(incoming.subprotocols(), ["a", "b"]);
        incoming.choose("b");
        incoming.accept().await.unwrap()
    };
    let (client, server) = soon(async { tokio::join!(client.connect_over(near, config), accept) }).await;
    let client = client.unwrap();
    assert_eq!((client.subprotocol(), client.url()), (Some("b"), "wss://example.com/chat"));
    assert_eq!((server.subprotocol(), server.url()), (Some("b"), "/chat"));
    let large = "x".repeat(100_000);
    let exchange = async {
        client.send(large.as_str()).await.unwrap();
        assert_eq!(server.receive().await.unwrap(), text(&large));
        server.send("well").await.unwrap();
        assert_eq!(client.receive().await.unwrap(), text("well"));
        client.close(Some(1000), None).unwrap();
        assert!(matches!(server.receive().await, Ok(Some(Message::Close(info))) if info.code == 1000));
    };
    soon(exchange).await;
}

#[tokio::test]
async fn a_client_over_a_pipe_talks_to_tungstenite() {
    let (near, far) = duplex(1024);
    let endpoint = endpoint(&[]);
    let server = async {
        let mut server = accept_async(far).await.unwrap();
        let message = server.next().await.unwrap().unwrap();
        server.send(message).await.unwrap();
        server
    };
    let client = async {
        let connection = endpoint.connect_over(near, to("ws://example.com/")).await.unwrap();
        connection.send("hello").await.unwrap();
        assert_eq!(connection.receive().await.unwrap(), text("hello"));
        connection
    };
    soon(async { tokio::join!(client, server) }).await;
}

#[tokio::test]
async fn a_server_over_a_pipe_talks_to_tungstenite() {
    let (near, far) = duplex(1024);
    let endpoint = endpoint(&[]);
    let server = async {
        let connection = endpoint.accept_over(near, Bytes::new(), false).await.unwrap().accept().await.unwrap();
        let message = connection.receive().await.unwrap().unwrap();
        connection.send(&message).await.unwrap();
        connection
    };
    let client = async {
        let (mut client, _) = client_async("ws://example.com/", far).await.unwrap();
        client.send("hello".into()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), tungstenite::Message::text("hello"));
    };
    soon(async { tokio::join!(server, client) }).await;
}

#[tokio::test]
async fn bytes_that_were_read_already_come_first() {
    let wire = [REQUEST.as_bytes(), FRAME, FRAME].concat();
    for read in [0, 1, 100, REQUEST.len(), REQUEST.len() + 3, wire.len()] {
        let (near, mut far) = duplex(1024);
        let (input, rest) = wire.split_at(read);
        far.write_all(rest).await.unwrap();
        let endpoint = endpoint(&[]);
        let incoming = soon(endpoint.accept_over(near, Bytes::copy_from_slice(input), false)).await.unwrap();
        let connection = soon(incoming.accept()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(soon(connection.receive()).await.unwrap(), text("hi"), "{read}");
        }
    }
}

/// A connection without an opening handshake, and its peer from another library.
async fn adopted(role: Role, input: &'static [u8]) -> (Connection, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(1024);
    let mut established = Established::new(role);
    established.input = Bytes::from_static(input);
    established.subprotocol = Some("chat".to_owned());
    established.url = "here".to_owned();
    let connection = endpoint(&[]).adopt(near, established).unwrap();
    let theirs = if role == Role::Client { TheirRole::Server } else { TheirRole::Client };
    (connection, WebSocketStream::from_raw_socket(far, theirs, None).await)
}

#[tokio::test]
async fn a_stream_whose_handshake_is_done_is_taken_over_in_either_role() {
    for (role, input) in [(Role::Client, &[0x81, 2, b'h', b'i'][..]), (Role::Server, FRAME)] {
        let (connection, mut peer) = adopted(role, input).await;
        assert_eq!((connection.url(), connection.subprotocol()), ("here", Some("chat")));
        let exchange = async {
            assert_eq!(connection.receive().await.unwrap(), text("hi"));
            peer.send("hello".into()).await.unwrap();
            assert_eq!(connection.receive().await.unwrap(), text("hello"));
            connection.send(&b"well"[..]).await.unwrap();
            assert_eq!(peer.next().await.unwrap().unwrap(), tungstenite::Message::binary(&b"well"[..]));
        };
        soon(exchange).await;
    }
}

#[tokio::test]
async fn abort_ends_the_stream_at_once_and_frees_its_slot() {
    let (near, mut far) = duplex(16);
    let endpoint = endpoint(&[("max-connections", "1")]);
    let connection = endpoint.adopt(near, Established::new(Role::Server)).unwrap();
    let (other, _far) = duplex(16);
    let failure = endpoint.adopt(other, Established::new(Role::Server)).unwrap_err();
    assert_eq!(*failure.reason(), Reason::Limit { setting: "max-connections" });
    connection.abort();
    assert_eq!(connection.state(), ConnectionState::Closed);
    let mut written = Vec::new();
    soon(far.read_to_end(&mut written)).await.unwrap();
    assert_eq!(written, b"");
    soon(endpoint.closed()).await;
}

#[tokio::test]
async fn abort_resets_tcp_that_this_crate_dialled() {
    let (listener, url) = listen().await;
    let endpoint = endpoint(&[]);
    let authority = url.trim_start_matches("ws://").trim_end_matches('/');
    let (tcp, peer) = soon(async { tokio::join!(endpoint.connect_tcp(authority), listener.accept()) }).await;
    let connection = endpoint.adopt(tcp.unwrap(), Established::new(Role::Client)).unwrap();
    connection.abort();
    let error = soon(peer.unwrap().0.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_request_that_is_refused_is_answered() {
    let foreign = REQUEST.replace("Host", "Origin: http://example.org\r\nHost");
    for (request, status) in [
        (REQUEST.replace("13", "8"), 426),
        (REQUEST.replace("GET", "POST"), 405),
        (REQUEST.replace("\r\n", "\n"), 400),
        (foreign, 403),
    ] {
        let (near, mut far) = duplex(1024);
        far.write_all(request.as_bytes()).await.unwrap();
        let failure = soon(endpoint(&[]).accept_over(near, Bytes::new(), false)).await.unwrap_err();
        assert_eq!(failure.reason().clone(), Reason::RefusedHere { status: status.try_into().unwrap() });
        let mut answer = String::new();
        soon(far.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_request_may_be_answered_otherwise() {
    let (near, mut far) = duplex(1024);
    far.write_all(&[REQUEST.as_bytes(), b"more"].concat()).await.unwrap();
    let endpoint = endpoint(&[("max-connections", "1")]);
    let incoming = soon(endpoint.accept_over(near, Bytes::new(), false)).await.unwrap();
    let response = Response::builder().status(404).header("content-length", 3).body("no\n".to_owned()).unwrap();
    let (stream, rest) = soon(incoming.refuse(response)).await.unwrap();
    assert_eq!(rest, "more");
    drop(stream);
    let mut answer = String::new();
    soon(far.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("\r\n\r\nno\n"), "{answer}");
    soon(endpoint.closed()).await;
}

#[tokio::test]
async fn the_handshake_has_a_time_limit_and_a_client_that_leaves_ends_it() {
    let endpoint = endpoint(&[("connect-timeout", "200ms")]);
    let (near, far) = duplex(1024);
    let failure = endpoint.accept_over(near, Bytes::new(), false).await.unwrap_err();
    assert_eq!(*failure.reason(), Reason::Timeout(Step::Handshake));
    drop(far);
    let (near, _far) = duplex(1024);
    let failure = endpoint.connect_over(near, to("ws://example.com/")).await.unwrap_err();
    assert_eq!(*failure.reason(), Reason::Timeout(Step::Handshake));
    // The answer counts as well: this pipe is too small for it.
    let (near, mut far) = duplex(8);
    let mut accepting = pin!(async { endpoint.accept_over(near, Bytes::from(REQUEST), false).await?.accept().await });
    assert_eq!(*accepting.as_mut().await.unwrap_err().reason(), Reason::Timeout(Step::Handshake));
    far.write_all(b"G").await.unwrap_err();
    let (near, far) = duplex(1024);
    drop(far);
    let failure = endpoint.accept_over(near, Bytes::new(), false).await.unwrap_err();
    assert!(matches!(failure.reason(), Reason::Transport(_)), "{failure}");
    tokio::time::timeout(Duration::from_secs(1), endpoint.closed()).await.unwrap();
}
