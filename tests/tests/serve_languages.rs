//! Core modules in languages other than Rust under `serve`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tests::{Answered, Serving, build_assembly_guest, soon};
use tokio_tungstenite::tungstenite::Message;

/// The guest in AssemblyScript under `serve`; `None` where its compiler is missing.
async fn assembly() -> Option<Serving> {
    let folder = tempfile::tempdir().unwrap();
    let guest = build_assembly_guest(folder.path()).await?;
    Some(Serving::start(std::fs::read(guest).unwrap(), &[]).await)
}

fn json(answered: &Answered) -> Value {
    assert_eq!((answered.status, answered.values("content-type")), (200, vec!["application/json"]));
    serde_json::from_str(answered.text()).unwrap()
}

#[tokio::test]
async fn assemblyscript_gets_every_part_of_a_request() {
    let Some(serving) = assembly().await else { return };
    let told = serving.ask("GET", "/a/b?x=1&y=%C3%BC+%22&empty=", "X-Test: say \"\\\"\r\n", "").await;
    let told = json(&told);
    assert_eq!((&told["method"], &told["body"]), (&json!("GET"), &json!("none")));
    assert!(told["url"].as_str().unwrap().ends_with("/a/b?x=1&y=%C3%BC+%22&empty="), "{told}");
    assert_eq!(told["query"], json!({"x": "1", "y": "ü \""}));
    assert_eq!(told["headers"]["x-test"], "say \"\\\"");

    let form = "multipart/form-data; boundary=b";
    let file = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n\"\r\nContent-Type: a/b\r\n\r\n\u{0}\r\n\
                --b\r\nContent-Disposition: form-data; name=\"t\"\r\n\r\nv\r\n--b--\r\n";
    for (media_type, body, kind) in [
        ("text/plain", "hello", "text"),
        ("application/json", "{\"a\":1}", "json"),
        ("application/x-www-form-urlencoded", "a=1&b=2", "form"),
        (form, file, "form"),
        ("application/octet-stream", "\u{0}\u{1}", "blob"),
    ] {
        let told = serving.ask("POST", "/", &format!("Content-Type: {media_type}\r\n"), body).await;
        assert_eq!(json(&told)["body"], kind, "{media_type}");
    }
}

#[tokio::test]
async fn assemblyscript_counts_visits_in_the_session_of_each_client() {
    let Some(serving) = assembly().await else { return };
    let first = serving.ask("GET", "/", "", "").await;
    let cookie = first.values("set-cookie")[0].split(';').next().unwrap();
    let cookie = format!("Cookie: {cookie}\r\n");
    let visits = async |fields: &str| json(&serving.ask("GET", "/", fields, "").await)["visits"].clone();
    assert_eq!(json(&first)["visits"], 1);
    assert_eq!(visits(&cookie).await, 2);
    assert_eq!(visits("").await, 1, "another client has another session");
    assert_eq!(visits(&cookie).await, 3);
}

#[tokio::test]
async fn assemblyscript_keeps_things_in_a_store() {
    let Some(serving) = assembly().await else { return };
    let keep = async |query: &str| json(&serving.ask("GET", &format!("/store?{query}"), "", "").await);
    let colours = |found: &Value| -> Vec<Value> {
        found.as_array().unwrap().iter().map(|thing| thing["colour"].clone()).collect()
    };
    assert_eq!(colours(&keep("colour=red").await), ["red"]);
    assert_eq!(colours(&keep("colour=blue").await), ["blue"]);
    assert_eq!(colours(&keep("colour=red").await), ["red", "red"]);
}

#[tokio::test]
async fn assemblyscript_echoes_on_sockets() {
    let Some(serving) = assembly().await else { return };
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(serving.try_dial("/socket").await.unwrap());
    }
    let messages = [Message::text(""), Message::text("grüße 👋"), Message::binary(vec![0xFF; 15 << 20])];
    for message in messages.into_iter().chain((0..1000).map(|size| Message::binary(vec![1; size * 64]))) {
        for socket in &mut sockets {
            soon(socket.send(message.clone())).await.unwrap();
        }
        for socket in &mut sockets {
            assert!(soon(socket.next()).await.unwrap().unwrap() == message);
        }
    }
    drop(sockets);
    let (status, log) = serving.interrupt().await;
    assert!(status.success() && !log.contains("ERROR"), "{log}");
}
