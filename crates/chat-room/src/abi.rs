//! Where guest and host meet: the pointer-payload ABI in its shipped dialect, and all that is `unsafe` about it.
//! The host calls the exports one at a time, and none of what they import calls back into the guest.

#![allow(unsafe_code)]

use crate::room::Room;
use alloc::{boxed::Box, vec, vec::Vec};
use core::{arch::wasm32, cell::RefCell, panic::PanicInfo};
use dlmalloc::GlobalDlmalloc;
use websocket_payload_abi::{
    Dialect, Generation, Message, PayloadError, Request, Response, SocketId, decode_id, encode_id,
};

/// The form of the ABI that this guest speaks: see the documentation of both types.
pub(crate) const DIALECT: Dialect = Dialect::Shipped;
const GENERATION: Generation = Generation::Newer;

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

/// Ends the instance: the host closes its sockets with 1011 and says which export trapped.
#[panic_handler]
fn trap(_: &PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}

/// What the instance keeps from one call to the next.
static ROOM: OneThread<RefCell<Room>> = OneThread(RefCell::new(Room::new()));

struct OneThread<T>(T);

// SAFETY: an instance has one thread, so that no other ever sees the value.
unsafe impl<T> Sync for OneThread<T> {}

mod host {
    #[link(wasm_import_module = "primate")]
    // SAFETY: names and types are the ABI's. The host checks each pointer and length against the memory; that
    // `receive` writes only where the guest wants it to is for its caller to see to.
    unsafe extern "C" {
        #[link_name = "payloadByteLength"]
        pub(super) safe fn payload_byte_length() -> usize;
        pub(super) fn receive(pointer: *mut u8, length: usize);
        pub(super) fn send(pointer: *const u8, length: usize);
        #[link_name = "websocketSend"]
        pub(super) safe fn websocket_send();
        #[link_name = "websocketClose"]
        pub(super) safe fn websocket_close();
    }
}

/// The payload of the call that the host is making.
fn receive() -> Vec<u8> {
    let mut payload = vec![0; host::payload_byte_length()];
    // SAFETY: the pointer and the length are those of bytes that nobody else refers to.
    unsafe { host::receive(payload.as_mut_ptr(), payload.len()) };
    payload
}

/// Hands the host a payload, which it copies.
fn send(payload: &[u8]) {
    // SAFETY: the pointer and the length are those of bytes that can be read.
    unsafe { host::send(payload.as_ptr(), payload.len()) };
}

/// Sends a message to the socket that its payload names, which must be open.
pub(crate) fn websocket_send(message: &[u8]) {
    send(message);
    host::websocket_send();
}

/// Closes a socket, which must be open, with code 1000.
pub(crate) fn websocket_close(id: SocketId) {
    send(&encode_id(id));
    host::websocket_close();
}

/// An invalid payload means that the host does not implement this ABI, and the guest cannot go on.
fn or_trap<T>(decoded: Result<T, PayloadError>) -> T {
    decoded.unwrap_or_else(|_| wasm32::unreachable())
}

// A box crosses the border as the pointer in it. The host passes on what it was given, and gives it back to
// the matching `finalize…` exactly once.

// SAFETY: no other symbol has this name, as none of the following has another's.
#[unsafe(export_name = "newRequest")]
extern "C" fn new_request() -> Box<Request> {
    Box::new(or_trap(Request::decode(&receive(), GENERATION)))
}

// SAFETY: as above; the reference is to a request that `newRequest` gave and nobody has taken back.
#[unsafe(export_name = "get")]
extern "C" fn get(request: &Request) -> Box<Response> {
    Box::new(crate::get(&mut ROOM.0.borrow_mut(), request))
}

// SAFETY: as above; the box is one of `newRequest`, and the host does not use its pointer again.
#[unsafe(export_name = "finalizeRequest")]
extern "C" fn finalize_request(_: Box<Request>) {}

// SAFETY: as above; the reference is to a response that `get` gave and nobody has taken back.
#[unsafe(export_name = "sendResponse")]
extern "C" fn send_response(response: &Response) {
    send(&response.encode());
}

// SAFETY: as above; the box is one of `get`, and the host does not use its pointer again.
#[unsafe(export_name = "finalizeResponse")]
extern "C" fn finalize_response(_: Box<Response>) {}

// SAFETY: as above.
#[unsafe(export_name = "websocketOpen")]
extern "C" fn websocket_open() {
    ROOM.0.borrow_mut().open(or_trap(decode_id(&receive())));
}

// SAFETY: as above.
#[unsafe(export_name = "websocketMessage")]
extern "C" fn websocket_message() {
    ROOM.0.borrow_mut().message(or_trap(Message::decode(&receive().into(), DIALECT)));
}

// SAFETY: as above.
#[unsafe(export_name = "websocketClose")]
extern "C" fn websocket_closed() {
    ROOM.0.borrow_mut().close(or_trap(decode_id(&receive())));
}
