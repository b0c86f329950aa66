//! Ways through proxies: SOCKS5 beside HTTP CONNECT, where names are resolved, and what goes past a proxy.

#![cfg(all(feature = "server", feature = "tls"))]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use common::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use websocket_connection::Error;

/// What a SOCKS5 server is asked for, and with which user and password.
type Asked = (String, Option<(String, String)>);

/// A SOCKS5 server (RFC 1928) that leads every destination to the same port of this machine. With `authenticates`, it
/// asks for user and password (RFC 1929).
async fn socks(to: u16, authenticates: bool) -> (u16, mpsc::UnboundedReceiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let Some(request) = serve_socks(&mut tcp, authenticates).await else { continue };
            tell.send(request).unwrap();
            tcp.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            let mut onward = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut tcp, &mut onward).await });
        }
    });
    (port, asked)
}

async fn text(tcp: &mut TcpStream) -> String {
    let mut text = vec![0; usize::from(tcp.read_u8().await.unwrap())];
    tcp.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn serve_socks(tcp: &mut TcpStream, authenticates: bool) -> Option<Asked> {
    assert_eq!(tcp.read_u8().await.unwrap(), 5);
    let mut methods = vec![0; usize::from(tcp.read_u8().await.unwrap())];
    tcp.read_exact(&mut methods).await.unwrap();
    let method = if authenticates { 2 } else { 0 };
    if !methods.contains(&method) {
        tcp.write_all(&[5, 0xff]).await.unwrap();
        return None;
    }
    tcp.write_all(&[5, method]).await.unwrap();
    let mut credentials = None;
    if authenticates {
        assert_eq!(tcp.read_u8().await.unwrap(), 1);
        let (user, password) = (text(tcp).await, text(tcp).await);
        let right = password == "p@ss";
        tcp.write_all(&[1, u8::from(!right)]).await.unwrap();
        if !right {
            return None;
        }
        credentials = Some((user, password));
    }
    let mut head = [0; 4];
    tcp.read_exact(&mut head).await.unwrap();
    assert_eq!(&head[..3], [5, 1, 0]);
    let host = match head[3] {
        1 => {
            let mut octets = [0; 4];
            tcp.read_exact(&mut octets).await.unwrap();
            std::net::Ipv4Addr::from(octets).to_string()
        }
        4 => {
            let mut octets = [0; 16];
            tcp.read_exact(&mut octets).await.unwrap();
            format!("[{}]", std::net::Ipv6Addr::from(octets))
        }
        3 => text(tcp).await,
        other => panic!("the address type {other}"),
    };
    Some((format!("{host}:{}", tcp.read_u16().await.unwrap()), credentials))
}

/// An HTTP CONNECT proxy that leads every destination to the same port of this machine.
async fn http(to: u16) -> (u16, mpsc::UnboundedReceiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let head = read_head(&mut tcp).await;
            let host = head.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap();
            assert_eq!(head.split(' ').nth(1), Some(host));
            tell.send((host.to_owned(), None)).unwrap();
            tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut onward = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut tcp, &mut onward).await });
        }
    });
    (port, asked)
}

