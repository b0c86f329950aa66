//! Tests of `docs/coming-from.md`: functions and options of other WebSocket libraries, by the names that they have here.
//! Rows that an earlier test covers name that test.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::{body, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{collections::BTreeSet, convert::Infallible, fs, path::Path};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config, client_async,
    tungstenite::{
        self,
        protocol::{CloseFrame, WebSocketConfig},
    },
};
use websocket_connection::{
    AcceptConfig, CloseInfo, ConnectConfig, Connection, ConnectionState, Endpoint, Error, Frame, Message, Opcode,
    Reason,
};
use websocket_protocol::close::{NO_STATUS, is_valid_code};

const KIB: usize = 1024;

/// A connection, and its server from another library.
async fn dialled(
    change: impl FnOnce(&mut ConnectConfig),
    theirs: Option<WebSocketConfig>,
) -> (Connection, WebSocketStream<TcpStream>) {
    let (listener, url) = listen().await;
    let accept = async { accept_async_with_config(listener.accept().await.unwrap().0, theirs).await.unwrap() };
    let endpoint = endpoint(&[]);
    let (connection, peer) = soon(async { tokio::join!(endpoint.connect(to_with(url, change)), accept) }).await;
    (connection.unwrap(), peer)
}

/// The next message that the peer receives.
async fn received(peer: &mut WebSocketStream<TcpStream>) -> tungstenite::Message {
    soon(peer.next()).await.unwrap().unwrap()
}

/// What another library gets when it dials this listener.
async fn dial(listener: &TcpListener) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let at = listener.local_addr().unwrap();
    let tcp = TcpStream::connect(at).await.unwrap();
    client_async(format!("ws://{at}/room?id=7"), tcp).await.map(|(client, _)| client)
}

fn frame_of(opcode: Opcode, is_final: bool, payload: &'static [u8]) -> Frame {
    Frame { opcode, is_final, payload: Bytes::from_static(payload) }
}

/// The page is not in the package of this crate.
#[test]
fn every_row_of_the_page_names_a_test() {
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/coming-from.md"));
    let Ok(text) = fs::read_to_string(page) else {
        println!("skipped: {} is missing", page.display());
        return;
    };
    let mut own = BTreeSet::new();
    let mut tests = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        if row.starts_with("| there ") || row.starts_with("| --- ") {
            continue;
        }
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, here, test] = cells[..] else { panic!("three cells, not {}: {row}", cells.len()) };
        if test == "–" {
            assert!(here.starts_with("not offered: "), "this row names no test: {row}");
            continue;
        }
        let link =
            test.strip_prefix("[`").and_then(|link| link.strip_suffix(')')).and_then(|link| link.split_once("`]("));
        let (name, file) = link.unwrap_or_else(|| panic!("this is no link to a test: {row}"));
        let source = fs::read_to_string(page.with_file_name(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let before = source.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("{file} has no {name}")).0;
        let attribute = before.lines().rev().find(|line| line.trim_start().starts_with("#["));
        assert!(attribute.is_some_and(|line| line.contains("test")), "{name} in {file} is not a test");
        if file.ends_with("/coming_from.rs") {
            own.insert(name.to_owned());
        }
        tests += 1;
    }
    assert!(tests > 100, "only {tests} rows were read");
    let source = include_str!("coming_from.rs").split("#[tokio::test]\nasync fn ").skip(1);
    let written: BTreeSet<_> = source.filter_map(|item| Some(item.split_once('(')?.0.to_owned())).collect();
    assert_eq!(written, own, "the tests of this file, and those that the page names");
}

#[tokio::test]
async fn opcodes_are_the_numbers_of_the_rfc() {
    let (connection, mut peer) = open_as(&endpoint(&[]), |config| config.streams = true).await;
    for (opcode, is_final, first) in [
        (Opcode::Text, false, 0x01),
        (Opcode::Continuation, true, 0x80),
        (Opcode::Binary, true, 0x82),
        (Opcode::Ping, true, 0x89),
        (Opcode::Pong, true, 0x8A),
        (Opcode::Close, true, 0x88),
    ] {
        soon(connection.send_frame(&frame_of(opcode, is_final, b""))).await.unwrap();
        assert_eq!(peer.frame().await, (first, Vec::new()));
    }
}

