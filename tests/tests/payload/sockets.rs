//! Sockets of modules: messages in both directions, opening and closing.

use super::*;
use std::time::{Duration, Instant};
use tests::{
    Answered, Serving,
    probe::{self, Config, Probe},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    client_async,
    tungstenite::{client::IntoClientRequest, protocol::CloseFrame},
};

const ECHOES: [&str; 2] =
    [include_str!("../../guests/echo-shipped.wat"), include_str!("../../guests/echo-proposal.wat")];

#[tokio::test]
async fn text_and_binary_of_every_size_come_back_in_both_dialects() {
    for echo in ECHOES {
        let serving = Serving::start(echo, &[]).await;
        let mut client = serving.dial().await;
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 16 << 20] {
            echoes(&mut client, text(&"é".repeat(size / 2))).await;
            echoes(&mut client, binary(vec![size as u8; size])).await;
        }
        let (status, log) = serving.interrupt().await;
        assert!(status.success() && log.is_empty(), "{status}: {log}");
        assert_eq!(close_code(&mut client).await, 1001);
    }
}

#[tokio::test]
async fn a_guest_closes_with_1000_and_a_client_with_any_code() {
    for echo in ECHOES {
        let serving = Serving::start(echo, &[]).await;
        let mut client = serving.dial().await;
        soon(client.send(text("close"))).await.unwrap();
        assert_eq!(close_code(&mut client).await, 1000);
        assert!(soon(client.next()).await.is_none());
        let mut client = serving.dial().await;
        soon(client.close(Some(CloseFrame { code: 4321.into(), reason: "".into() }))).await.unwrap();
        assert_eq!(close_code(&mut client).await, 4321);
        assert!(soon(client.next()).await.is_none());
        let (status, log) = serving.interrupt().await;
        assert!(status.success() && log.is_empty(), "{status}: {log}");
    }
}

#[tokio::test]
async fn the_host_answers_pings_and_the_guest_does_not_see_them() {
    let serving = Serving::start(guest(&[]), &[]).await;
    let mut client = serving.dial().await;
    soon(client.send(Message::Ping("p".into()))).await.unwrap();
    assert_eq!(soon(client.next()).await.unwrap().unwrap(), Message::Pong("p".into()));
    echoes(&mut client, text("still there")).await;
}

#[tokio::test]
async fn pings_and_a_close_are_answered_while_the_guest_computes() {
    let spin = guest(&[("websocketMessage", "(loop (br 0))")]);
    let serving = Serving::start(spin, &["--inbound-buffer", "1KiB", "--callback-timeout", "1h"]).await;
    let mut client = serving.dial().await;
    soon(client.send(text("compute"))).await.unwrap();
    for number in 0..2000_u32 {
        let payload = number.to_be_bytes().to_vec();
        soon(client.send(Message::Ping(payload.clone().into()))).await.unwrap();
        assert_eq!(soon(client.next()).await.unwrap().unwrap(), Message::Pong(payload.into()));
    }
    soon(client.close(Some(CloseFrame { code: 4321.into(), reason: "".into() }))).await.unwrap();
    assert_eq!(close_code(&mut client).await, 4321);
    assert!(soon(client.next()).await.is_none());
}

#[tokio::test]
async fn a_close_code_that_may_not_be_sent_is_answered_with_1002() {
    for echo in ECHOES {
        let serving = Serving::start(echo, &[]).await;
        for code in [1005_u16, 1016, 2000, 2999] {
            let mut client = serving.dial().await;
            let [high, low] = code.to_be_bytes();
            soon(client.get_mut().write_all(&[0x88, 0x82, 0, 0, 0, 0, high, low])).await.unwrap();
            assert_eq!(close_code(&mut client).await, 1002, "{code}");
        }
    }
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_given_up() {
    let serving = Serving::start(guest(&[]), &["--keepalive-interval", "1s"]).await;
    let mut client = serving.dial().await;
    assert!(matches!(soon(client.next()).await, Some(Ok(Message::Ping(_)))));
    // A client that is not polled answers nothing.
    let mut tcp = client.into_inner();
    let mut rest = Vec::new();
    soon(tokio::io::AsyncReadExt::read_to_end(&mut tcp, &mut rest)).await.unwrap();
    assert!(rest.ends_with(b"keep-alive timeout"), "{rest:?}");
}

#[tokio::test]
async fn a_message_of_the_open_callback_is_the_first() {
    let greeting = "(call $hold) (i64.store (i32.const 8) (i64.load (i32.const 1024)))
        (i64.store (i32.const 16) (i64.const 0x0000000200000000)) (i32.store16 (i32.const 24) (i32.const 0x6968))
        (call $send (i32.const 8) (i32.const 18)) (call $websocketSend)";
    let serving = Serving::start(guest(&[("websocketOpen", greeting)]), &[]).await;
    for _ in 0..3 {
        let mut client = serving.dial().await;
        assert_eq!(soon(client.next()).await.unwrap().unwrap(), text("hi"));
        echoes(&mut client, text("and on")).await;
    }
}

#[tokio::test]
async fn a_guest_sends_to_and_closes_another_socket_than_the_one_whose_message_it_has() {
    // The first socket gets the message of another, and is closed.
    let message = "(call $hold) (i64.store (i32.const 1024) (i64.const 0))
        (call $send (i32.const 1024) (call $length)) (call $websocketSend)
        (call $send (i32.const 1024) (i32.const 8)) (call $websocketClose)";
    let serving = Serving::start(guest(&[("websocketMessage", message)]), &[]).await;
    let (mut first, mut second) = (serving.dial().await, serving.dial().await);
    soon(second.send(binary(vec![1, 2]))).await.unwrap();
    assert_eq!(soon(first.next()).await.unwrap().unwrap(), binary(vec![1, 2]));
    assert_eq!(close_code(&mut first).await, 1000);
    soon(second.send(Message::Ping("still there".into()))).await.unwrap();
    assert_eq!(soon(second.next()).await.unwrap().unwrap(), Message::Pong("still there".into()));
}

#[tokio::test]
async fn every_socket_ends_with_one_close_callback_whoever_closes_it() {
    // Counts, and tells the count to whoever sends a message next.
    let count = "(call $hold) (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))";
    let tell = "(call $hold)
        (if (i32.eq (call $length) (i32.const 16))
            (then (call $send (i32.const 1024) (i32.const 8)) (call $websocketClose))
            (else
                (i32.store8 (i32.const 1040) (i32.add (i32.load (i32.const 512)) (i32.const 48)))
                (call $send (i32.const 1024) (i32.const 17)) (call $websocketSend)))";
    let serving = Serving::start(guest(&[("websocketMessage", tell), ("websocketClose", count)]), &[]).await;
    let mut teller = serving.dial().await;
    // At an empty message the guest closes; messages that it sends after that are dropped.
    let mut first = serving.dial().await;
    soon(first.send(text(""))).await.unwrap();
    assert_eq!(close_code(&mut first).await, 1000);
    assert!(soon(first.next()).await.is_none());
    let mut second = serving.dial().await;
    soon(second.close(None)).await.unwrap();
    while soon(second.next()).await.is_some() {}
    drop(serving.dial().await);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        soon(teller.send(text("?"))).await.unwrap();
        match soon(teller.next()).await.unwrap().unwrap() {
            told if told == text("3") => break,
            told => assert!(Instant::now() < deadline, "{told:?}"),
        }
    }
}

