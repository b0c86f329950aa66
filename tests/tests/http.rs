//! `wasi:http` for guests of `run`: denied unless the operator allows it, and then under the rules of `--allow`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, process::Output};
use test_peer::{Authority, nobody_dialled, read_head, soon};
use tests::{guest_path, program};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// Answers with a copy of the request.
async fn mirror(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").map_or("", |host| host.to_str().unwrap());
    assert!(host.starts_with("localhost:"), "{host}");
    let body = body.collect().await.unwrap().to_bytes();
    let text = format!("{} {} {} bytes", head.method, head.uri, body.len());
    let status = if head.method == Method::GET { 404 } else { 201 };
    Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
}

/// A server for one client; returns its port.
async fn serve(tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        match tls {
            None => http1::Builder::new().serve_connection(TokioIo::new(tcp), service_fn(mirror)).await.unwrap(),
            Some(tls) => {
                let Ok(stream) = tls.accept(tcp).await else { return };
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(mirror)).await.unwrap();
            }
        }
    });
    port
}

async fn fetch(options: &[&str], request: &[&str]) -> Output {
    let mut command = program();
    command.arg("run").args(options).arg(guest_path("fetch")).arg("--").args(request);
    soon(command.output()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn requests_are_denied_unless_they_are_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    let output = fetch(&["--allow", "localhost"], &["GET", &url, ""]).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(stdout(&output).contains("HttpRequestDenied") && errors.contains("--allow-http"), "{output:?}");
    nobody_dialled(&listener).await;
}

#[tokio::test]
async fn allowed_requests_follow_the_rules_for_websockets() {
    let port = serve(None).await;
    let url = format!("http://localhost:{port}/a?b=c");
    let output = fetch(&["--allow-http", "--allow", "localhost"], &["GET", &url, ""]).await;
    assert_eq!(stdout(&output), "404 GET /a?b=c 0 bytes\n", "{output:?}");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    for (options, error) in [
        (&["--allow-http"][..], "HttpRequestDenied"),
        (&["--allow-http", "--allow", "*.example.com"], "HttpRequestDenied"),
        // A rule grants the name, but no rule grants its address.
        (&["--allow-http", "--allow", "*"], "DestinationIpProhibited"),
    ] {
        let output = fetch(options, &["GET", &url, ""]).await;
        assert!(stdout(&output).contains(error), "{output:?}");
    }
    nobody_dialled(&listener).await;
}

#[tokio::test]
async fn a_body_goes_out_over_tls_to_servers_whose_certificate_is_good() {
    let (authority, body) = (Authority::new("http"), "x".repeat(100_000));
    let ca = authority.file("ca.pem");
    for (options, good) in [(&["--ca-cert", ca.as_str()][..], true), (&[], false)] {
        let port = serve(Some(authority.acceptor(authority.issue(&["localhost"], |_| {}), false))).await;
        let url = format!("https://localhost:{port}/");
        let options = [&["--allow-http", "--allow", "localhost"], options].concat();
        let output = fetch(&options, &["POST", &url, &body]).await;
        let expected = if good { "201 POST / 100000 bytes" } else { "ErrorCode::TlsCertificateError" };
        assert!(stdout(&output).contains(expected) && output.status.success() == good, "{output:?}");
    }
}

/// A server that answers one client with these bytes, then half-closes the connection. Returns
/// its port.
async fn say(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        assert_ne!(tcp.read(&mut [0; 4096]).await.unwrap(), 0);
        tcp.write_all(bytes).await.unwrap();
        tcp.shutdown().await.unwrap();
        // Until the client is done: unread bytes would turn the end into a reset.
        let _ = tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await;
    });
    port
}

