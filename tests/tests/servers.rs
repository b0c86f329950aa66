//! Every command that accepts WebSockets, with a client that writes each byte of its request itself.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::time::Duration;
use tests::{Running, Serving, transport_path};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that accepts WebSockets at `/t`.
struct Side {
    name: &'static str,
    /// Host and port.
    address: String,
    _running: (Option<Running>, Option<Serving>),
}

impl Side {
    async fn echo(options: &[&str]) -> Side {
        let mut echo = Running::start(&[&["echo"], options].concat());
        let url = echo.line("listening on ws://").await;
        Side { name: "echo", address: url.trim_end_matches('/').to_owned(), _running: (Some(echo), None) }
    }

    async fn serve(name: &'static str, module: &str, options: &[&str]) -> Side {
        let serving = Serving::start(module, options).await;
        Side { name, address: serving.address.clone(), _running: (None, Some(serving)) }
    }

    async fn watm(options: &[&str]) -> Side {
        // Nothing is sent to it.
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let remote = format!("tcp://{}", server.local_addr().unwrap());
        let module = transport_path("transport");
        let module = module.to_str().unwrap();
        let args = ["watm", "listen", module, "--local", "ws://127.0.0.1:0/t", "--remote", &remote];
        let mut watm = Running::start(&[&args[..], options].concat());
        let url = watm.line("listening on ws://").await;
        Side { name: "watm", address: url.trim_end_matches("/t").to_owned(), _running: (Some(watm), None) }
    }

    async fn all(options: &[&str]) -> [Side; 4] {
        [
            Side::echo(options).await,
            Side::serve("serve", include_str!("../guests/echo-shipped.wat"), options).await,
            Side::serve("serve without handlers", include_str!("../guests/echo-proposal.wat"), options).await,
            Side::watm(options).await,
        ]
    }

    /// Sends bytes, and gives the head of the answer, in lower case.
    async fn say(&self, request: &str) -> String {
        let mut tcp = TcpStream::connect(&self.address).await.unwrap();
        // A server that has rejected the head may not read the bytes after it.
        let _ = tcp.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            match timeout(PATIENCE, tcp.read_buf(&mut answer)).await {
                Ok(Ok(1..)) => {}
                other => panic!("{}: {other:?} after {:?} to {request}", self.name, String::from_utf8_lossy(&answer)),
            }
        }
        String::from_utf8_lossy(&answer).to_ascii_lowercase()
    }

    /// The status of the answer to this request line and these fields, beside those of a handshake.
    async fn status(&self, line: &str, fields: &str) -> u16 {
        let answer = self.say(&format!("{line}\r\n{fields}{HANDSHAKE}\r\n")).await;
        answer[9..12].parse().unwrap()
    }
}

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const GET: &str = "GET /t HTTP/1.1";

