//! The kernel's figures about sockets and processes.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// One end of a TCP connection over IPv4 that some process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Bytes that were written here, and that the other end has not acknowledged.
    pub unsent: usize,
    /// Bytes that have arrived here and were not read.
    pub unread: usize,
}

/// The sockets that processes of this machine have open, listening ones excepted.
pub fn sockets() -> Vec<Socket> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("Linux lists its sockets");
    table.lines().skip(1).filter_map(socket).collect()
}

/// One line: slot, ends, state, queues, timers, retransmissions, user, timeout, inode.
fn socket(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (unsent, unread) = fields[4].split_once(':')?;
    // Listening, or no longer owned by a process.
    if fields[3] == "0A" || fields[9] == "0" {
        return None;
    }
    let size = |hex| usize::from_str_radix(hex, 16).ok();
    Some(Socket {
        local: address(fields[1])?,
        remote: address(fields[2])?,
        unsent: size(unsent)?,
        unread: size(unread)?,
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?).into())
}

/// The processor time that a process has used, in milliseconds.
pub fn processor_millis(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    // The name may have spaces, and ends with a parenthesis; ticks are hundredths of a second on Linux.
    let (_, fields) = stat.rsplit_once(')').expect("the line has a name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12].map(|field| fields[field].parse::<u64>().expect("it is a number")).iter().sum::<u64>() * 10
}

/// The resident memory of a process, in bytes.
pub fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim_end_matches("kB").trim().parse::<usize>().expect("it is a number") * 1024
}

/// How many files, sockets included, this process and those that it starts may have open.
pub fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux lists its limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("there is one for files");
    let soft = line.split_whitespace().next().expect("it has a value");
    if soft == "unlimited" { usize::MAX } else { soft.parse().expect("it is a number") }
}

/// How many descriptors a process has open.
pub fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs").count()
}
