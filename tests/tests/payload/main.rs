//! Core modules of the pointer-payload ABI, served by the program: requests, sockets, and every way to break the ABI.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod limits;
mod misuse;
mod program;
mod requests;
mod smuggling;
mod sockets;
mod storing;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tests::{Client, soon};
use tokio_tungstenite::tungstenite::Message;

/// A module in the shipped dialect whose functions have these bodies in place of the plain ones. Plainly, `get`
/// upgrades with the numbers 0, 1, 2, …, a message is sent back, and nothing else happens. The payload is kept from
/// address 1024 on, and `$hold` puts it there.
fn guest(bodies: &[(&str, &str)]) -> String {
    guest_with("", bodies)
}

/// A module with further imports, globals and data.
fn guest_with(more: &str, bodies: &[(&str, &str)]) -> String {
    let body = |name: &str, plain: &'static str| -> String {
        bodies.iter().find(|(other, _)| *other == name).map_or(plain, |(_, body)| *body).to_owned()
    };
    let known = ["start", "newRequest", "get", "finalizeRequest", "sendResponse", "finalizeResponse"];
    let callbacks = ["websocketOpen", "websocketMessage", "websocketClose"];
    let is_known = |name: &str| known.contains(&name) || callbacks.contains(&name);
    assert!(bodies.iter().all(|(name, _)| is_known(name)), "{bodies:?}");
    format!(
        r#"(module
            (import "primate" "payloadByteLength" (func $length (result i32)))
            (import "primate" "receive" (func $receive (param i32 i32)))
            (import "primate" "send" (func $send (param i32 i32)))
            (import "primate" "websocketSend" (func $websocketSend))
            (import "primate" "websocketClose" (func $websocketClose))
            {more}
            (memory (export "memory") 600)
            (global $next (mut i64) (i64.const 0))
            (func $hold (call $receive (i32.const 1024) (call $length)))
            (func $upgrade (param $id i64)
                (i32.store (i32.const 0) (i32.const 7))
                (i64.store (i32.const 4) (local.get $id))
                (call $send (i32.const 0) (i32.const 12)))
            (func (export "_start") {start})
            (func (export "newRequest") (result i32) {new_request})
            (func (export "get") (param i32) (result i32) {get})
            (func (export "finalizeRequest") (param i32) {finalize_request})
            (func (export "sendResponse") (param i32) {send_response})
            (func (export "finalizeResponse") (param i32) (result i32) {finalize_response} (i32.const 0))
            (func (export "websocketOpen") {open})
            (func (export "websocketMessage") {message})
            (func (export "websocketClose") {close}))"#,
        start = body("start", ""),
        new_request = body("newRequest", "(call $hold) (i32.const 11)"),
        get = body("get", "(i32.add (local.get 0) (i32.const 11))"),
        finalize_request = body("finalizeRequest", ""),
        send_response = body(
            "sendResponse",
            "(if (i32.ne (local.get 0) (i32.const 22)) (then unreachable))
             (call $upgrade (global.get $next))
             (global.set $next (i64.add (global.get $next) (i64.const 1)))"
        ),
        finalize_response = body("finalizeResponse", ""),
        open = body("websocketOpen", "(call $hold)"),
        message =
            body("websocketMessage", "(call $hold) (call $send (i32.const 1024) (call $length)) (call $websocketSend)"),
        close = body("websocketClose", "(call $hold)"),
    )
}

/// A module that answers every request with this payload.
fn answering(payload: &[u8]) -> String {
    let data: String = payload.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let length = payload.len();
    guest_with(
        &format!(r#"(data (i32.const 65536) "{data}")"#),
        &[("sendResponse", &format!("(call $send (i32.const 65536) (i32.const {length}))"))],
    )
}

async fn echoes(client: &mut Client, message: Message) {
    soon(client.send(message.clone())).await.unwrap();
    let back = soon(client.next()).await.unwrap().unwrap();
    assert!(back == message, "{} bytes came back for {}", back.len(), message.len());
}

/// The code of the next close frame.
async fn close_code(client: &mut Client) -> u16 {
    match soon(client.next()).await {
        Some(Ok(Message::Close(frame))) => frame.map_or(1005, |frame| frame.code.into()),
        other => panic!("{other:?}"),
    }
}

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

fn binary(data: impl Into<Bytes>) -> Message {
    Message::Binary(data.into())
}
