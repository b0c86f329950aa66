//! `wasi:http` for guests of `run`: denied, unless the operator allows it; and then by the rules of `--allow`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, process::Output};
use test_peer::{Authority, nobody_dialled, soon};
use tests::{guest_path, program};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Answers with what it was asked.
async fn mirror(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").map_or("", |host| host.to_str().unwrap());
    assert!(host.starts_with("localhost:"), "{host}");
    let body = body.collect().await.unwrap().to_bytes();
    let text = format!("{} {} {} bytes", head.method, head.uri, body.len());
    let status = if head.method == Method::GET { 404 } else { 201 };
    Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
}

/// A server for one client; gives its port.
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

async fn fetch(options: &[&str], request: [&str; 3]) -> Output {
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
    let output = fetch(&["--allow", "localhost"], ["GET", &url, ""]).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(stdout(&output).contains("HttpRequestDenied") && errors.contains("--allow-http"), "{output:?}");
    nobody_dialled(&listener).await;
}

#[tokio::test]
async fn allowed_requests_go_where_websockets_may_go_and_nowhere_else() {
    let port = serve(None).await;
    let url = format!("http://localhost:{port}/a?b=c");
    let output = fetch(&["--allow-http", "--allow", "localhost"], ["GET", &url, ""]).await;
    assert_eq!(stdout(&output), "404 GET /a?b=c 0 bytes\n", "{output:?}");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
    for options in [&["--allow-http"][..], &["--allow-http", "--allow", "*.example.com"]] {
        let output = fetch(options, ["GET", &url, ""]).await;
        assert!(stdout(&output).contains("HttpRequestDenied"), "{output:?}");
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
        let output = fetch(&options, ["POST", &url, &body]).await;
        let expected = if good { "201 POST / 100000 bytes" } else { "certificate" };
        assert!(stdout(&output).contains(expected) && output.status.success() == good, "{output:?}");
    }
}
