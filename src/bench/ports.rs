//! Ports of loopback that nobody uses.

use std::net::TcpListener;

use anyhow::Result;

/// `count` different ones; free when asked, and as a rule a moment later still.
pub fn free(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}
