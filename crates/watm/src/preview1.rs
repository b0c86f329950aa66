//! WASI preview 1, as far as transports use it: descriptors that are streams, clocks, randomness. There are no files
//! and no environment; what else preview 1 has answers that it is not supported.

use super::{
    descriptors::Descriptor,
    errno::Errno,
    module::signature,
    poll::poll_oneoff,
    state::{Guest, State, print},
};
use rand::RngExt as _;
use std::{
    future::poll_fn,
    task::Poll,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{task::yield_now, time::Instant};
use wasmtime::{Caller, FuncType, Linker, Result, Val, ValType};
use wasmtime_wasi::I32Exit;

const MODULE: &str = "wasi_snapshot_preview1";
/// The name of the program that a transport finds among its arguments.
const ARGUMENT: &[u8] = b"watm\0";
/// The most that one call reads.
const MAX_READ: u32 = 1 << 20;
/// How much one stream gives while another waits to be read.
const FAIR_SHARE: usize = 64 * 1024;
/// The most that one call writes.
const MAX_WRITE: usize = 64 << 20;

/// Every function with its parameters: `i` is an `i32`, `I` an `i64`. All but `proc_exit` give an error number.
const FUNCTIONS: [(&str, &str); 46] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

fn parameters(name: &str) -> Option<Vec<ValType>> {
    let (_, parameters) = FUNCTIONS.iter().find(|(function, _)| *function == name)?;
    Some(parameters.chars().map(|kind| if kind == 'I' { ValType::I64 } else { ValType::I32 }).collect())
}

/// The type of a function, as it is shown.
pub(super) fn signature_of(name: &str) -> Option<String> {
    Some(signature(&parameters(name)?, usize::from(name != "proc_exit")))
}

/// A call's outcome as its error number.
fn errno(outcome: Result<(), Errno>) -> i32 {
    outcome.err().map_or(0, |error| error.0.into())
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    for (name, _) in FUNCTIONS.iter().filter(|(name, _)| *name != "proc_exit") {
        let ty = FuncType::new(linker.engine(), parameters(name).unwrap_or_default(), [ValType::I32]);
        linker.func_new(MODULE, name, ty, |_, _, results| {
            results[0] = Val::I32(Errno::NOSYS.0.into());
            Ok(())
        })?;
    }
    linker.allow_shadowing(true);
    descriptors(linker)?;
    streams(linker)?;
    surroundings(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn descriptors(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(MODULE, "fd_close", |mut caller: Caller<'_, State>, fd: i32| {
        errno(caller.data_mut().descriptors.close(fd))
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |mut caller: Caller<'_, State>, fd: i32, pointer: u32| {
        const CHARACTER_DEVICE: u8 = 2;
        const REGULAR_FILE: u8 = 4;
        const STREAM_SOCKET: u8 = 6;
        const NON_BLOCKING: u8 = 4;
        let mut stat = [0; 24];
        // All rights, and none to hand on.
        stat[8..16].fill(0xFF);
        let described = caller.data_mut().descriptors.get(fd).map(|descriptor| match descriptor {
            Descriptor::Input | Descriptor::Output(_) => (CHARACTER_DEVICE, false),
            Descriptor::Config(_) => (REGULAR_FILE, false),
            Descriptor::Stream(stream) => (STREAM_SOCKET, stream.non_blocking),
        });
        errno(described.and_then(|(kind, non_blocking)| {
            stat[0] = kind;
            stat[2] = if non_blocking { NON_BLOCKING } else { 0 };
            Guest(&mut caller).write(pointer, &stat)
        }))
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_set_flags", |mut caller: Caller<'_, State>, fd: i32, flags: i32| {
        const NON_BLOCKING: i32 = 4;
        errno(caller.data_mut().descriptors.get(fd).map(|descriptor| {
            if let Descriptor::Stream(stream) = descriptor {
                stream.non_blocking = flags & NON_BLOCKING != 0;
            }
        }))
    })?;
    for name in ["fd_prestat_get", "fd_prestat_dir_name", "path_open"] {
        // No folder is open, and so none can be opened from.
        let ty = FuncType::new(linker.engine(), parameters(name).unwrap_or_default(), [ValType::I32]);
        linker.func_new(MODULE, name, ty, |_, _, results| {
            results[0] = Val::I32(Errno::BADF.0.into());
            Ok(())
        })?;
    }
    linker.func_wrap(MODULE, "fd_seek", |mut caller: Caller<'_, State>, fd: i32, _: i64, _: i32, _: i32| {
        errno(caller.data_mut().descriptors.get(fd).and(Err(Errno::SPIPE)))
    })?;
    Ok(())
}

fn streams(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap_async(
        MODULE,
        "fd_read",
        |mut caller: Caller<'_, State>, (fd, vectors, count, read): (i32, u32, u32, u32)| {
            Box::new(async move { errno(fd_read(&mut caller, fd, vectors, count, read).await) })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "fd_write",
        |mut caller: Caller<'_, State>, (fd, vectors, count, written): (i32, u32, u32, u32)| {
            Box::new(async move { errno(fd_write(&mut caller, fd, vectors, count, written).await) })
        },
    )?;
    linker.func_wrap_async(MODULE, "sock_shutdown", |mut caller: Caller<'_, State>, (fd, how): (i32, i32)| {
        Box::new(async move { errno(sock_shutdown(&mut caller, fd, how).await) })
    })?;
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |mut caller: Caller<'_, State>, (input, output, count, events): (u32, u32, u32, u32)| {
            Box::new(async move {
                let polled = poll_oneoff(&mut caller, input, output, count).await;
                errno(polled.and_then(|count| Guest(&mut caller).write(events, &count.to_le_bytes())))
            })
        },
    )?;
    Ok(())
}