/// The port of a server that sends messages back.
async fn echo() -> u16 {
    let (listener, _) = listen().await;
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else { return };
                while let Some(Ok(message)) = futures_util::StreamExt::next(&mut socket).await {
                    if futures_util::SinkExt::send(&mut socket, message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn socks5_is_asked_for_an_address_and_socks5h_for_the_name() {
    let to = echo().await;
    for authenticates in [false, true] {
        let (at, mut asked) = socks(to, authenticates).await;
        let (user, credentials) = match authenticates {
            true => ("me:p%40ss@", Some(("me".to_owned(), "p@ss".to_owned()))),
            false => ("", None),
        };
        for (scheme, dns, destination, expected) in [
            ("socks5", "local", "127.0.0.1:81", "127.0.0.1:81"),
            ("socks5", "local", "[::1]:81", "[::1]:81"),
            ("socks5", "local", "localhost:81", "[::1]:81"),
            ("socks5", "proxy", "inner.example", "inner.example:80"),
            ("socks5h", "local", "inner.example:81", "inner.example:81"),
            ("socks5h", "local", "127.0.0.1:81", "127.0.0.1:81"),
        ] {
            let proxy = format!("{scheme}://{user}127.0.0.1:{at}");
            let endpoint = endpoint(&[("allow", "inner.example"), ("proxy", &proxy), ("proxy-dns", dns)]);
            works(&endpoint, &format!("ws://{destination}/")).await;
            assert_eq!(asked.try_recv().unwrap(), (expected.to_owned(), credentials.clone()), "{scheme} {dns}");
        }
    }
}

#[tokio::test]
async fn an_http_proxy_is_asked_for_the_name_where_it_resolves_names() {
    let (at, mut asked) = http(echo().await).await;
    let proxy = format!("http://127.0.0.1:{at}");
    for (dns, destination, expected) in [
        ("local", "127.0.0.1:81", "127.0.0.1:81"),
        ("proxy", "127.0.0.1:81", "127.0.0.1:81"),
        ("proxy", "inner.example", "inner.example:80"),
        ("proxy", "[::1]:81", "[::1]:81"),
    ] {
        let endpoint = endpoint(&[("allow", "inner.example"), ("proxy", &proxy), ("proxy-dns", dns)]);
        works(&endpoint, &format!("ws://{destination}/")).await;
        assert_eq!(asked.try_recv().unwrap().0, expected, "{dns}");
    }
}

/// Nobody checks the addresses of a name that the proxy resolves, so that a rule has to name it.
#[tokio::test]
async fn a_name_that_the_proxy_resolves_needs_a_rule_that_names_it() {
    let (proxy, at) = listen().await;
    let at = at.replacen("ws", "socks5h", 1);
    for (rules, url, advice) in [
        ("*", "ws://inner.example:81/", "\"inner.example:81\""),
        ("*:81, 10.0.0.0/8", "ws://inner.example:81/", "\"inner.example:81\""),
        ("*.inner.example", "ws://inner.example:81/", "\"inner.example:81\""),
        ("*", "ws://localhost:81/", "\"localhost:81\""),
        ("*", "ws://10.0.0.1:81/", "\"10.0.0.1:81\""),
        ("*", "ws://[::ffff:169.254.169.254]:81/", "\"169.254.169.254:81\""),
    ] {
        let mut settings = websocket_connection::Settings::default();
        settings.set("allow", rules).unwrap();
        settings.set("proxy", &at).unwrap();
        let refusing = websocket_connection::Endpoint::new(settings.clone()).unwrap();
        match error_of(&refusing, url).await {
            Error::AuthenticationFailed(text) => assert!(text.contains(&format!("adding {advice}")), "{text}"),
            other => panic!("{rules} {url}: {other}"),
        }
        // Following the advice is enough: the proxy is asked.
        settings.set("allow", advice.trim_matches('"')).unwrap();
        let granting = websocket_connection::Endpoint::new(settings).unwrap();
        tokio::select! {
            connected = granting.connect(to(url)) => panic!("{url}: {:?}", connected.err()),
            asked = proxy.accept() => drop(asked),
        }
    }
    nobody_dialled(&proxy).await;
}

#[tokio::test]
async fn what_no_proxy_names_is_dialled_directly() {
    let port = echo().await;
    let (at, mut asked) = socks(port, false).await;
    let proxy = format!("socks5://127.0.0.1:{at}");
    for (rule, host, direct) in [
        ("localhost", "localhost", true),
        ("localhost, *.example.com", "a.localhost", false),
        ("*.localhost", "a.localhost", true),
        ("127.0.0.0/8", "127.0.0.1", true),
        ("::ffff:127.0.0.0/104", "127.0.0.1", true),
        ("127.0.0.0/8", "[::ffff:127.0.0.1]", true),
        ("127.0.0.1:1", "127.0.0.1", false),
        (&format!("127.0.0.1:{port}"), "127.0.0.1", true),
        ("10.0.0.0/8", "127.0.0.1", false),
        ("*", "127.0.0.1", true),
    ] {
        let endpoint = endpoint(&[("allow", "127.0.0.0/8"), ("proxy", &proxy), ("no-proxy", rule)]);
        works(&endpoint, &format!("ws://{host}:{port}/")).await;
        assert_eq!(asked.try_recv().is_err(), direct, "{rule} {host}");
    }
}

/// The URL of a SOCKS5 proxy that reads something before each answer, and then closes.
async fn misbehaving(answers: Vec<&'static [u8]>) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            for answer in &answers {
                if tcp.read(&mut [0; 600]).await.unwrap_or(0) == 0 || tcp.write_all(answer).await.is_err() {
                    break;
                }
            }
            let _ = tcp.shutdown().await;
        }
    });
    url.replacen("ws", "socks5", 1)
}

