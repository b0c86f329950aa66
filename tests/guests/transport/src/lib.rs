//! A WATM v0 transport as existing ones in Go are made: a loop around `poll_oneoff` that moves all that the caller has, until
//! there is nothing, and then all that the network has. With the
//! configuration `reverse` it turns the bits of every byte around, both ways, which twice is nothing.

use std::cell::Cell;
use wasi::{
    Ciovec, EVENTTYPE_FD_READ, FDFLAGS_NONBLOCK, Fd, Iovec, Subscription, SubscriptionFdReadwrite, SubscriptionU,
    SubscriptionUU,
};

/// What the worker gives when it was cancelled, and when an end has gone.
const CANCELLED: i32 = -11;
const PEER_GONE: i32 = -64;
/// The number of the error that there is nothing to read yet.
const AGAIN: i32 = 6;
/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;

#[link(wasm_import_module = "env")]
// SAFETY: names and types are those of WATM v0, and the calls take no pointers.
unsafe extern "C" {
    safe fn host_dial() -> i32;
    safe fn host_accept() -> i32;
    safe fn pull_config() -> i32;
}

thread_local! {
    /// The two ends of the connection, and the stream that says when to end.
    static CALLER: Cell<Fd> = const { Cell::new(0) };
    static NETWORK: Cell<Fd> = const { Cell::new(0) };
    static CANCEL: Cell<Fd> = const { Cell::new(0) };
    static REVERSE: Cell<bool> = const { Cell::new(false) };
}

/// Marks the version.
// SAFETY: no other symbol has this name, as none of the following has another's.
#[unsafe(no_mangle)]
pub extern "C" fn _water_v0() {}

/// Reads the configuration, where there is one.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_init() -> i32 {
    let config = pull_config();
    if config < 0 {
        return 0;
    }
    let mut all = Vec::new();
    let mut part = [0; 256];
    loop {
        match read(config as Fd, &mut part) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&part[..count]),
            Err(error) => return -error,
        }
    }
    match all.as_slice() {
        b"" | b"plain" => {}
        b"reverse" => REVERSE.set(true),
        // An invalid argument.
        _ => return -28,
    }
    0
}

/// Takes a caller to the network.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_dial(caller: i32) -> i32 {
    opened(caller, host_dial())
}

/// Brings a connection of the network to a caller.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_accept(caller: i32) -> i32 {
    opened(caller, host_accept())
}

/// Joins two connections of the network.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_associate() -> i32 {
    match host_accept() {
        accepted if accepted >= 0 => opened(accepted, host_dial()),
        error => error,
    }
}

fn opened(caller: i32, network: i32) -> i32 {
    if network >= 0 {
        CALLER.set(caller as Fd);
        NETWORK.set(network as Fd);
    }
    network
}

/// Takes the stream that says when to end.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_cancel_with(cancel: i32) -> i32 {
    CANCEL.set(cancel as Fd);
    0
}

/// Moves bytes until an end goes, or the host says so.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_worker() -> i32 {
    let (caller, network, cancel) = (CALLER.get(), NETWORK.get(), CANCEL.get());
    for fd in [caller, network, cancel] {
        // SAFETY: it takes no pointers.
        if let Err(error) = unsafe { wasi::fd_fdstat_set_flags(fd, FDFLAGS_NONBLOCK) } {
            return -i32::from(error.raw());
        }
    }
    let readable = |fd: Fd| Subscription {
        userdata: fd.into(),
        u: SubscriptionU {
            tag: EVENTTYPE_FD_READ.raw(),
            u: SubscriptionUU { fd_read: SubscriptionFdReadwrite { file_descriptor: fd } },
        },
    };
    let subscriptions = [caller, network, cancel].map(readable);
    let mut buffer = vec![0; READ_SIZE];
    loop {
        // SAFETY: an event is plain data, for which zeros are a value.
        let mut events: [wasi::Event; 3] = unsafe { std::mem::zeroed() };
        // SAFETY: there is room for as many events as there are subscriptions.
        if let Err(error) = unsafe { wasi::poll_oneoff(subscriptions.as_ptr(), events.as_mut_ptr(), 3) } {
            return -i32::from(error.raw());
        }
        if read(cancel, &mut buffer) != Err(AGAIN) {
            return CANCELLED;
        }
        for (from, to) in [(caller, network), (network, caller)] {
            loop {
                match transfer(from, to, &mut buffer) {
                    Ok(0) => return PEER_GONE,
                    Ok(_) => {}
                    Err(AGAIN) => break,
                    Err(error) => return -error,
                }
            }
        }
    }
}

/// Moves what there is; gives how much.
fn transfer(from: Fd, to: Fd, buffer: &mut [u8]) -> Result<usize, i32> {
    let count = read(from, buffer)?;
    let mut rest = &mut buffer[..count];
    if REVERSE.get() {
        rest.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    while !rest.is_empty() {
        let vector = Ciovec { buf: rest.as_ptr(), buf_len: rest.len() };
        // SAFETY: the pointer and the length are those of bytes that can be read.
        let written = unsafe { wasi::fd_write(to, &[vector]) }.map_err(|error| i32::from(error.raw()))?;
        rest = &mut rest[written..];
    }
    Ok(count)
}

fn read(from: Fd, buffer: &mut [u8]) -> Result<usize, i32> {
    let vector = Iovec { buf: buffer.as_mut_ptr(), buf_len: buffer.len() };
    // SAFETY: the pointer and the length are those of bytes that nobody else refers to.
    unsafe { wasi::fd_read(from, &[vector]) }.map_err(|error| i32::from(error.raw()))
}
