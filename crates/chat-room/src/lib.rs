//! A chat room in one core module: `/` is its page, `/chat` becomes a WebSocket, and what one says in it all
//! hear.

#![no_std]

extern crate alloc;

mod abi;
mod room;

use alloc::borrow::ToOwned;
use room::Room;
use websocket_payload_abi::{Request, Response};

/// Answers a GET. Of other methods this guest exports none, and the host refuses them.
fn get(room: &mut Room, request: &Request) -> Response {
    match path(&request.url) {
        "/" => Response::Text {
            body: include_str!("chat.html").to_owned(),
            status: 200,
            headers: r#"{"content-type":"text/html; charset=utf-8"}"#.to_owned(),
        },
        "/chat" => match room.admit() {
            Some(id) => Response::Upgrade(id),
            None => error(503, "The room is full. Come back when somebody has left."),
        },
        _ => error(404, "There is only / here, and the WebSocket /chat."),
    }
}

/// A response in plain text.
fn error(status: u32, body: &str) -> Response {
    Response::Error { body: Some(body.to_owned()), status, page: None }
}

/// The path of a URL, with or without scheme and authority.
fn path(url: &str) -> &str {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => url,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}
