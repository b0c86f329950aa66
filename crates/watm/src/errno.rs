//! The error numbers of WASI preview 1 that transports get.

use std::io;

/// One error number; to a transport's own calls it goes negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(pub(super) u16);

impl Errno {
    pub(super) const AGAIN: Errno = Errno(6);
    pub(super) const BADF: Errno = Errno(8);
    pub(super) const FAULT: Errno = Errno(21);
    pub(super) const INVAL: Errno = Errno(28);
    pub(super) const IO: Errno = Errno(29);
    pub(super) const MFILE: Errno = Errno(33);
    pub(super) const NOSYS: Errno = Errno(52);
    pub(super) const NOTSOCK: Errno = Errno(57);
    pub(super) const PIPE: Errno = Errno(64);
    pub(super) const SPIPE: Errno = Errno(70);
    pub(super) const TIMEDOUT: Errno = Errno(73);
    const CONNABORTED: Errno = Errno(13);
    const CONNRESET: Errno = Errno(15);
}

impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset => Errno::CONNRESET,
            io::ErrorKind::ConnectionAborted => Errno::CONNABORTED,
            io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero | io::ErrorKind::NotConnected => Errno::PIPE,
            io::ErrorKind::TimedOut => Errno::TIMEDOUT,
            _ => Errno::IO,
        }
    }
}
