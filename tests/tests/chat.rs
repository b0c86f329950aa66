//! The chat room under `serve`, with third-party clients.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use tests::{Serving, core_guest, soon};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};
use websocket_connection::{ConnectConfig, Connection, Endpoint, Settings};

/// A client in the room.
struct Client(tests::Client);

impl Client {
    /// Joins; the present members are notified.
    async fn join(serving: &Serving, name: &str, others: &mut [&mut Client]) -> Client {
        let mut client = Client(serving.try_dial("/chat").await.unwrap());
        client.say(&format!("/name {name}")).await;
        let told = client.hears().await;
        let guest = told.strip_suffix(&format!(" is now {name}")).expect("it has the name");
        for other in others {
            assert_eq!(other.hears().await, format!("{guest} joined"));
            assert_eq!(other.hears().await, told);
        }
        client
    }

    async fn send(&mut self, message: Message) {
        soon(self.0.send(message)).await.unwrap();
    }

    async fn say(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    async fn next(&mut self) -> Message {
        soon(self.0.next()).await.expect("the connection is open").unwrap()
    }

    async fn hears(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("not a text: {other:?}"),
        }
    }

    async fn is_closed_with(&mut self, code: CloseCode) {
        match self.next().await {
            Message::Close(Some(frame)) => assert_eq!(frame.code, code),
            other => panic!("not a close with a code: {other:?}"),
        }
        assert!(soon(self.0.next()).await.is_none_or(|end| end.is_err()), "the close is the last");
    }
}

async fn serve() -> Serving {
    Serving::start(core_guest("chat_room"), &[]).await
}

/// A room with three members.
async fn room() -> (Serving, [Client; 3]) {
    let serving = serve().await;
    let mut ada = Client::join(&serving, "ada", &mut []).await;
    let mut bob = Client::join(&serving, "bob", &mut [&mut ada]).await;
    let eve = Client::join(&serving, "eve", &mut [&mut ada, &mut bob]).await;
    (serving, [ada, bob, eve])
}

#[tokio::test]
async fn its_pages_are_the_chat_and_nothing_else() {
    let serving = serve().await;
    let page = serving.ask("GET", "/?a=b", "", "").await;
    assert_eq!((page.status, page.values("content-type")), (200, vec!["text/html; charset=utf-8"]));
    assert!(page.text().starts_with("<!doctype html>") && page.text().ends_with("</html>\n"));
    let nothing = serving.ask("GET", "/nothing", "", "").await;
    assert_eq!((nothing.status, nothing.text()), (404, "There is only / here, and the WebSocket /chat."));
    assert_eq!(serving.ask("GET", "/chat", "", "").await.status, 426);
    assert_eq!(serving.ask("POST", "/", "", "hello").await.status, 405);
}

#[tokio::test]
async fn everybody_receives_text_with_a_name_and_bytes_unchanged() {
    let (_serving, mut all) = room().await;
    for speaker in 0..3 {
        let name = ["ada", "bob", "eve"][speaker];
        all[speaker].say("grüße 👋").await;
        let bytes = Message::binary(vec![speaker as u8; 100_000]);
        all[speaker].send(bytes.clone()).await;
        for client in &mut all {
            assert_eq!(client.hears().await, format!("{name}: grüße 👋"));
            assert!(client.next().await == bytes);
        }
    }
}

#[tokio::test]
async fn everybody_receives_the_same_in_order_with_and_without_compression() {
    let options = ["--compress", "true", "--compress-takeover", "true"];
    let serving = Serving::start(core_guest("chat_room"), &options).await;
    let mut members = Vec::new();
    for set in [&[][..], &["compress"], &["compress"], &["compress", "compress-takeover"]] {
        let mut settings = Settings::default();
        for name in set {
            settings.set(name, "true").unwrap();
        }
        settings.set("allow", "127.0.0.1").unwrap();
        let url = format!("ws://{}/chat", serving.address);
        let member = soon(Endpoint::new(settings).unwrap().connect(ConnectConfig::new(url))).await.unwrap();
        assert_eq!(member.compression().is_some(), set.contains(&"compress"));
        soon(member.send(format!("/name member {}", members.len()).as_str())).await.unwrap();
        while !soon(hears(&member)).await.contains("is now") {}
        members.push(member);
    }
    let long = "compressible ".repeat(1000);
    for round in 0..20 {
        let text = format!("{round} {long}");
        soon(members[1].send(text.as_str())).await.unwrap();
        soon(members[1].send("short")).await.unwrap();
    }
    for member in &members {
        for round in 0..20 {
            let mut heard = soon(hears(member)).await;
            while heard.starts_with('*') {
                heard = soon(hears(member)).await;
            }
            assert!(heard == format!("member 1: {round} {long}"));
            assert_eq!(soon(hears(member)).await, "member 1: short");
        }
    }
}

