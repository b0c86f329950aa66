//! The server's side: taking over upgraded requests, and what differs there from a client's connection.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, protocol::CloseFrame},
};
use websocket_connection::{CloseInfo, Connection, ConnectionState::*, Endpoint, Error, Message, MessageRef};

type Client = WebSocketStream<TcpStream>;

async fn dial(at: &str) -> Client {
    let tcp = TcpStream::connect(at).await.unwrap();
    soon(client_async(format!("ws://{at}/"), tcp)).await.unwrap().0
}

async fn pair(endpoint: &Endpoint) -> (Connection, Client) {
    let (at, mut accepted) = serve(endpoint).await;
    let client = dial(&at).await;
    (soon(accepted.recv()).await.unwrap().unwrap(), client)
}

#[tokio::test]
async fn an_accepted_connection_sends_and_receives_as_a_dialled_one_does() {
    let (connection, mut client) = pair(&endpoint(&[])).await;
    assert_eq!((connection.url(), connection.state(), connection.subprotocol()), ("/", Open, None));
    for size in [0, 1, 126, 65536, 1 << 20] {
        let data = vec![size as u8; size];
        soon(client.send(tungstenite::Message::binary(data.clone()))).await.unwrap();
        assert!(next(&connection).await == Ok(Message::Binary(data.clone().into())), "{size} bytes");
        soon(connection.send(&Message::Binary(data.clone().into()))).await.unwrap();
        assert!(soon(client.next()).await.unwrap().unwrap().into_data() == data, "{size} bytes");
    }
}

#[tokio::test]
async fn a_subprotocol_is_chosen_of_those_that_the_client_offers() {
    let (at, mut accepted) = serve(&endpoint(&[])).await;
    let dialling = endpoint(&[]);
    let mut config = to(format!("ws://{at}/"));
    config.subprotocols = vec!["log".to_owned(), "chat".to_owned()];
    let client = soon(dialling.connect(config)).await.unwrap();
    let server = soon(accepted.recv()).await.unwrap().unwrap();
    assert_eq!((client.subprotocol(), server.subprotocol()), (Some("chat"), Some("chat")));
}

/// A client ends TCP only after the server did.
async fn ends_tcp(mut client: Client, server: &Connection) {
    while soon(client.next()).await.is_some() {}
    drop(client);
    reaches(server, Closed).await;
}

#[tokio::test]
async fn the_server_ends_tcp_once_a_close_is_complete() {
    let (connection, mut client) = pair(&endpoint(&[])).await;
    let frame = CloseFrame { code: 4000.into(), reason: "bye".into() };
    soon(client.close(Some(frame))).await.unwrap();
    let info = CloseInfo { code: 4000, reason: Some("bye".to_owned()) };
    assert_eq!(next(&connection).await, Ok(Message::Close(info)));
    ends_tcp(client, &connection).await;
    let (connection, mut client) = pair(&endpoint(&[])).await;
    connection.close(Some(4001), None).unwrap();
    assert!(matches!(soon(client.next()).await, Some(Ok(tungstenite::Message::Close(Some(_))))));
    ends_tcp(client, &connection).await;
    assert!(matches!(next(&connection).await, Ok(Message::Close(_))));
}

#[tokio::test]
async fn pings_and_a_close_are_answered_though_the_server_never_receives() {
    for is_full in [false, true] {
        let (connection, mut client) = pair(&endpoint(&[("inbound-buffer", "1KiB")])).await;
        if is_full {
            soon(client.send(tungstenite::Message::binary(vec![0; 2000]))).await.unwrap();
        }
        for number in 0..2000_u32 {
            let payload = number.to_be_bytes().to_vec();
            soon(client.send(tungstenite::Message::Ping(payload.clone().into()))).await.unwrap();
            assert_eq!(soon(client.next()).await.unwrap().unwrap(), tungstenite::Message::Pong(payload.into()));
        }
        let frame = CloseFrame { code: 4000.into(), reason: "".into() };
        soon(client.close(Some(frame.clone()))).await.unwrap();
        assert_eq!(soon(client.next()).await.unwrap().unwrap(), tungstenite::Message::Close(Some(frame)));
        ends_tcp(client, &connection).await;
    }
}