#[tokio::test]
async fn close_codes_are_numbers() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999] {
        let (connection, mut peer) = dialled(|_| {}, None).await;
        connection.close(Some(code), Some("why".to_owned())).unwrap();
        let close = CloseFrame { code: code.into(), reason: "why".into() };
        assert_eq!(received(&mut peer).await, tungstenite::Message::Close(Some(close)));
    }
    let (connection, _peer) = dialled(|_| {}, None).await;
    for never in [1005, 1006, 1015] {
        assert!(!is_valid_code(never));
        assert!(matches!(connection.close(Some(never), None), Err(Error::InvalidMessage(_))), "{never}");
    }
    assert_eq!(connection.state(), ConnectionState::Open);
}

#[tokio::test]
async fn a_close_frame_without_a_code_is_received_as_1005() {
    let (connection, mut peer) = dialled(|_| {}, None).await;
    soon(peer.send(tungstenite::Message::Close(None))).await.unwrap();
    assert_eq!(next(&connection).await, Ok(Message::Close(CloseInfo { code: NO_STATUS, reason: None })));
    next_is_closed(&connection).await;
    let (connection, mut peer) = dialled(|_| {}, None).await;
    connection.close(None, None).unwrap();
    assert_eq!(received(&mut peer).await, tungstenite::Message::Close(None));
}

#[tokio::test]
async fn the_states_are_those_of_a_browser() {
    use ConnectionState::*;
    assert_eq!([Connecting, Open, Closing, Closed].map(|state| state as u8), [0, 1, 2, 3]);
    let (connection, mut peer) = dialled(|_| {}, None).await;
    assert_eq!(connection.state(), Open);
    connection.close(Some(1000), None).unwrap();
    assert_eq!(connection.state(), Closing);
    assert!(received(&mut peer).await.is_close());
    while soon(peer.next()).await.is_some() {}
    drop(peer);
    reaches(&connection, Closed).await;
}

#[tokio::test]
async fn the_opcode_of_a_frame_tells_its_kind() {
    let (connection, mut peer) = dialled(|config| config.streams = true, None).await;
    let close = CloseFrame { code: 1001.into(), reason: "bye".into() };
    for message in [
        tungstenite::Message::text("grün"),
        tungstenite::Message::binary(&b"\x00\xFF"[..]),
        tungstenite::Message::Ping("1".into()),
        tungstenite::Message::Pong("2".into()),
        tungstenite::Message::Close(Some(close)),
    ] {
        soon(peer.send(message)).await.unwrap();
    }
    let mut frames = Vec::new();
    while let Some(frame) = soon(connection.receive_frame()).await.unwrap() {
        frames.push(frame);
    }
    let opcodes = [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Pong, Opcode::Close];
    assert_eq!(frames.iter().map(|frame| frame.opcode).collect::<Vec<_>>(), opcodes);
    assert_eq!(opcodes.map(Opcode::is_control), [false, false, true, true, true]);
    assert!(frames.iter().all(|frame| frame.is_final));
    assert_eq!(std::str::from_utf8(&frames[0].payload), Ok("grün"));
    let close = CloseInfo { code: 1001, reason: Some("bye".to_owned()) };
    assert_eq!(CloseInfo::parse(&frames[4].payload), Ok(close));
}

#[tokio::test]
async fn text_bytes_pings_and_pongs_are_sent_by_one_function() {
    let (connection, mut peer) = dialled(|_| {}, None).await;
    soon(connection.send("text")).await.unwrap();
    soon(connection.send(b"bytes")).await.unwrap();
    for message in [Message::Ping("1".into()), Message::Pong("2".into())] {
        soon(connection.send(&message)).await.unwrap();
    }
    for expected in [
        tungstenite::Message::text("text"),
        tungstenite::Message::binary(&b"bytes"[..]),
        tungstenite::Message::Ping("1".into()),
        tungstenite::Message::Pong("2".into()),
    ] {
        assert_eq!(received(&mut peer).await, expected);
    }
}

