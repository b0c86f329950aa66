//! Workloads in a wasmCloud host, against servers whose every byte the tests decide.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use support::{EXAMPLE, Guest, HTTP, Host};
use test_peer::{Authority, CLOSE, Peer, TEXT, close_payload, frame, nobody_dialled, soon};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use wasmcloud_websocket_plugin::{Concerns, SETTINGS, Settings};

const GREETING: &[u8] = b"Hello, WebSocket!";
const GOING_AWAY: u16 = 1001;
const LOOPBACK: &[(&str, &str)] = &[("allow", "localhost, 127.0.0.1")];

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/feed", listener.local_addr().unwrap());
    (listener, url)
}

/// Opens the connection and takes the example guest's text.
async fn greeted<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>) {
    peer.upgrade("Sec-WebSocket-Protocol: chat\r\n").await;
    assert_eq!(peer.frame().await, (TEXT, GREETING.to_vec()));
}

/// Takes the guest's close frame of this code and answers it.
async fn closed<S: AsyncRead + AsyncWrite + Unpin>(peer: &mut Peer<S>, code: u16) {
    assert_eq!(peer.frame().await, (CLOSE, close_payload(code, "")));
    peer.write(frame(CLOSE, close_payload(code, ""))).await;
}

#[tokio::test]
async fn a_guest_talks_over_ws_when_it_is_called() {
    let (listener, url) = listener().await;
    let mut host = Host::start(Settings::default()).await;
    let guest = host.run(Guest { file: EXAMPLE, url, interface: LOOPBACK, ..Guest::default() }).await.unwrap();
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        greeted(&mut peer).await;
        assert_eq!(host.metric(&guest, "websocket.connections.active"), Some(1));
        peer.write(frame(TEXT, "welcome")).await;
        // The call is over, and its store with the connection.
        closed(&mut peer, GOING_AWAY).await;
    };
    let (said, ()) = tokio::join!(guest.call(), server);
    assert_eq!(said, "SUCCESS: Received response: welcome");
    assert_eq!(host.metric(&guest, "websocket.connections.opened"), Some(1));
    assert_eq!(host.metric(&guest, "websocket.messages"), Some(2));
}

#[tokio::test]
async fn a_guest_talks_over_wss_to_a_server_whose_authority_is_configured() {
    let (listener, _) = listener().await;
    let authority = Authority::new("the workload's");
    let acceptor = authority.acceptor(authority.issue(&["localhost"], |_| {}), false);
    let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
    let mut host = Host::start(Settings::default()).await;
    let ca = authority.file("ca.pem");
    let settings = [("allow", "localhost"), ("ca-cert", ca.as_str())];
    let guest = Guest { file: EXAMPLE, url: url.clone(), interface: &settings, ..Guest::default() };
    let guest = host.run(guest).await.unwrap();
    let server = async {
        let (tcp, _) = soon(listener.accept()).await.unwrap();
        let mut peer = Peer::over(soon(acceptor.accept(tcp)).await.unwrap()).await;
        greeted(&mut peer).await;
        peer.write(frame(TEXT, "secure")).await;
        closed(&mut peer, GOING_AWAY).await;
    };
    let (said, ()) = tokio::join!(guest.call(), server);
    assert_eq!(said, "SUCCESS: Received response: secure");

    // The authority is this workload's alone.
    let other = host.run(Guest { file: EXAMPLE, url, interface: LOOPBACK, ..Guest::default() }).await.unwrap();
    let server = async {
        let (tcp, _) = soon(listener.accept()).await.unwrap();
        assert!(soon(acceptor.accept(tcp)).await.is_err(), "a certificate of nobody known was taken");
    };
    let (said, ()) = tokio::join!(other.call(), server);
    assert!(said.starts_with("ERROR: Failed to connect: WebsocketError::ConnectionFailed"), "{said}");
}

