//! Compression (RFC 7692): its negotiation over real sockets, what is on the wire, and its limits.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
};
use websocket_connection::{Connection, Endpoint, Error, Message};

const TAKEOVER: &[(&str, &str)] = &[("compress", "true"), ("compress-takeover", "true")];
const COMPRESS: &[(&str, &str)] = &[("compress", "true")];

/// The two ends of a connection between these endpoints.
async fn pair(client: &Endpoint, server: &Endpoint) -> (Connection, Connection) {
    let (near, far) = duplex(1 << 16);
    let accept = async { server.accept_over(far, Bytes::new(), false).await?.accept().await };
    let (client, server) = soon(async { tokio::join!(client.connect_over(near, to("ws://localhost/")), accept) }).await;
    (client.unwrap(), server.unwrap())
}

#[tokio::test]
async fn both_ends_compress_when_both_are_set_to() {
    let settings: [&[_]; 4] = [&[], COMPRESS, TAKEOVER, &[("compress", "true"), ("compress-window-bits", "9")]];
    for (of_client, client) in settings.iter().enumerate() {
        for (of_server, server) in settings.iter().enumerate() {
            let (client, server) = pair(&endpoint(client), &endpoint(server)).await;
            let parameters = client.compression();
            assert_eq!(parameters, server.compression());
            assert_eq!(parameters.is_some(), of_client > 0 && of_server > 0);
            if let Some(parameters) = parameters {
                let takeover = of_client == 2 && of_server == 2;
                assert_eq!(!parameters.server_no_context_takeover, takeover);
                assert_eq!(!parameters.client_no_context_takeover, takeover);
                let bits = if of_client == 3 || of_server == 3 { 9 } else { 15 };
                assert_eq!(parameters.server_max_window_bits, bits);
            }
            let large = "compressible ".repeat(10_000);
            for text in ["", "small", &large, &large] {
                soon(client.send(text)).await.unwrap();
                assert_eq!(soon(server.receive()).await.unwrap(), Some(Message::Text(text.to_owned())));
                soon(server.send(text.as_bytes())).await.unwrap();
                assert_eq!(soon(client.receive()).await.unwrap(), Some(Message::Binary(text.to_owned().into())));
            }
        }
    }
}

/// A client's request with this `Sec-WebSocket-Extensions`.
fn request(offer: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n"
    )
}