#[tokio::test]
async fn a_fragmented_message_is_received_whole_or_in_frames() {
    for streams in [false, true] {
        let (connection, mut peer) = open_as(&endpoint(&[]), |config| config.streams = streams).await;
        peer.write([frame(TEXT & 0x0F, "to"), frame(0x80, "gether")].concat()).await;
        if streams {
            for expected in [frame_of(Opcode::Text, false, b"to"), frame_of(Opcode::Continuation, true, b"gether")] {
                assert_eq!(soon(connection.receive_frame()).await, Ok(Some(expected)));
            }
        } else {
            assert_eq!(next(&connection).await, Ok(Message::Text("together".to_owned())));
        }
    }
}

#[tokio::test]
async fn a_message_over_the_frame_limit_is_sent_in_fragments_and_a_frame_over_it_is_refused() {
    let theirs = WebSocketConfig::default().max_frame_size(Some(KIB));
    let (connection, mut peer) = dialled(|config| config.max_frame_size = Some(KIB), Some(theirs)).await;
    static LARGE: [u8; 10 * KIB] = [7; 10 * KIB];
    let refused = soon(connection.send_frame(&frame_of(Opcode::Binary, true, &LARGE))).await;
    assert!(matches!(refused, Err(Error::InvalidMessage(_))), "{refused:?}");
    soon(connection.send(&LARGE)).await.unwrap();
    assert_eq!(received(&mut peer).await, tungstenite::Message::binary(&LARGE[..]));
}

#[tokio::test]
async fn a_server_limits_the_frames_of_one_connection() {
    let (listener, _) = listen().await;
    let endpoint = endpoint(&[]);
    let mut config = AcceptConfig::new();
    config.max_frame_size = Some(KIB);
    let serve = async {
        let tcp = listener.accept().await.unwrap().0;
        let incoming = endpoint.accept_over(tcp, Bytes::new(), false).await.unwrap();
        incoming.accept_with(&config).await.unwrap()
    };
    let (connection, client) = soon(async { tokio::join!(serve, dial(&listener)) }).await;
    let mut client = client.unwrap();
    soon(client.send(tungstenite::Message::binary(vec![7; KIB + 1]))).await.unwrap();
    assert!(matches!(next(&connection).await, Err(Error::InvalidMessage(_))));
    let closed = received(&mut client).await;
    assert!(matches!(&closed, tungstenite::Message::Close(Some(close)) if close.code == 1009.into()), "{closed}");
}

#[tokio::test]
async fn an_origin_is_a_header_field() {
    let (listener, url) = listen().await;
    let endpoint = endpoint(&[]);
    for origin in [None, Some("https://example.com")] {
        let headers = origin.map(|origin| ("Origin".to_owned(), origin.to_owned())).into_iter().collect();
        let peer = async {
            let mut peer = Peer::accept(&listener).await;
            peer.upgrade("").await;
            peer
        };
        let connect = endpoint.connect(to_with(&url, |config| config.headers = headers));
        let (connection, peer) = soon(async { tokio::join!(connect, peer) }).await;
        connection.unwrap();
        let sent = peer.request.lines().find_map(|line| line.strip_prefix("Origin: "));
        assert_eq!(sent, origin);
    }
}