#[tokio::test]
async fn a_guest_talks_while_it_answers_a_request_over_http() {
    let (listener, url) = listener().await;
    let mut host = Host::start(Settings::default()).await;
    host.run(Guest { file: HTTP, url, interface: LOOPBACK, ..Guest::default() }).await.unwrap();
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        peer.upgrade("").await;
        assert_eq!(peer.frame().await, (TEXT, b"/what".to_vec()));
        peer.write(frame(TEXT, "that")).await;
        closed(&mut peer, GOING_AWAY).await;
    };
    let (answer, ()) = tokio::join!(Host::get(host.http(), "/what"), server);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("that"), "{answer}");
}

#[tokio::test]
async fn a_guest_that_another_component_calls_has_its_own_settings() {
    let (listener, url) = listener().await;
    let mut host = Host::start(Settings::default()).await;
    let guest = Guest { file: EXAMPLE, url: String::new(), component: LOOPBACK, called: true, ..Guest::default() };
    let guest = host.run(Guest { url, ..guest }).await.unwrap();
    let caller = host.caller().await;
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        greeted(&mut peer).await;
        peer.write(frame(TEXT, "both")).await;
        closed(&mut peer, GOING_AWAY).await;
    };
    let (said, ()) = tokio::join!(caller.call_on(), server);
    assert_eq!(said, "SUCCESS: Received response: both");
    assert_eq!(host.metric(&guest, "websocket.connections.opened"), Some(1));
}

#[tokio::test]
async fn a_destination_that_no_rule_grants_is_not_dialled() {
    let (listener, url) = listener().await;
    let mut host = Host::start(Settings::default()).await;
    let rules = [("allow", "example.com")];
    let guest = host.run(Guest { file: EXAMPLE, url, interface: &rules, ..Guest::default() }).await.unwrap();
    let said = guest.call().await;
    assert!(said.starts_with("ERROR: Failed to connect: WebsocketError::AuthenticationFailed"), "{said}");
    nobody_dialled(&listener).await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_refuse_the_workload() {
    let mut host = Host::start(Settings::default()).await;
    let refusals: [(&[(&str, &str)], &str); 4] = [
        (&[("recieve-wait", "5s")], "there is no setting `recieve-wait`; did you mean `receive-wait`?"),
        (&[("colour", "red")], "there is no setting `colour`; there are allow, allow-origin, receive-wait, "),
        (&[("max-connections", "many")], "`max-connections` cannot be \"many\": "),
        (&[("max-connections", "2"), ("max-connections-total", "1")], "max-connections is over max-connections-total"),
    ];
    for (interface, why) in refusals {
        let Err(error) = host.run(Guest { file: EXAMPLE, interface, ..Guest::default() }).await else {
            panic!("{interface:?} was taken")
        };
        let error = format!("{error:#}");
        assert!(error.starts_with("workload \"feed\" cannot have WebSockets: ") && error.contains(why), "{error}");
    }
    let component = [("keepalive", "maybe")];
    let Err(error) = host.run(Guest { file: EXAMPLE, component: &component, ..Guest::default() }).await else {
        panic!("a bad value in a component's configuration was taken")
    };
    assert!(format!("{error:#}").contains("`keepalive` cannot be \"maybe\": "), "{error:#}");
    assert_eq!(host.plugin.metrics().count(), 0, "a refused workload is not counted");
}

#[tokio::test]
async fn the_plugins_the_components_and_the_interfaces_settings_add_up() {
    let (listener, url) = listener().await;
    let mut settings = Settings::default();
    settings.set("max-connections", "1").unwrap();
    let mut host = Host::start(settings).await;
    // `colour` belongs to whoever reads the component's configuration.
    let component = [("allow", "127.0.0.1"), ("colour", "red"), ("receive-wait", "1h")];
    let interface = [("receive-wait", "1ms")];
    let guest = Guest { file: EXAMPLE, url, interface: &interface, component: &component, called: false };
    let guest = host.run(guest).await.unwrap();
    let server = async {
        let mut peer = Peer::accept(&listener).await;
        greeted(&mut peer).await;
        closed(&mut peer, GOING_AWAY).await;
    };
    let (said, ()) = tokio::join!(guest.call(), server);
    assert_eq!(said, "SUCCESS: No message received");
}

#[tokio::test]
async fn workloads_have_limits_of_their_own() {
    let (listener, url) = listener().await;
    let mut host = Host::start(Settings::default()).await;
    let one = [LOOPBACK[0], ("max-connections", "1"), ("max-connections-total", "1")];
    let guest = |url: &str| Guest { file: EXAMPLE, url: url.to_owned(), interface: &one, ..Guest::default() };
    let (first, second) = (host.run(guest(&url)).await.unwrap(), host.run(guest(&url)).await.unwrap());

    let held = tokio::spawn({
        let first = first.clone();
        async move { first.call().await }
    });
    let mut peer = Peer::accept(&listener).await;
    greeted(&mut peer).await;
    let said = first.call().await;
    assert!(said.starts_with("ERROR: Failed to connect: WebsocketError::ConnectionFailed"), "{said}");
    assert!(said.contains("max-connections"), "{said}");

    let server = async {
        let mut peer = Peer::accept(&listener).await;
        greeted(&mut peer).await;
        peer.write(frame(TEXT, "second")).await;
        closed(&mut peer, GOING_AWAY).await;
    };
    let (said, ()) = tokio::join!(second.call(), server);
    assert_eq!(said, "SUCCESS: Received response: second");
    assert_eq!(host.metric(&first, "websocket.connections.failed"), Some(1));
    assert_eq!(host.metric(&second, "websocket.connections.failed"), Some(0));

    // Stopping one leaves the other's connections alone.
    host.stop(&second).await;
    peer.write(frame(TEXT, "first")).await;
    assert_eq!(soon(held).await.unwrap(), "SUCCESS: Received response: first");
}

#[tokio::test]
async fn a_workload_that_stops_closes_its_connections() {
    let (listener, url) = listener().await;
    let mut host = Host::start(Settings::default()).await;
    let interface = [LOOPBACK[0], ("receive-wait", "1h")];
    let guest = host.run(Guest { file: HTTP, url, interface: &interface, ..Guest::default() }).await.unwrap();
    let request = tokio::spawn(Host::get(host.http(), "/long"));
    let mut peer = Peer::accept(&listener).await;
    peer.upgrade("").await;
    assert_eq!(peer.frame().await, (TEXT, b"/long".to_vec()));
    let server = async move {
        closed(&mut peer, GOING_AWAY).await;
        // A client leaves it to the server to end TCP.
        drop(peer);
    };
    tokio::join!(host.stop(&guest), server);
    let answer = soon(request).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("ConnectionClosed"), "{answer}");
    assert_eq!(host.metric(&guest, "websocket.connections.active"), None, "its metrics went with it");
}