/// A server's end whose client is this test, and what the server answered. `offer` is the client's header.
async fn accepted(settings: &[(&str, &str)], offer: &str) -> (Connection, DuplexStream, String) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(request(offer).as_bytes()).await.unwrap();
    let endpoint = endpoint(settings);
    let incoming = soon(endpoint.accept_over(near, Bytes::new(), false)).await.unwrap();
    let connection = soon(incoming.accept()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon(far.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    let header = answer.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: ")).unwrap_or_default();
    (connection, far, header.to_owned())
}

/// A compressed text frame of a client.
fn compressed(payload: &[u8]) -> Vec<u8> {
    [&[0xC1, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn the_server_answers_offers_in_their_order() {
    for (offer, answer) in [
        ("", ""),
        ("permessage-bzip2", ""),
        ("permessage-deflate; unknown", ""),
        ("permessage-deflate; server_max_window_bits=8", ""),
        ("permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=\"10\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
        ),
    ] {
        let (connection, _far, header) = accepted(COMPRESS, offer).await;
        assert_eq!(header, answer, "{offer}");
        assert_eq!(connection.compression().is_some(), !answer.is_empty());
        assert_eq!(accepted(&[], offer).await.2, "");
    }
}

#[tokio::test]
async fn the_examples_of_the_rfc_are_read() {
    // RFC 7692 section 7.2.3: one block, a block without compression, a final block, and two blocks.
    const HELLO: [&[u8]; 4] = [
        &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00],
        &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
        &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
    ];
    let (connection, mut far, _) = accepted(TAKEOVER, "permessage-deflate").await;
    for payload in HELLO {
        far.write_all(&compressed(payload)).await.unwrap();
        assert_eq!(soon(connection.receive()).await.unwrap(), Some(Message::Text("Hello".to_owned())));
    }
}

#[tokio::test]
async fn a_bomb_costs_the_limit_and_1009() {
    let options = [("compress", "true"), ("max-message-size", "64KiB")];
    let (mut server, mut client, _) = accepted(&options, "permessage-deflate").await;
    let bomb = zeros(256 << 20);
    let mut header = vec![0xC2, 0xFF];
    header.extend_from_slice(&(bomb.len() as u64).to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    let write = async {
        // The server stops reading.
        let _ = client.write_all(&[&header[..], &bomb].concat()).await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    let (error, answer) = soon(async { tokio::join!(server_error(&mut server), write) }).await;
    assert!(matches!(&error, Error::InvalidMessage(text) if text.contains("65536")), "{error:?}");
    assert_eq!(answer[2..4], 1009u16.to_be_bytes(), "{answer:?}");
}

async fn server_error(server: &mut Connection) -> Error {
    loop {
        match server.receive().await {
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// A frame of a client, with a mask of zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(first, payload);
    frame[1] |= 0x80;
    let header = frame.len() - payload.len();
    frame.splice(header..header, [0; 4]);
    frame
}

/// The text messages that come, and how the connection fails after them, or is closed.
async fn received(connection: &Connection) -> (Vec<String>, Option<Error>) {
    let mut texts = Vec::new();
    loop {
        match soon(connection.receive()).await {
            Ok(Some(Message::Text(text))) => texts.push(text),
            Ok(Some(Message::Close(_))) => return (texts, None),
            Ok(None) => {}
            Ok(Some(message)) => panic!("{message:?}"),
            Err(error) => return (texts, Some(error)),
        }
    }
}

#[tokio::test]
async fn a_client_with_compression_gets_the_right_messages_and_close_codes() {
    let endpoint = endpoint(&[("compress", "true"), ("max-message-size", "64KiB")]);
    for case in CompressionCase::ALL {
        let (listener, _) = listen().await;
        let client = async {
            let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            tcp.write_all(request("permessage-deflate").as_bytes()).await.unwrap();
            assert!(read_head(&mut tcp).await.contains("permessage-deflate"));
            tcp
        };
        let server = async {
            let (tcp, _) = listener.accept().await.unwrap();
            endpoint.accept_over(tcp, Bytes::new(), false).await.unwrap().accept().await.unwrap()
        };
        let (mut client, server) = soon(async { tokio::join!(client, server) }).await;
        let (texts, code) = case.outcome();
        let client = async {
            for (first, payload) in case.frames() {
                // The server may have read enough, and closed.
                let _ = client.write_all(&masked(first, &payload)).await;
            }
            if code.is_none() {
                client.write_all(&masked(CLOSE, &close_payload(1000, ""))).await.unwrap();
            }
            let mut answer = Vec::new();
            let _ = client.read_to_end(&mut answer).await;
            answer
        };
        let (answer, (received, error)) = soon(async { tokio::join!(client, received(&server)) }).await;
        assert_eq!(received, texts, "{case:?}");
        assert_eq!(answer, frame(CLOSE, close_payload(code.unwrap_or(1000), "")), "{case:?}");
        match (code, error) {
            (None, None) | (Some(1002 | 1007), Some(Error::Protocol(_))) => {}
            (Some(1009), Some(Error::InvalidMessage(_))) => {}
            (code, error) => panic!("{case:?}: {code:?} and {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_compressed_frame_without_compression_ends_the_connection() {
    let (mut server, mut far, _) = accepted(&[], "permessage-deflate").await;
    far.write_all(&compressed(&[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00])).await.unwrap();
    assert!(matches!(soon(server_error(&mut server)).await, Error::Protocol(_)));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_offer_fails_the_connect() {
    for answer in INVALID_ANSWERS {
        let (listener, url) = listen().await;
        let endpoint = endpoint(COMPRESS);
        let server = async {
            let mut peer = Peer::accept(&listener).await;
            peer.upgrade(&format!("Sec-WebSocket-Extensions: {answer}\r\n")).await;
            peer
        };
        let (connection, _peer) = soon(async { tokio::join!(endpoint.connect(to(url)), server) }).await;
        let error = Error::from(connection.unwrap_err());
        assert!(matches!(&error, Error::Protocol(text) if text.contains("7692") || text.contains("6455")), "{error}");
    }
}

#[tokio::test]
async fn beyond_its_memory_takeover_is_not_negotiated() {
    let options = [TAKEOVER, &[("compress-memory", "100KiB")]].concat();
    let (client, server) = (endpoint(TAKEOVER), endpoint(&options));
    let mut open = Vec::new();
    let takeover = || async { pair(&client, &server).await };
    for has_takeover in [true, true, false, false] {
        let (near, far) = takeover().await;
        assert_eq!(!near.compression().unwrap().server_no_context_takeover, has_takeover);
        open.push((near, far));
    }
    // A connection that ends gives its memory back.
    let (near, far) = open.remove(0);
    near.close(None, None).unwrap();
    soon(async { while far.receive().await.is_ok() {} }).await;
    drop((near, far));
    soon(async {
        loop {
            let (near, _far) = takeover().await;
            if !near.compression().unwrap().server_no_context_takeover {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn small_messages_are_sent_as_they_are() {
    let options = [("compress", "true"), ("compress-min-size", "10")];
    let (server, mut far, _) = accepted(&options, "permessage-deflate").await;
    for (text, first) in [("aaaaaaaaa", 0x81), ("aaaaaaaaaa", 0xC1)] {
        server.send(text).await.unwrap();
        let [byte, length] = soon(far.read_u16()).await.unwrap().to_be_bytes();
        assert_eq!(byte, first, "{text}");
        let mut payload = vec![0; usize::from(length)];
        soon(far.read_exact(&mut payload)).await.unwrap();
    }
}