#[tokio::test]
async fn a_socks5_proxy_that_refuses_or_misbehaves_is_told_in_words() {
    const NONE: &[u8] = &[5, 0];
    type Told = fn(&Error) -> bool;
    let failed: Told = |error| matches!(error, Error::ConnectionFailed(_));
    let refused: Told = |error| matches!(error, Error::AuthenticationFailed(_));
    let broken: Told = |error| matches!(error, Error::Protocol(_));
    let cases: [(&str, Vec<&'static [u8]>, Told, &str); 19] = [
        ("", vec![&[5, 0xff]], refused, "wants other credentials"),
        ("", vec![&[5, 2]], refused, "wants other credentials"),
        ("me:wrong@", vec![&[5, 2], &[1, 1]], refused, "refuses the user or the password"),
        ("", vec![NONE, &[5, 1, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "cannot reach 127.0.0.1:81: general failure"),
        ("", vec![NONE, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "do not allow 127.0.0.1:81"),
        ("", vec![NONE, &[5, 3, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "network unreachable"),
        ("", vec![NONE, &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "host unreachable"),
        ("", vec![NONE, &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "connection refused"),
        ("", vec![NONE, &[5, 6, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "TTL expired"),
        ("", vec![NONE, &[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "does not support CONNECT"),
        ("", vec![NONE, &[5, 8, 0, 1, 0, 0, 0, 0, 0, 0]], failed, "this type of address"),
        ("", vec![NONE, &[5, 99, 0, 1, 0, 0, 0, 0, 0, 0]], broken, "not SOCKS5"),
        ("", vec![NONE, &[4, 0, 0, 1, 0, 0, 0, 0, 0, 0]], broken, "not SOCKS5"),
        ("", vec![NONE, &[5, 0, 0, 9, 0, 0, 0, 0, 0, 0]], broken, "not SOCKS5"),
        ("", vec![NONE, &[5, 0, 0, 3, 255, b'a']], failed, "closed the connection"),
        ("", vec![NONE, &[5, 0, 0]], failed, "closed the connection"),
        ("", vec![], failed, "closed the connection"),
        ("", vec![&[5, 7]], broken, "not SOCKS5"),
        ("", vec![b"HTTP/1.1 400 Bad Request\r\n\r\n"], broken, "not SOCKS5"),
    ];
    for (user, answers, kind, cause) in cases {
        let proxy = misbehaving(answers.clone()).await.replacen("://", &format!("://{user}"), 1);
        let endpoint = endpoint(&[("proxy", &proxy), ("allow", "127.0.0.1")]);
        let error = error_of(&endpoint, "ws://127.0.0.1:81/").await;
        assert!(kind(&error) && error.to_string().contains(cause), "{answers:?}: {error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_ends_with_the_connect_timeout() {
    let (listener, url) = listen().await;
    for scheme in ["http", "socks5", "socks5h"] {
        let proxy = url.replacen("ws", scheme, 1);
        let endpoint = endpoint(&[("proxy", &proxy), ("connect-timeout", "200ms")]);
        let (error, accepted) = tokio::join!(error_of(&endpoint, "ws://127.0.0.1:81/"), listener.accept());
        assert_eq!(error, Error::Timeout, "{scheme}");
        drop(accepted);
    }
}

/// A server that listens at one address of `localhost` alone: rules that grant the other are told.
#[tokio::test]
async fn an_address_that_the_policy_leaves_out_is_told_when_the_others_fail() {
    let (listener, url) = listen().await;
    let url = url.replace("127.0.0.1", "localhost");
    let port = listener.local_addr().unwrap().port();
    let mut settings = websocket_connection::Settings::default();
    settings.set("allow", &format!("[::1]:{port}")).unwrap();
    let refusing = websocket_connection::Endpoint::new(settings.clone()).unwrap();
    match error_of(&refusing, &url).await {
        Error::ConnectionFailed(text) => {
            assert!(text.contains(&format!("does not grant 127.0.0.1:{port}")), "{text}");
            assert!(text.contains(&format!("adding \"localhost:{port}\"")), "{text}");
        }
        other => panic!("{other}"),
    }
    settings.set("allow", &format!("localhost:{port}")).unwrap();
    let granting = websocket_connection::Endpoint::new(settings).unwrap();
    let (connected, _peer) = tokio::join!(granting.connect(to(url)), async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        peer
    });
    connected.unwrap();
}

/// Every kind of denial, through the endpoint: what it advises is what it takes.
#[tokio::test]
async fn the_advice_of_a_denial_works_when_it_is_followed() {
    let echo = echo().await;
    let (at, _asked) = socks(echo, false).await;
    let direct = websocket_connection::Settings::default();
    let mut by_address = direct.clone();
    by_address.set("proxy", &format!("socks5://127.0.0.1:{at}")).unwrap();
    let mut by_name = direct.clone();
    by_name.set("proxy", &format!("socks5h://127.0.0.1:{at}")).unwrap();
    let local = [format!("localhost:{echo}"), format!("a.localhost:{echo}"), format!("localhost.:{echo}")];
    let loopback = [format!("127.0.0.1:{echo}"), format!("[::ffff:127.0.0.1]:{echo}"), format!("127.1:{echo}")];
    let special = ["10.0.0.1", "[fd00::1]", "169.254.169.254", "[::ffff:10.0.0.1]", "[64:ff9b::10.0.0.1]", "[::1]:81"];
    let public = ["93.184.215.14", "[2606:4700::1]", "93.184.215.14:8443"];
    let special: Vec<_> = special.iter().chain(&public).map(|host| (*host).to_owned()).collect();
    let names = ["inner.example", "inner.example.:81", "bücher.example"].map(str::to_owned);
    let everywhere = [&local[..], &loopback[..]].concat();
    for (base, hosts) in [
        (&direct, everywhere.clone()),
        (&by_address, [everywhere.clone(), special.clone()].concat()),
        (&by_name, [everywhere, special, names.to_vec()].concat()),
    ] {
        for rule in [None, Some("*"), Some("*:1")] {
            for host in &hosts {
                let mut settings = base.clone();
                rule.iter().for_each(|rule| settings.set("allow", rule).unwrap());
                // The public ones need no advice under `*`.
                for _ in 0..2 {
                    let endpoint = websocket_connection::Endpoint::new(settings.clone()).unwrap();
                    let Err(error) = soon(endpoint.connect(to(format!("ws://{host}/")))).await else { break };
                    let text = error.to_string();
                    let advised = text.split_once("by adding ").unwrap_or_else(|| panic!("{host} {rule:?}: {text}")).1;
                    for advised in advised.split('"').skip(1).step_by(2) {
                        settings.set("allow", advised).unwrap();
                    }
                }
                works(&websocket_connection::Endpoint::new(settings).unwrap(), &format!("ws://{host}/")).await;
            }
        }
    }
}

/// How often a proxy is asked that gives these answers to each connection, for a destination of two addresses.
async fn times_asked(scheme: &str, user: &str, answers: &[Vec<u8>]) -> (usize, Error) {
    let (listener, url) = listen().await;
    let proxy = url.replacen("ws://", &format!("{scheme}://{user}"), 1);
    let endpoint = endpoint(&[("proxy", &proxy)]);
    let mut times = 0;
    let answering = async {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            times += 1;
            for answer in answers {
                if tcp.read(&mut [0; 600]).await.unwrap_or(0) == 0 || tcp.write_all(answer).await.is_err() {
                    break;
                }
            }
        }
    };
    let error = tokio::select! {
        error = error_of(&endpoint, "ws://localhost:81/") => error,
        () = answering => unreachable!("it accepts for ever"),
    };
    (times, error)
}

#[tokio::test]
async fn an_answer_of_a_proxy_that_concerns_every_address_ends_the_attempts() {
    let status = |status: u16| vec![format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").into_bytes()];
    let reply = |code| vec![vec![5, 0], vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]];
    for (times, scheme, user, answers) in [
        (1, "http", "me:wrong@", status(407)),
        (1, "http", "", status(401)),
        (1, "http", "", status(405)),
        (1, "http", "", status(429)),
        (1, "http", "", status(501)),
        (1, "http", "", vec![b"220 ready\r\n".to_vec()]),
        (2, "http", "", status(400)),
        (2, "http", "", status(403)),
        (2, "http", "", status(502)),
        (2, "http", "", status(503)),
        (1, "socks5", "", vec![vec![5, 0xff]]),
        (1, "socks5", "", vec![vec![5, 2]]),
        (1, "socks5", "me:wrong@", vec![vec![5, 2], vec![1, 1]]),
        (1, "socks5", "", vec![vec![5, 7]]),
        (1, "socks5", "", vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]),
        (1, "socks5", "", reply(7)),
        (2, "socks5", "", reply(1)),
        (2, "socks5", "", reply(2)),
        (2, "socks5", "", reply(5)),
        (2, "socks5", "", reply(8)),
    ] {
        let (asked, error) = times_asked(scheme, user, &answers).await;
        assert_eq!(asked, times, "{scheme} {answers:?}: {error}");
    }
}