#[tokio::test]
async fn the_first_subprotocol_on_offer_is_chosen() {
    let serving = Serving::start(guest(&[]), &[]).await;
    let mut request = format!("ws://{}/", serving.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat, log".parse().unwrap());
    let tcp = TcpStream::connect(&serving.address).await.unwrap();
    let (_client, response) = soon(client_async(request, tcp)).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
}

const HANDSHAKE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn a_request_that_is_not_a_handshake_is_refused_although_the_guest_upgrades() {
    for module in [guest(&[]), ECHOES[1].to_owned()] {
        let serving = Serving::start(module, &[]).await;
        let plain: Answered = serving.ask("GET", "/", "", "").await;
        assert_eq!((plain.status, plain.values("sec-websocket-version")), (426, vec!["13"]), "{plain:?}");
        let old = serving.ask("GET", "/", &HANDSHAKE.replace("13", "8"), "").await;
        assert_eq!(old.status, 426, "{old:?}");
        let keyless = serving.ask("GET", "/", &HANDSHAKE.replace("dGhl", ""), "").await;
        assert_eq!(keyless.status, 400, "{keyless:?}");
    }
}

#[tokio::test]
async fn a_number_in_use_is_refused_with_500_and_free_again_after_its_socket() {
    let serving = Serving::start(guest(&[("sendResponse", "(call $upgrade (i64.const 5))")]), &[]).await;
    let mut first = serving.dial().await;
    let refused = serving.ask("GET", "/", HANDSHAKE, "").await;
    assert_eq!(refused.status, 500, "{refused:?}");
    echoes(&mut first, text("not touched")).await;
    soon(first.close(None)).await.unwrap();
    while soon(first.next()).await.is_some() {}
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut again = loop {
        match serving.try_dial("/").await {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    echoes(&mut again, text("its number is free")).await;
    let (_, log) = serving.interrupt().await;
    assert!(log.contains("number of a socket that is open") && log.contains("id=5"), "{log}");
}

#[tokio::test]
async fn the_sockets_of_instances_have_numbers_of_their_own() {
    let serving = Serving::start(guest(&[]), &["--instances", "3"]).await;
    let mut clients = Vec::new();
    for _ in 0..9 {
        clients.push(serving.dial().await);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        echoes(client, text(&number.to_string())).await;
    }
}

#[tokio::test]
async fn a_component_talks_to_a_module_through_two_programs() {
    for echo in ECHOES {
        let serving = Serving::start(echo, &[]).await;
        let config = || Config { url: format!("ws://{}/", serving.address), ..Config::default() };
        let mut guest = Probe::start(&[]);
        let open = guest.connect(config()).await.unwrap();
        for message in [probe::Message::Text("grüße".into()), probe::Message::Binary((0..=255).collect())] {
            guest.send(open, message.clone()).await.unwrap();
            assert_eq!(guest.receive(open).await, Ok(message));
        }
        // The module's close is normal.
        guest.send(open, probe::Message::Text("close".into())).await.unwrap();
        assert_eq!(guest.receive(open).await, Ok(probe::Message::Close(1000, None)));
        // The component's own comes back as it went.
        let open = guest.connect(config()).await.unwrap();
        guest.close(open, Some(4321), Some("grüße")).await.unwrap();
        assert_eq!(guest.receive(open).await, Ok(probe::Message::Close(4321, None)));
        // A server that stops closes with 1001.
        let open = guest.connect(config()).await.unwrap();
        let (status, log) = serving.interrupt().await;
        assert!(status.success() && log.is_empty(), "{status}: {log}");
        assert_eq!(guest.receive(open).await, Ok(probe::Message::Close(1001, None)));
    }
}