#[tokio::test]
async fn a_close_code_that_may_not_be_sent_is_answered_with_1002() {
    for code in [1004_u16, 1006, 1015, 1016, 2999, 5000] {
        let (connection, mut client) = pair(&endpoint(&[])).await;
        let [high, low] = code.to_be_bytes();
        soon(client.get_mut().write_all(&[0x88, 0x82, 0, 0, 0, 0, high, low])).await.unwrap();
        match soon(client.next()).await {
            Some(Ok(tungstenite::Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1002),
            other => panic!("{code}: {other:?}"),
        }
        assert!(matches!(next(&connection).await, Err(Error::Protocol(_))));
    }
}

#[tokio::test]
async fn a_client_that_masks_nothing_is_told_1002() {
    let (connection, mut client) = pair(&endpoint(&[])).await;
    soon(client.get_mut().write_all(&frame(TEXT, "bare"))).await.unwrap();
    match soon(client.next()).await {
        Some(Ok(tungstenite::Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1002),
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&connection).await, Err(Error::Protocol(_))));
    next_is_closed(&connection).await;
}

#[tokio::test]
async fn accepted_connections_count_against_the_limits_of_their_guest() {
    let endpoint = endpoint(&[("max-connections", "1")]);
    let (at, mut accepted) = serve(&endpoint).await;
    let (mut first, first_server) = (dial(&at).await, soon(accepted.recv()).await.unwrap().unwrap());
    let tcp = TcpStream::connect(&at).await.unwrap();
    match soon(client_async(format!("ws://{at}/"), tcp)).await {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    drop(first_server);
    while soon(first.next()).await.is_some() {}
    drop(first);
    soon(endpoint.closed()).await;
}

#[tokio::test]
async fn what_comes_right_behind_the_request_is_received() {
    let (at, mut accepted) = serve(&endpoint(&[])).await;
    let mut tcp = TcpStream::connect(&at).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let masked = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    soon(tcp.write_all(&[request.as_bytes(), &masked].concat())).await.unwrap();
    let connection = soon(accepted.recv()).await.unwrap().unwrap();
    assert_eq!(next(&connection).await, Ok(Message::Text("hi".to_owned())));
}

/// What a server answers to a request for an upgrade with these lines.
async fn answer_to(lines: &str) -> String {
    let (at, _accepted) = serve(&endpoint(&[])).await;
    let mut tcp = TcpStream::connect(&at).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {at}\r\n{}\r\n", lines.replace('\n', "\r\n"));
    soon(tcp.write_all(request.as_bytes())).await.unwrap();
    read_head(&mut tcp).await
}

#[tokio::test]
async fn lists_may_have_empty_elements_and_a_key_spare_bits() {
    let request = "Connection: ,keep-alive,,\nConnection: Upgrade ,\nUpgrade: , websocket,\nSec-WebSocket-Version: 13\n\
                   Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\nSec-WebSocket-Protocol: log, ,\n\
                   Sec-WebSocket-Protocol: ,chat,\n";
    let answer = answer_to(request).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-accept: OfS0wDaT5NoxF2gqm7Zj2YtetzM=\r\n"), "{answer}");
    assert!(answer.contains("\r\nsec-websocket-protocol: chat\r\n"), "{answer}");
    for (line, status) in [
        ("Sec-WebSocket-Version: 13\n", 400),
        ("Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\n", 400),
        ("Sec-WebSocket-Protocol: ,log\n", 400),
        ("Upgrade: h2c\nConnection: close\n", 101),
    ] {
        let answer = answer_to(&format!("{request}{line}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
}

#[tokio::test]
async fn what_a_client_does_not_read_is_not_left_with_the_kernel() {
    let (connection, client) = pair(&endpoint(&[("close-timeout", "50ms")])).await;
    while connection.try_send(MessageRef::Binary(&[0; 65536])).unwrap() {}
    connection.close(Some(1000), None).unwrap();
    reaches(&connection, Closed).await;
    // What the client's kernel has already is still there to read; the rest would follow it, were it not for the reset.
    let mut socket = client.into_inner();
    let mut rest = Vec::new();
    let ended = soon(socket.read_to_end(&mut rest)).await;
    assert_eq!(ended.err().map(|error| error.kind()), Some(std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_request_that_is_not_an_upgrade_is_answered_as_http() {
    let (at, _accepted) = serve(&endpoint(&[])).await;
    let mut tcp = TcpStream::connect(at).await.unwrap();
    soon(tcp.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")).await.unwrap();
    let mut answer = String::new();
    soon(tcp.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("\r\nsec-websocket-version: 13\r\n"), "{answer}");
}
