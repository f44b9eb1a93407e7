//! Which member has made a connection on loopback: the kernel's table says which socket, and the
//! members' open files say whose.

use std::fs;
use std::net::SocketAddr;

/// The first of these processes that has the socket from this address to that one.
pub fn owner(from: SocketAddr, to: SocketAddr, pids: &[(usize, u32)]) -> Option<usize> {
    let (from, to) = (entry(from)?, entry(to)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let ours = fields.nth(1)? == from && fields.next()? == to;
        ours.then(|| fields.nth(6)).flatten()
    })?;
    let socket = format!("socket:[{inode}]");
    pids.iter().find(|(_, pid)| has(*pid, &socket)).map(|(member, _)| *member)
}

/// As /proc/net/tcp writes an address: in the byte order of the machine.
fn entry(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let host = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{host:08X}:{:04X}", address.port()))
}

fn has(pid: u32, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}