#[tokio::test]
async fn each_failure_has_the_error_that_is_named_for_it() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let alert = &[21, 3, 3, 0, 2, 2, 40];
    for (url, error) in [
        (format!("http://127.0.0.1:{closed}/"), "ConnectionRefused"),
        ("http://nobody.invalid/".to_owned(), "DnsError"),
        (format!("https://127.0.0.1:{silent_port}/"), "ConnectionTimeout"),
        (format!("https://127.0.0.1:{}/", say(alert).await), "TlsAlertReceived"),
        (format!("https://127.0.0.1:{}/", say(b"HTTP/1.1 400 Bad Request\r\n\r\n").await), "TlsProtocolError"),
        (format!("https://127.0.0.1:{}/", say(b"").await), "ConnectionTerminated"),
        (format!("http://127.0.0.1:{}/", say(b"").await), "HttpResponseIncomplete"),
        (format!("http://127.0.0.1:{}/", say(b"HTTP/1.1 200 OK\r\nContent-Le").await), "HttpResponseIncomplete"),
        (format!("http://127.0.0.1:{}/", say(b"SSH-2.0-x\r\n\r\n").await), "HttpProtocolError"),
    ] {
        let options = ["--allow-http", "--allow", "127.0.0.1", "--allow", "*.invalid", "--connect-timeout", "2s"];
        let output = fetch(&options, &["GET", &url, ""]).await;
        let said = stdout(&output);
        assert!(said.starts_with(&format!("ErrorCode::{error}")), "{url} should give {error}: {said}");
    }
}

#[tokio::test]
async fn methods_that_make_tunnels_or_mirrors_are_denied_though_the_server_is_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    for method in ["CONNECT", "TRACE", "TRACK", "connect", "Trace"] {
        let output = fetch(&["--allow-http", "--allow", "localhost"], &[method, &url, ""]).await;
        assert!(stdout(&output).contains("HttpRequestMethodInvalid"), "{method}: {output:?}");
    }
    nobody_dialled(&listener).await;
    for method in ["HEAD", "OPTIONS", "PROPFIND"] {
        let port = serve(None).await;
        let url = format!("http://localhost:{port}/");
        let output = fetch(&["--allow-http", "--allow", "localhost"], &[method, &url, ""]).await;
        assert!(stdout(&output).starts_with("201 "), "{method}: {output:?}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_are_forbidden() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    for name in [
        "Connection",
        "Keep-Alive",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
        "Host",
        "TE",
        "te",
        "Expect",
        "Proxy-Authorization",
        "Proxy-Authenticate",
        "Proxy-Connection",
        "Proxy-Authentication-Info",
    ] {
        let output = fetch(&["--allow-http", "--allow", "localhost"], &["POST", &url, "body", name, "a"]).await;
        assert!(stdout(&output).contains("Forbidden"), "{name}: {output:?}");
    }
    nobody_dialled(&listener).await;
    let url = format!("http://localhost:{}/", serve(None).await);
    let allowed = ["Authorization", "b", "Trailer", "X-Checksum", "User-Agent", "c"];
    let output =
        fetch(&["--allow-http", "--allow", "localhost"], &[&["POST", &url, "body"][..], &allowed].concat()).await;
    assert_eq!(stdout(&output), "201 POST / 4 bytes\n", "{output:?}");
}

#[tokio::test]
async fn responses_are_read_as_browsers_read_them() {
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nhi", "Set-Cookie: a=b\r\n".repeat(500)).leak();
    for answer in [
        &b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b;\r\n Path=/\r\nContent-Length:\r\n\t2\r\n\r\nhi"[..],
        b"HTTP/1.1 200\nX : y\nTransfer-Encoding: Chunked\n\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhi",
        many.as_bytes(),
    ] {
        let url = format!("http://127.0.0.1:{}/", say(answer).await);
        let output = fetch(&["--allow-http", "--allow", "127.0.0.1"], &["GET", &url, ""]).await;
        assert_eq!(stdout(&output), "200 hi\n", "{output:?}");
    }
}

#[tokio::test]
async fn the_host_says_who_it_is_unless_the_guest_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    for (options, own, sent) in [
        (&[][..], &[][..], Some(concat!("websocket-provider/", env!("CARGO_PKG_VERSION")))),
        (&["--user-agent", "host/1"], &[], Some("host/1")),
        (&["--user-agent", "host/1"], &["User-Agent", "guest/2"], Some("guest/2")),
        (&["--user-agent", ""], &[], None),
    ] {
        let server = async {
            let (mut tcp, _) = soon(listener.accept()).await.unwrap();
            let request = read_head(&mut tcp).await;
            tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            request
        };
        let options = [&["--allow-http", "--allow", "127.0.0.1"], options].concat();
        let arguments = [&["GET", &url, ""], own].concat();
        let (output, request) = tokio::join!(fetch(&options, &arguments), server);
        assert_eq!(stdout(&output), "204 \n", "{output:?}");
        let agents: Vec<_> = request.lines().filter_map(|line| line.strip_prefix("user-agent: ")).collect();
        assert_eq!(agents, Vec::from_iter(sent), "{request}");
    }
}
