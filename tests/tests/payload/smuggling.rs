//! Requests about whose end the two ends of a connection may disagree: none of their bytes become another
//! request. Responses of a guest cannot begin another response either.

use super::{requests::mirror, *};
use std::time::Duration;
use tests::Serving;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use websocket_abi_bridge::codec::Response;

/// A request that must not be answered, and that the server would answer if it saw it.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// The statuses of all that the server answers to these bytes until it ends the connection.
async fn statuses(serving: &Serving, bytes: &[u8]) -> Vec<u16> {
    let mut tcp = TcpStream::connect(&serving.address).await.unwrap();
    // A server that rejects the head does not read the bytes after it.
    let _ = tcp.write_all(bytes).await;
    let mut all = Vec::new();
    let ended = timeout(Duration::from_secs(20), async {
        // The end may be a reset.
        while matches!(tcp.read_buf(&mut all).await, Ok(1..)) {}
    });
    let shown = || String::from_utf8_lossy(bytes).chars().take(300).collect::<String>();
    assert!(ended.await.is_ok(), "{} stays open after {:?}", shown(), String::from_utf8_lossy(&all));
    let answers = String::from_utf8_lossy(&all).into_owned();
    let lines = answers.match_indices("HTTP/1.1 ").map(|(at, line)| &answers[at + line.len()..][..3]);
    // A mirrored body can have such a line as well, without a status.
    lines.filter_map(|status| status.parse().ok()).collect()
}

/// One request of this head and body, then one that must not be answered, or not be seen as a request of its own.
async fn refused(serving: &Serving, head: &str, body: &str, allowed: &[u16]) {
    let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n{body}{SMUGGLED}");
    let answers = statuses(serving, bytes.as_bytes()).await;
    assert!(matches!(answers[..], [status] if allowed.contains(&status)), "{head:?} {body:?}: {answers:?}");
}

#[tokio::test]
async fn a_body_with_two_lengths_ends_its_connection() {
    let serving = Serving::start(mirror(""), &[]).await;
    let inner = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    for (head, body) in [
        // The coding wins over the length, wherever each stands, and nothing after it is read.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 500\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", inner.as_str()),
        ("Content-Length: 4\r\nTransfer-Encoding: Chunked\r\n", inner.as_str()),
        ("Content-Length: 4\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ] {
        refused(&serving, head, body, &[200, 400]).await;
    }
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && log.is_empty(), "{log}");
}

#[tokio::test]
async fn an_unusual_length_or_coding_is_refused() {
    let serving = Serving::start(mirror(""), &[]).await;
    for head in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\n 0\r\n",
        "Content-Length: five\r\n",
        "Content-Length:\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\0\r\n",
    ] {
        refused(&serving, head, "0\r\n\r\n", &[400, 501]).await;
    }
    // Valid lengths that are too large.
    for length in [u64::MAX / 2, 1 << 32, (16 << 20) + 1] {
        refused(&serving, &format!("Content-Length: {length}\r\n"), "", &[413]).await;
    }
    let older = format!("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}");
    assert_eq!(statuses(&serving, older.as_bytes()).await, [400]);
}

#[tokio::test]
async fn a_chunk_with_an_invalid_size_ends_the_body_and_the_connection() {
    let serving = Serving::start(mirror(""), &[]).await;
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    for body in [
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5g\r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhellohello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        &long,
    ] {
        refused(&serving, "Transfer-Encoding: chunked\r\n", body, &[400]).await;
    }
    // Valid sizes that are too large.
    refused(
        &serving,
        "Transfer-Encoding: chunked\r\n",
        &format!("ffffffffffffffff\r\n{}", "x".repeat(17 << 20)),
        &[413],
    )
    .await;
    let whole = "5;a=\"b\"\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n";
    let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{whole}{SMUGGLED}");
    assert_eq!(statuses(&serving, bytes.as_bytes()).await, [200, 200], "what is right goes on to the next request");
}

#[tokio::test]
async fn an_unread_body_is_not_the_next_request() {
    let serving = Serving::start(mirror(""), &["--max-message-size", "1KiB"]).await;
    let length = format!("Content-Length: {}\r\n", SMUGGLED.len());
    for (line, status) in
        [("BREW / HTTP/1.1", 405), ("GET / HTTP/1.1", 200), ("HEAD / HTTP/1.1", 200), ("POST / HTTP/1.1", 200)]
    {
        let bytes = format!("{line}\r\nHost: h\r\n{length}\r\n{SMUGGLED}");
        let last = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let answers = statuses(&serving, format!("{bytes}{last}").as_bytes()).await;
        // The connection may end where the body was not wanted.
        assert!(answers == [status, 200] || answers == [status], "{line}: {answers:?}");
    }
    let large = SMUGGLED.repeat(2000);
    let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    assert_eq!(statuses(&serving, bytes.as_bytes()).await, [413]);
    // A refused upgrade leaves the connection HTTP.
    for fields in ["Upgrade: h2c\r\nConnection: Upgrade\r\n", "Upgrade: websocket\r\nConnection: Upgrade\r\n"] {
        let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}{length}\r\n{SMUGGLED}");
        let last = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        assert_eq!(statuses(&serving, format!("{bytes}{last}").as_bytes()).await, [200, 200], "{fields}");
    }
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && log.is_empty(), "{log}");
}

#[tokio::test]
async fn a_guest_cannot_inject_another_response() {
    let split = "a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsecond!";
    let text = |headers: String| Response::Text { body: "b".into(), status: 200, headers };
    let escaped = serde_json::to_string(split).unwrap();
    for response in [
        text(format!("{{\"x-split\": {escaped}}}")),
        text(format!("{{\"x-split\": [\"a\", {escaped}]}}")),
        text(format!("{{{escaped}: \"a\"}}")),
        text("{\"x-a\": \"b\\nset-cookie: c=d\"}".to_owned()),
        text("{\"x-a\\r\\nset-cookie\": \"c=d\"}".to_owned()),
        text("{\"x-a\": \"b\\u0000\"}".to_owned()),
        text("{\"transfer-encoding\": \"chunked\"}".to_owned()),
        text("{\"Content-Length\": \"0\"}".to_owned()),
        Response::Redirect { location: split.into(), status: None },
        Response::Uri(split.into()),
        Response::Blob { bytes: Bytes::from_static(b"b"), content_type: Some(split.into()) },
        Response::Text { body: "b".into(), status: 101, headers: "{}".into() },
        Response::Text { body: "b".into(), status: 100, headers: "{}".into() },
    ] {
        let serving = Serving::start(answering(&response.encode()), &[]).await;
        let answers = statuses(&serving, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert_eq!(answers, [500], "{response:?}");
    }
    // Bodies are data, whatever the status: where a status has no body, none is sent.
    for status in [204, 304] {
        let response = Response::Text { body: split.into(), status, headers: "{}".into() };
        let serving = Serving::start(answering(&response.encode()), &[]).await;
        let answers = statuses(&serving, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert_eq!(answers, [u16::try_from(status).unwrap()], "{status}");
    }
}