#[tokio::test]
async fn a_refused_upgrade_has_its_status_and_header_fields() {
    let (listener, url) = listen().await;
    let endpoint = endpoint(&[]);
    let refuse = async {
        let mut peer = Peer::accept(&listener).await;
        peer.write("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n").await;
        peer
    };
    let (connection, _peer) = soon(async { tokio::join!(endpoint.connect(to(url)), refuse) }).await;
    match connection.unwrap_err().reason() {
        Reason::Refused { status, headers } => {
            assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"7".parse().unwrap()))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_adds_header_fields_to_its_response() {
    let (listener, _) = listen().await;
    let endpoint = endpoint(&[]);
    let service = service_fn(async |mut request: Request<body::Incoming>| {
        let upgrade = endpoint.upgrade(&mut request, false).unwrap();
        let mut response: Response<String> = upgrade.response();
        tokio::spawn(upgrade.accept());
        response.headers_mut().insert("set-cookie", "id=1".parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    let serve = async {
        let tcp = TokioIo::new(listener.accept().await.unwrap().0);
        http1::Builder::new().serve_connection(tcp, service).with_upgrades().await.unwrap();
    };
    let dial = async {
        let at = listener.local_addr().unwrap();
        let tcp = TcpStream::connect(at).await.unwrap();
        client_async(format!("ws://{at}/"), tcp).await.unwrap().1
    };
    let ((), response) = soon(async { tokio::join!(serve, dial) }).await;
    assert_eq!(response.headers()["set-cookie"], "id=1");
}

#[tokio::test]
async fn an_echo_server_is_a_loop_that_accepts_receives_and_sends() {
    let (listener, _) = listen().await;
    let endpoint = endpoint(&[]);
    let serve = async {
        let (tcp, address) = listener.accept().await.unwrap();
        assert!(address.ip().is_loopback());
        let incoming = endpoint.accept_over(tcp, Bytes::new(), false).await.unwrap();
        let connection = incoming.accept().await.unwrap();
        loop {
            match next(&connection).await.unwrap() {
                Message::Close(info) => return info.code,
                message @ (Message::Text(_) | Message::Binary(_)) => connection.send(&message).await.unwrap(),
                _ => {}
            }
        }
    };
    let client = async {
        let mut client = dial(&listener).await.unwrap();
        for message in [tungstenite::Message::text("text"), tungstenite::Message::binary(&b"bytes"[..])] {
            client.send(message.clone()).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), message);
        }
        client.close(Some(CloseFrame { code: 1000.into(), reason: "".into() })).await.unwrap();
    };
    let (code, ()) = soon(async { tokio::join!(serve, client) }).await;
    assert_eq!(code, 1000);
}

#[tokio::test]
async fn a_client_that_offers_no_subprotocol_gets_none() {
    let (listener, _) = listen().await;
    let endpoint = endpoint(&[]);
    let serve = async {
        let tcp = listener.accept().await.unwrap().0;
        let mut incoming = endpoint.accept_over(tcp, Bytes::new(), false).await.unwrap();
        assert_eq!(incoming.subprotocols(), [""; 0]);
        incoming.choose("chat");
        incoming.accept().await.unwrap()
    };
    // This client refuses a subprotocol that it did not offer.
    let (connection, client) = soon(async { tokio::join!(serve, dial(&listener)) }).await;
    assert_eq!(connection.subprotocol(), None);
    client.unwrap();
}

#[tokio::test]
async fn a_server_reads_the_request_before_it_accepts_or_refuses() {
    let (listener, _) = listen().await;
    let endpoint = endpoint(&[]);
    let serve = async {
        let tcp = listener.accept().await.unwrap().0;
        let incoming = endpoint.accept_over(tcp, Bytes::new(), false).await.unwrap();
        assert_eq!(incoming.request().uri(), "/room?id=7");
        assert_eq!(incoming.request().headers()["host"], listener.local_addr().unwrap().to_string());
        let response = Response::builder().status(404).header("content-length", 0).body(String::new()).unwrap();
        drop(incoming.refuse(response).await.unwrap());
    };
    let ((), client) = soon(async { tokio::join!(serve, dial(&listener)) }).await;
    assert!(matches!(client, Err(tungstenite::Error::Http(response)) if response.status() == 404));
}

#[tokio::test]
async fn a_unix_socket_carries_a_websocket() {
    let (near, far) = UnixStream::pair().unwrap();
    let endpoint = endpoint(&[]);
    let accept = async { endpoint.accept_over(far, Bytes::new(), false).await.unwrap().accept().await.unwrap() };
    let connect = endpoint.connect_over(near, to("ws://localhost/"));
    let (client, server) = soon(async { tokio::join!(connect, accept) }).await;
    soon(client.unwrap().send("hello")).await.unwrap();
    assert_eq!(next(&server).await, Ok(Message::Text("hello".to_owned())));
}

#[tokio::test]
async fn a_broadcast_does_not_wait_for_a_peer_that_does_not_read() {
    let endpoint: Endpoint = endpoint(&[]);
    let (stalled, _peer) = open(&endpoint).await;
    let reading = soon(endpoint.connect(to(echo_server().await))).await.unwrap();
    let large = vec![7; 64 * KIB];
    while stalled.try_send(&large).unwrap() {
        // Without this, one thread would fill the queue of messages and never the socket.
        tokio::task::yield_now().await;
    }
    let sent = [&stalled, &reading].map(|connection| connection.try_send("news").unwrap());
    assert_eq!(sent, [false, true]);
    assert_eq!(next(&reading).await, Ok(Message::Text("news".to_owned())));
}
