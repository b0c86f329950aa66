//! Finds and kills providers' processes.

use std::{fs, net::SocketAddr, process::Command};

/// The process that has the client's end of a TCP connection.
pub fn who_dialled(server: SocketAddr, from: SocketAddr) -> u32 {
    // The kernel's table may lack a line while others come and go.
    let found = (0..100).find_map(|_| owner(from, server));
    found.expect("a process of this machine has the connection")
}

/// Kills a process, at once and without a chance to say goodbye.
pub fn kill(process: u32) {
    assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
}

fn owner(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    // Both, since connections to different places may have the same port here.
    let [local, remote] = [local, remote].map(|address| format!(":{:04X}", address.port()));
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote))
            .then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    })?;
    fs::read_dir("/proc").ok()?.flatten().map(|process| process.path()).find_map(|process| {
        let files = fs::read_dir(process.join("fd")).ok()?.flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| link.as_os_str() == inode.as_str()).then(|| process.file_name()?.to_str()?.parse().ok())?
    })
}
