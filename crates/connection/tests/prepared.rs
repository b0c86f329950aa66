//! Messages that are sent to many connections.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use tokio::io::duplex;
use websocket_connection::{Connection, Endpoint, Error, Message, PreparedMessage};

const COMPRESS: &[(&str, &str)] = &[("compress", "true")];
const TAKEOVER: &[(&str, &str)] = &[("compress", "true"), ("compress-takeover", "true")];
const NARROW: &[(&str, &str)] = &[("compress", "true"), ("compress-window-bits", "9")];

/// The two ends of a connection between endpoints with these settings.
async fn pair(client: &[(&str, &str)], server: &[(&str, &str)]) -> (Connection, Connection) {
    let (client, server): (Endpoint, Endpoint) = (endpoint(client), endpoint(server));
    let (near, far) = duplex(1 << 16);
    let accept = async { server.accept_over(far, Bytes::new(), false).await?.accept().await };
    let (client, server) = soon(async { tokio::join!(client.connect_over(near, to("ws://localhost/")), accept) }).await;
    (client.unwrap(), server.unwrap())
}

#[tokio::test]
async fn it_is_compressed_once_for_each_set_of_parameters_and_received_in_order() {
    let text = "compressible ".repeat(100);
    let message = PreparedMessage::text(text.clone());
    let mut ends = Vec::new();
    for (client, server) in
        [(COMPRESS, COMPRESS), (COMPRESS, COMPRESS), (NARROW, COMPRESS), (TAKEOVER, TAKEOVER), (&[], COMPRESS)]
    {
        ends.push(pair(client, server).await);
    }
    for _ in 0..3 {
        for (client, server) in &ends {
            // A server that receives the message knows that its client has masked it.
            for (from, to) in [(server, client), (client, server)] {
                soon(from.send("before")).await.unwrap();
                soon(from.send_prepared(&message)).await.unwrap();
                soon(from.send("after")).await.unwrap();
                for expected in ["before", &text, "after"] {
                    assert_eq!(soon(to.receive()).await.unwrap(), Some(Message::Text(expected.to_owned())));
                }
            }
        }
    }
    assert_eq!(message.compressions(), 2, "with 15 bits and with 9");
}

#[tokio::test]
async fn it_is_sent_under_the_limits_of_its_connection() {
    let message = PreparedMessage::binary(vec![7; 1000]);
    let (client, _server) = pair(&[("max-message-size", "999")], &[]).await;
    assert!(matches!(client.try_send_prepared(&message), Err(Error::InvalidMessage(_))));
    client.close(None, None).unwrap();
    // As with `try_send`, a message that may never be sent comes before what the connection is.
    assert!(matches!(client.try_send_prepared(&message), Err(Error::InvalidMessage(_))));
    assert!(matches!(client.try_send(message.payload()), Err(Error::InvalidMessage(_))));
    let small = PreparedMessage::text("small");
    assert!(matches!(client.try_send_prepared(&small), Err(Error::ConnectionClosed)));
    assert!(matches!(soon(client.send_prepared(&small)).await, Err(Error::ConnectionClosed)));
    let (_client, server) = pair(&[("inbound-buffer", "64KiB")], &[("write-timeout", "50ms")]).await;
    // The client reads ahead 64 KiB, and then no more.
    let mut sent = 0;
    let error = loop {
        match soon(server.send_prepared(&message)).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Timeout) && sent < 1000, "{error} after {sent}");
    assert!(!server.try_send_prepared(&message).unwrap());
}

#[tokio::test]
async fn it_waits_for_capacity() {
    let message = PreparedMessage::binary(vec![7; 100_000]);
    let (client, server) = pair(&[], &[]).await;
    let send = async {
        for _ in 0..10 {
            server.send_prepared(&message).await.unwrap();
        }
    };
    let receive = async {
        for _ in 0..10 {
            assert_eq!(client.receive().await.unwrap(), Some(Message::Binary(message.payload().clone())));
        }
    };
    soon(async { tokio::join!(send, receive) }).await;
}