async fn fd_read(caller: &mut Caller<'_, State>, fd: i32, vectors: u32, count: u32, read: u32) -> Result<(), Errno> {
    let vectors = Guest(caller).vectors(vectors, count)?;
    let most = vectors.iter().fold(0u32, |sum, (_, length)| sum.saturating_add(*length)).min(MAX_READ) as usize;
    // Before anything is taken that could not be handed over.
    for (pointer, length) in &vectors {
        Guest(caller).slice(*pointer, *length)?;
    }
    take_turns(caller.data_mut(), fd).await?;
    let mut bytes = match caller.data_mut().descriptors.get(fd)? {
        Descriptor::Input => bytes::Bytes::new(),
        Descriptor::Config(rest) => rest.split_to(most.min(rest.len())),
        Descriptor::Stream(_) => caller.data_mut().descriptors.read(fd, most).await?,
        Descriptor::Output(_) => return Err(Errno::BADF),
    };
    caller.data_mut().has_read(fd, bytes.len());
    Guest(caller).write(read, &(bytes.len() as u32).to_le_bytes())?;
    for (pointer, length) in vectors {
        let part = bytes.split_to(bytes.len().min(length as usize));
        Guest(caller).write(pointer, &part)?;
    }
    Ok(())
}

/// Transports read one stream until it says `AGAIN`, and then the next. One that never runs dry would keep them from
/// their other peer, which then stops reading what they write; and from being cancelled.
async fn take_turns(state: &mut State, fd: i32) -> Result<(), Errno> {
    let is_non_blocking = matches!(state.descriptors.get(fd), Ok(Descriptor::Stream(stream)) if stream.non_blocking);
    let (last, taken) = state.turn;
    if is_non_blocking && last == fd && taken >= FAIR_SHARE {
        let other = poll_fn(|cx| Poll::Ready(state.descriptors.has_other_to_read(fd, cx))).await;
        state.turn = (fd, 0);
        if other {
            return Err(Errno::AGAIN);
        }
    }
    Ok(())
}

async fn sock_shutdown(caller: &mut Caller<'_, State>, fd: i32, how: i32) -> Result<(), Errno> {
    const READING: i32 = 1;
    const WRITING: i32 = 2;
    let descriptors = &mut caller.data_mut().descriptors;
    let stream = descriptors.stream(fd)?;
    if how == 0 || how & !(READING | WRITING) != 0 {
        return Err(Errno::INVAL);
    }
    if how & READING != 0 {
        stream.end_reading();
    }
    if how & WRITING != 0 {
        descriptors.end_writing(fd).await?;
    }
    Ok(())
}

async fn fd_write(
    caller: &mut Caller<'_, State>,
    fd: i32,
    vectors: u32,
    count: u32,
    written: u32,
) -> Result<(), Errno> {
    let mut bytes = Vec::new();
    for (pointer, length) in Guest(caller).vectors(vectors, count)? {
        // Buffers may be the same memory many times over.
        if bytes.len() + length as usize > MAX_WRITE {
            return Err(Errno::INVAL);
        }
        bytes.extend_from_slice(Guest(caller).slice(pointer, length)?);
    }
    let count = bytes.len() as u32;
    match caller.data_mut().descriptors.get(fd)? {
        Descriptor::Output(line) => print(line, &bytes),
        Descriptor::Stream(_) => caller.data_mut().descriptors.write(fd, bytes.into()).await?,
        Descriptor::Input | Descriptor::Config(_) => return Err(Errno::BADF),
    }
    caller.data_mut().happened += 1;
    Guest(caller).write(written, &count.to_le_bytes())
}

fn surroundings(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", |mut caller: Caller<'_, State>, count: u32, size: u32| {
        let mut guest = Guest(&mut caller);
        let written = guest.write(count, &1u32.to_le_bytes());
        errno(written.and_then(|()| guest.write(size, &(ARGUMENT.len() as u32).to_le_bytes())))
    })?;
    linker.func_wrap(MODULE, "args_get", |mut caller: Caller<'_, State>, pointers: u32, text: u32| {
        let mut guest = Guest(&mut caller);
        errno(guest.write(pointers, &text.to_le_bytes()).and_then(|()| guest.write(text, ARGUMENT)))
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |mut caller: Caller<'_, State>, count: u32, size: u32| {
        let mut guest = Guest(&mut caller);
        errno(guest.write(count, &[0; 4]).and_then(|()| guest.write(size, &[0; 4])))
    })?;
    linker.func_wrap(MODULE, "environ_get", |_: u32, _: u32| 0)?;
    linker.func_wrap(MODULE, "clock_res_get", |mut caller: Caller<'_, State>, _: i32, pointer: u32| {
        errno(Guest(&mut caller).write(pointer, &1u64.to_le_bytes()))
    })?;
    linker.func_wrap(MODULE, "clock_time_get", |mut caller: Caller<'_, State>, clock: i32, _: i64, pointer: u32| {
        let now = match clock {
            0 => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            _ => Instant::now() - caller.data().began,
        };
        errno(Guest(&mut caller).write(pointer, &(now.as_nanos() as u64).to_le_bytes()))
    })?;
    linker.func_wrap(MODULE, "random_get", |mut caller: Caller<'_, State>, pointer: u32, length: u32| {
        errno(Guest(&mut caller).slice_mut(pointer, length).map(|bytes| rand::rng().fill(bytes)))
    })?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> Result<()> { Err(I32Exit(code).into()) })?;
    linker.func_wrap_async(MODULE, "sched_yield", |_: Caller<'_, State>, (): ()| {
        Box::new(async {
            yield_now().await;
            0
        })
    })?;
    Ok(())
}
