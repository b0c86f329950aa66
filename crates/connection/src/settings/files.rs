//! Files that people name: small ones, which may turn out to be anything.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Time limit for reading a pipe, in case nobody writes to it.
const PIPE_WAIT: Duration = Duration::from_secs(10);

/// Reads a whole file of at most so many bytes. A named pipe, a device and the like are read as well, as `/dev/fd/63`
/// of a shell is, within ten seconds.
///
/// # Errors
/// Those of the operating system; [`io::ErrorKind::FileTooLarge`] and [`io::ErrorKind::TimedOut`] past the limits.
pub fn read_file(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    if path.metadata()?.is_file() {
        return read(path, limit);
    }
    let (send, receive) = mpsc::channel();
    let path = PathBuf::from(path);
    // Opening a pipe blocks until somebody writes to it, so that the thread may stay behind.
    thread::Builder::new().spawn(move || send.send(read(&path, limit)))?;
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("it has no end after {}s", PIPE_WAIT.as_secs()));
    receive.recv_timeout(PIPE_WAIT).unwrap_or_else(|_| Err(late()))
}

fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > limit {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes"))),
        false => Ok(bytes),
    }
}
