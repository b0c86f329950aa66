//! Connections of a guest through a proxy, and to servers that ask for a client certificate. The policy
//! holds on each.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use test_peer::{Authority, Peer, TEXT, acceptor_of_file, certificate_file, frame, nobody_dialled, read_head, soon};
use tests::probe::{Config, Failure, Message, Probe};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn to(url: String) -> Config {
    Config { url, ..Config::default() }
}

/// A proxy that tunnels, or answers every client with this refusal; reports each request.
async fn proxy(refusal: Option<&'static str>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let (listener, port) = listen().await;
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let request = read_head(&mut tcp).await;
            let destination = request.split(' ').nth(1).unwrap().to_owned();
            tell.send(request).unwrap();
            if let Some(refusal) = refusal {
                tcp.write_all(refusal.as_bytes()).await.unwrap();
            } else if let Ok(mut onward) = TcpStream::connect(destination).await {
                tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut tcp, &mut onward).await });
            } else {
                tcp.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await.unwrap();
            }
        }
    });
    (port, asked)
}

/// Serves one client, with or without TLS, and sends it a message.
async fn greet(listener: TcpListener, tls: Option<tokio_rustls::TlsAcceptor>) {
    let (tcp, _) = soon(listener.accept()).await.unwrap();
    match tls {
        None => {
            let mut peer = Peer::over(tcp).await;
            peer.upgrade("").await;
            peer.write(frame(TEXT, "welcome")).await;
        }
        Some(tls) => {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let mut peer = Peer::over(stream).await;
            peer.upgrade("").await;
            peer.write(frame(TEXT, "welcome")).await;
        }
    }
}

async fn is_welcome(guest: &mut Probe, url: String) {
    let open = guest.connect(to(url)).await.unwrap();
    assert_eq!(guest.receive(open).await, Ok(Message::Text("welcome".into())));
}

#[tokio::test]
async fn a_guest_talks_through_a_proxy_that_wants_credentials_over_ws_and_wss() {
    let authority = Authority::new("known");
    for tls in [None, Some(authority.acceptor(authority.issue(&["localhost"], |_| {}), false))] {
        let (listener, port) = listen().await;
        let (at, mut asked) = proxy(None).await;
        let options =
            ["--ca-cert", &authority.file("ca.pem"), "--proxy", &format!("http://me:s3cr%40t@127.0.0.1:{at}")];
        let mut guest = Probe::start(&options);
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        let greeted = tokio::spawn(greet(listener, tls));
        is_welcome(&mut guest, format!("{scheme}://localhost:{port}/")).await;
        // The proxy is asked for each address of the name, until one answers.
        let mut last = String::new();
        while let Ok(asked) = asked.try_recv() {
            last = asked;
        }
        // The address that was checked, not the name, which the proxy might resolve to another.
        assert!(last.starts_with(&format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")), "{last}");
        assert!(last.contains("\r\nProxy-Authorization: Basic bWU6czNjckB0\r\n"), "{last}");
        soon(greeted).await.unwrap();
        let (status, log) = guest.end().await;
        assert!(status.success() && !log.contains("s3cr") && !log.contains("bWU6czNjckB0"), "{log}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_reported_and_not_passed_by() {
    for (answer, authentication) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 8\r\n\r\nwho now?", true),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 8\r\n\r\nwho now?", false),
    ] {
        let (listener, port) = listen().await;
        let (at, _asked) = proxy(Some(answer)).await;
        let mut guest = Probe::start(&["--proxy", &format!("http://127.0.0.1:{at}")]);
        match guest.connect(to(format!("ws://127.0.0.1:{port}/"))).await {
            Err(Failure::AuthenticationFailed(why)) if authentication => assert!(why.contains("who now?"), "{why}"),
            Err(Failure::ConnectionFailed(why)) if !authentication => assert!(why.contains("who now?"), "{why}"),
            other => panic!("{other:?}"),
        }
        nobody_dialled(&listener).await;
    }
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_what_the_policy_does_not_grant() {
    let (proxy, at) = listen().await;
    let mut guest = Probe::start_with_rules(&["--allow", "*", "--proxy", &format!("http://127.0.0.1:{at}")]);
    for host in ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]"] {
        let connected = guest.connect(to(format!("ws://{host}/"))).await;
        assert!(matches!(connected, Err(Failure::AuthenticationFailed(_))), "{host}: {connected:?}");
    }
    nobody_dialled(&proxy).await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_the_hosts() {
    let authority = Authority::new("known");
    let (certificate, key) = authority.issue_files("client");
    let ca = authority.file("ca.pem");
    for with in [true, false] {
        let (listener, port) = listen().await;
        let tls = authority.acceptor(authority.issue(&["localhost"], |_| {}), true);
        let greeted = tokio::spawn(greet(listener, Some(tls)));
        let options = ["--ca-cert", &ca, "--client-cert", &certificate, "--client-key", &key];
        let mut guest = Probe::start(if with { &options } else { &options[..2] });
        let url = format!("wss://localhost:{port}/");
        if with {
            is_welcome(&mut guest, url).await;
        } else {
            let connected = guest.connect(to(url)).await;
            assert!(matches!(connected, Err(Failure::ConnectionFailed(_))), "{connected:?}");
        }
        soon(greeted).await.unwrap();
    }
}

/// What TLS inspection proxies and old authorities use beside the usual: P-521, SHA-512 on P-256, and a certificate that
/// is its own authority.
#[tokio::test]
async fn the_program_verifies_certificates_of_every_usual_kind() {
    for (authority, name) in [
        ("ca-p521", "p521-sha512"),
        ("ca-p521", "p521-sha256"),
        ("ca-p256", "p256-sha512"),
        ("self-signed", "self-signed"),
    ] {
        let (listener, port) = listen().await;
        let greeted = tokio::spawn(greet(listener, Some(acceptor_of_file(name))));
        let mut guest = Probe::start(&["--ca-cert", &certificate_file(&format!("{authority}.pem"))]);
        is_welcome(&mut guest, format!("wss://localhost:{port}/")).await;
        soon(greeted).await.unwrap();
    }
}
