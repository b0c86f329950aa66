//! A guest's standard output and error. Whoever reads them may stop reading: then the guest waits, and can
//! be ended all the same.

use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    io::{self, Write},
    sync::Arc,
};
use tokio::{io::AsyncWrite, sync::Semaphore, task::spawn_blocking};
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

/// The most that is written at once, in bytes.
const PERMIT: usize = 64 * 1024;

/// One of the two streams; clones write to the same.
#[derive(Clone)]
pub(crate) struct Output {
    file: File,
    /// Its one permit is taken while a thread writes.
    idle: Arc<Semaphore>,
    /// Why the last write failed, until the guest is told.
    failed: Arc<Mutex<Option<io::Error>>>,
}

#[derive(Clone, Copy)]
enum File {
    Stdout,
    Stderr,
}

impl File {
    fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            File::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            File::Stderr => io::stderr().lock().write_all(bytes),
        }
    }
}

impl Output {
    /// This program's standard output.
    pub(crate) fn stdout() -> Output {
        Output::to(File::Stdout)
    }

    /// This program's standard error.
    pub(crate) fn stderr() -> Output {
        Output::to(File::Stderr)
    }

    fn to(file: File) -> Output {
        Output { file, idle: Arc::new(Semaphore::new(1)), failed: Arc::default() }
    }

    /// Waits until all that the guest has written is out; cancel safe.
    pub(crate) async fn finished(&self) {
        // It fails only for a semaphore that is closed, and this one never is.
        let _ = self.idle.acquire().await;
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // Only a guest that was promised a turn on another of its streams, and took it meanwhile, finds none.
        let turn = Arc::clone(&self.idle).try_acquire_owned();
        let turn = turn.map_err(|_| StreamError::trap("two streams of one file are written to at the same time"))?;
        let (file, failed) = (self.file, Arc::clone(&self.failed));
        spawn_blocking(move || {
            *failed.lock() = file.write(&bytes).err();
            drop(turn);
        });
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Every write is one.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self.failed.lock().take() {
            Some(error) => Err(StreamError::LastOperationFailed(error.into())),
            None => Ok(PERMIT * self.idle.available_permits()),
        }
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.finished().await;
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        match self.file {
            File::Stdout => IsTerminal::is_terminal(&io::stdout()),
            File::Stderr => IsTerminal::is_terminal(&io::stderr()),
        }
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        match self.file {
            File::Stdout => Box::new(tokio::io::stdout()),
            File::Stderr => Box::new(tokio::io::stderr()),
        }
    }
}
