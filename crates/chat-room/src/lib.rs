//! A chat room in one core module: `/` is its page, `/chat` becomes a WebSocket, and what one says in it all
//! hear.

#![no_std]

extern crate alloc;

mod abi;
mod payload;
mod room;

use payload::{Request, Response};
use room::Room;

/// Answers a GET. Of other methods this guest exports none, and the host refuses them.
fn get(room: &mut Room, request: &Request) -> Response {
    match request.path() {
        "/" => Response::text(200, "text/html; charset=utf-8", include_str!("chat.html")),
        "/chat" => match room.admit() {
            Some(id) => Response::upgrade(id),
            None => Response::error(503, "The room is full. Come back when somebody has left."),
        },
        _ => Response::error(404, "There is only / here, and the WebSocket /chat."),
    }
}
