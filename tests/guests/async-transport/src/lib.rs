//! A WATM v0 transport as existing ones in Rust are made: streams of tokio, whose runtime waits in `poll_oneoff` for
//! everything at once, writing included, and a small buffer for each way. With the configuration `half-close` the end of one
//! way is passed on, and the other goes on; without, the end of either ends both.

use std::{
    cell::{Cell, RefCell},
    fs::File,
    io::{self, Read},
    net,
    os::fd::FromRawFd,
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

/// What the worker gives when an end failed.
const FAILED_IO: i32 = -7;
/// How much is read at once.
const READ_SIZE: usize = 1024;

#[link(wasm_import_module = "env")]
// SAFETY: names and types are those of WATM v0, and the calls take no pointers.
unsafe extern "C" {
    safe fn host_dial() -> i32;
    safe fn host_accept() -> i32;
    safe fn host_defer();
    safe fn pull_config() -> i32;
}

thread_local! {
    /// The two ends of the connection, and the stream that says when to end.
    static STREAMS: RefCell<Vec<net::TcpStream>> = const { RefCell::new(Vec::new()) };
    static HALF_CLOSE: Cell<bool> = const { Cell::new(false) };
}

/// Marks the version, as a global.
// SAFETY: no other symbol has this name, as none of the following has another's.
#[unsafe(export_name = "_water_v0")]
pub static VERSION: i32 = 0;

/// Reads the configuration, where there is one.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_init() -> i32 {
    thread::sleep(Duration::from_millis(1));
    let config = pull_config();
    if config < 0 {
        return 0;
    }
    let mut text = String::new();
    // SAFETY: the host gave the number, and nobody else has it.
    let read = unsafe { File::from_raw_fd(config) }.read_to_string(&mut text);
    HALF_CLOSE.set(text == "half-close");
    if read.is_ok() { 0 } else { FAILED_IO }
}

/// Takes a caller to the network.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_dial(caller: i32) -> i32 {
    println!("dialling");
    keep(caller);
    keep(host_dial())
}

/// Brings a connection of the network to a caller.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_accept(caller: i32) -> i32 {
    keep(caller);
    keep(host_accept())
}

/// Joins two connections of the network.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_associate() -> i32 {
    match keep(host_accept()) {
        accepted if accepted >= 0 => keep(host_dial()).min(0),
        error => error,
    }
}

/// Takes the stream that says when to end.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_cancel_with(cancel: i32) -> i32 {
    keep(cancel).min(0)
}

/// Keeps a stream of the host's, unless the number is an error.
fn keep(number: i32) -> i32 {
    if number >= 0 {
        // SAFETY: the host gave the number, and nobody else has it.
        STREAMS.with_borrow_mut(|streams| streams.push(unsafe { net::TcpStream::from_raw_fd(number) }));
    }
    number
}

/// Moves bytes until an end goes, or the host says so.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn _water_worker() -> i32 {
    let outcome = transport();
    host_defer();
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            println!("failed: {error}");
            FAILED_IO
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn transport() -> io::Result<()> {
    let streams = STREAMS.take().into_iter().map(|stream| {
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    });
    let streams: Vec<_> = streams.collect::<io::Result<_>>()?;
    let [mut caller, mut network, mut cancel] =
        <[TcpStream; 3]>::try_from(streams).map_err(|_| io::ErrorKind::NotConnected)?;
    let mut cancelled = [0];
    if HALF_CLOSE.get() {
        tokio::select! {
            moved = copy_bidirectional(&mut caller, &mut network) => moved.map(|_| ()),
            _ = cancel.read(&mut cancelled) => Ok(()),
        }
    } else {
        let (mut from_caller, mut from_network) = ([0; READ_SIZE], [0; READ_SIZE]);
        loop {
            tokio::select! {
                read = network.read(&mut from_network) => match read? {
                    0 => return Ok(()),
                    count => caller.write_all(&from_network[..count]).await?,
                },
                read = caller.read(&mut from_caller) => match read? {
                    0 => return Ok(()),
                    count => {
                        network.write_all(&from_caller[..count]).await?;
                        println!("{count} bytes");
                    }
                },
                _ = cancel.read(&mut cancelled) => return Ok(()),
            }
        }
    }
}