/// The next text.
async fn hears(member: &Connection) -> String {
    match member.receive().await.unwrap() {
        Some(websocket_connection::Message::Text(text)) => text,
        other => panic!("not a text: {other:?}"),
    }
}

#[tokio::test]
async fn a_member_who_quits_is_closed_with_1000_and_the_others_are_notified() {
    let (serving, [mut ada, mut bob, mut eve]) = room().await;
    bob.say("/quit").await;
    bob.is_closed_with(CloseCode::Normal).await;
    for client in [&mut ada, &mut eve] {
        assert_eq!(client.hears().await, "* bob left");
    }
    // The name is free again, and so is the slot.
    let mut bob = Client::join(&serving, "bob", &mut [&mut ada, &mut eve]).await;
    eve.say("again?").await;
    for client in [&mut ada, &mut bob, &mut eve] {
        assert_eq!(client.hears().await, "eve: again?");
    }
}

#[tokio::test]
async fn the_others_are_notified_when_a_member_closes_or_vanishes() {
    let (_serving, [mut ada, mut bob, eve]) = room().await;
    drop(eve); // without a close frame
    for client in [&mut ada, &mut bob] {
        assert_eq!(client.hears().await, "* eve left");
    }
    soon(bob.0.close(None)).await.unwrap();
    assert_eq!(ada.hears().await, "* bob left");
    ada.say("alone").await;
    assert_eq!(ada.hears().await, "ada: alone");
}

#[tokio::test]
async fn misleading_names_are_refused_and_nothing_ends_the_room() {
    let (_serving, [mut ada, mut bob, mut eve]) = room().await;
    for (name, why) in [
        ("ada", "* ada is taken: choose another name"),
        ("* ada left", "* a name has no colon and no control character, and does not begin with * or guest"),
        ("guest 9", "* a name has no colon and no control character, and does not begin with * or guest"),
        ("ada: no", "* a name has no colon and no control character, and does not begin with * or guest"),
        ("a\u{0}b", "* a name has no colon and no control character, and does not begin with * or guest"),
        ("", "* a name has 1 to 32 characters"),
        (&"x".repeat(33), "* a name has 1 to 32 characters"),
    ] {
        eve.say(&format!("/name {name}")).await;
        assert_eq!(eve.hears().await, why, "{name:?}");
    }
    for text in ["", "/", "/name", "/quit ", &"ß".repeat(500_000)] {
        eve.say(text).await;
        for client in [&mut ada, &mut bob, &mut eve] {
            assert!(client.hears().await == format!("eve: {text}"), "{} bytes", text.len());
        }
    }
    for message in [Message::text("x".repeat((1 << 20) + 1)), Message::binary(vec![0; 16 << 20])] {
        eve.send(message).await;
        assert_eq!(eve.hears().await, "* a message has at most 1048576 bytes");
    }
    eve.send(Message::binary(vec![])).await;
    for client in [&mut ada, &mut bob, &mut eve] {
        assert_eq!(client.next().await, Message::binary(vec![]));
    }
}

#[tokio::test]
async fn a_thousand_come_and_go_while_others_talk() {
    let (serving, [mut ada, mut bob, eve]) = room().await;
    drop(eve);
    assert_eq!(ada.hears().await, "* eve left");
    assert_eq!(bob.hears().await, "* eve left");
    for visit in 0..1000 {
        let mut guest = Client::join(&serving, "mallory", &mut [&mut ada, &mut bob]).await;
        if visit % 2 == 0 {
            guest.say("/quit").await;
        }
        drop(guest);
        for client in [&mut ada, &mut bob] {
            assert_eq!(client.hears().await, "* mallory left");
        }
    }
    bob.say("still here").await;
    assert_eq!(ada.hears().await, "bob: still here");
    drop((ada, bob));
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && !log.contains("ERROR"), "{log}");
}