#[tokio::test]
async fn a_request_that_http_forbids_is_refused_by_every_side() {
    let many = "X: y\r\n".repeat(200);
    let cases = [
        (GET, "Host: a\r\n", 101),
        (GET, "Host: [::1]:80\r\n", 101),
        ("GET http://a/t HTTP/1.1", "Host: b\r\n", 101),
        ("GET ws://a/t HTTP/1.1", "Host: a\r\n", 101),
        (GET, "Host: a\r\nContent-Length: 0\r\n", 101),
        // RFC 9112 section 3.2.
        (GET, "", 400),
        (GET, "Host: a\r\nHost: a\r\n", 400),
        (GET, "Host: a\r\nhost: b\r\n", 400),
        (GET, "Host:\r\n", 400),
        (GET, "Host: a b\r\n", 400),
        (GET, "Host: a, b\r\n", 400),
        (GET, "Host: a/t\r\n", 400),
        (GET, "Host: me@a\r\n", 400),
        (GET, "Host: a:http\r\n", 400),
        (GET, "Host: a:65536\r\n", 400),
        ("GET http://a/t HTTP/1.1", "", 400),
        ("GET http://a/t HTTP/1.1", "Host: a\r\nHost: b\r\n", 400),
        ("GET http://me@a/t HTTP/1.1", "Host: a\r\n", 400),
        ("GET ftp://a/t HTTP/1.1", "Host: a\r\n", 400),
        ("GET https://a/t HTTP/1.1", "Host: a\r\n", 421),
        ("GET a:80 HTTP/1.1", "Host: a\r\n", 400),
        ("GET * HTTP/1.1", "Host: a\r\n", 400),
        ("GET t HTTP/1.1", "Host: a\r\n", 400),
        ("CONNECT /t HTTP/1.1", "Host: a\r\n", 400),
        // RFC 9112 section 5.
        (GET, "Host : a\r\n", 400),
        (GET, "Host: a\r\n X-Folded: b\r\n", 400),
        (GET, "Host: a\r\nX: a\0b\r\n", 400),
        (GET, "Host: a\r\nX: a\rb\r\n", 400),
        (GET, &format!("Host: a\r\n{many}"), 431),
        // A body would be parsed as frames.
        (GET, "Host: a\r\nContent-Length: 1\r\n", 400),
        (GET, "Host: a\r\nTransfer-Encoding: chunked\r\n", 400),
        (GET, "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        (GET, "Host: a\r\nTransfer-Encoding: chunked, identity\r\n", 400),
        (GET, "Host: a\r\nExpect: 100-continue\r\n", 417),
        // RFC 9110 section 7.8 and RFC 6455 section 4.2.1.
        ("GET /t HTTP/1.0", "Host: a\r\n", 400),
        ("POST /t HTTP/1.1", "Host: a\r\n", 405),
    ];
    for side in Side::all(&[]).await {
        for (line, fields, status) in cases {
            assert_eq!(side.status(line, fields).await, status, "{}: {line:?} {fields:?}", side.name);
        }
        let listed = HANDSHAKE.replace(": websocket", ": h2c, WebSocket").replace(": Upgrade", ": keep-alive, upgrade");
        assert!(side.say(&format!("{GET}\r\nHost: a\r\n{listed}\r\n")).await.starts_with("http/1.1 101"));
        let closing = HANDSHAKE.replace(": Upgrade", ": close");
        assert!(side.say(&format!("{GET}\r\nHost: a\r\n{closing}\r\n")).await.starts_with("http/1.1 426"));
        // The two ends may not agree where the next request begins.
        let refused = side.say(&format!("{GET}\r\nHost: a\r\nHost: b\r\n\r\n")).await;
        assert!(refused.starts_with("http/1.1 400") && refused.contains("\r\nconnection: close\r\n"), "{refused}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_opens_no_websocket() {
    let others = ["http://evil.test", "http://a.test.evil.test", "http://a.test:81", "null", "", "http://a.test/x"];
    for side in &Side::all(&[]).await[1..] {
        for (host, origin) in [
            ("a.test", "http://a.test"),
            ("A.test:80", "http://a.test"),
            ("a.test:8080", "http://a.test:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            // TLS that a proxy has terminated.
            ("a.test", "https://a.test"),
        ] {
            let fields = format!("Host: {host}\r\nOrigin: {origin}\r\n");
            assert_eq!(side.status(GET, &fields).await, 101, "{}: {fields}", side.name);
        }
        assert_eq!(side.status(GET, "Host: a.test\r\n").await, 101);
        for origin in others {
            let fields = format!("Host: a.test\r\nOrigin: {origin}\r\nX-Forwarded-Host: evil.test\r\n");
            assert_eq!(side.status(GET, &fields).await, 403, "{}: {fields}", side.name);
        }
        // The host in the target counts, not the field.
        let fields = "Host: evil.test\r\nOrigin: http://evil.test\r\n";
        assert_eq!(side.status("GET http://a.test/t HTTP/1.1", fields).await, 403, "{}", side.name);
        let twice = "Host: a.test\r\nOrigin: http://a.test\r\nOrigin: http://a.test\r\n";
        assert_eq!(side.status(GET, twice).await, 403, "{}", side.name);
    }
}

#[tokio::test]
async fn origins_are_allowed_by_name_or_all_of_them() {
    let origin =
        async |side: &Side, origin: &str| side.status(GET, &format!("Host: a.test\r\nOrigin: {origin}\r\n")).await;
    for side in Side::all(&["--allow-origin", "https://app.test", "--allow-origin", "http://localhost:3000"]).await {
        for allowed in ["https://app.test", "https://APP.test:443", "http://localhost:3000", "http://a.test"] {
            assert_eq!(origin(&side, allowed).await, 101, "{}: {allowed}", side.name);
        }
        for other in ["http://app.test", "https://x.app.test", "http://localhost", "null"] {
            assert_eq!(origin(&side, other).await, 403, "{}: {other}", side.name);
        }
    }
    let everyone = ["--allow-origin", "*"];
    for side in Side::all(&everyone).await.into_iter().chain([Side::echo(&[]).await]) {
        for any in ["http://evil.test", "null", ""] {
            assert_eq!(origin(&side, any).await, 101, "{}: {any}", side.name);
        }
    }
}

#[tokio::test]
async fn a_guest_is_not_asked_for_a_page_of_another_site() {
    let module = include_str!("../guests/echo-shipped.wat");
    let traps = module.replacen(
        "(func (export \"newRequest\") (result i32) (i32.const 0))",
        "(func (export \"newRequest\") (result i32) unreachable)",
        1,
    );
    assert_ne!(traps, module);
    let side = Side::serve("serve", &traps, &[]).await;
    assert_eq!(side.status(GET, "Host: a.test\r\nOrigin: http://evil.test\r\n").await, 403);
    assert_eq!(side.status(GET, "Host: a.test\r\n").await, 500);
    let (status, log) = side._running.1.unwrap().interrupt().await;
    assert!(status.success() && log.contains("the origin http://evil.test may not open"), "{log}");
}