#[tokio::test]
async fn a_workload_that_stops_opens_no_connection_any_more() {
    let (listener, url) = listener().await;
    let mut host = Host::start(Settings::default()).await;
    let guest = host.run(Guest { file: EXAMPLE, url, interface: LOOPBACK, ..Guest::default() }).await.unwrap();
    let connecting = tokio::spawn({
        let guest = guest.clone();
        async move { guest.call().await }
    });
    let mut peer = Peer::accept(&listener).await;
    host.stop(&guest).await;
    peer.end().await;
    let stopping =
        "ERROR: Failed to connect: WebsocketError::ConnectionFailed(\"the component may open no connection any more\")";
    assert_eq!(soon(connecting).await.unwrap(), stopping);
    assert_eq!(guest.call().await, stopping);
    nobody_dialled(&listener).await;
}

#[test]
fn the_readme_lists_every_setting_of_dialled_connections_with_its_default() {
    let readme = include_str!("../../README.md");
    for setting in SETTINGS.iter().filter(|setting| setting.concerns != Concerns::Accepted) {
        let default = setting.default.map_or("none".to_owned(), |default| format!("`{default}`"));
        let row = format!("| `{}` | {default} |", setting.name);
        assert!(readme.contains(&row), "the README lacks {row}");
    }
}
