//! The one link that every network namespace has.

use std::io;
use std::os::fd::AsRawFd;

/// Sets the loopback link of the calling thread's network namespace up.
pub fn set_loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: ifreq is plain data for which zeroes are valid; the kernel reads and writes only
    // inside it, and the name written is shorter than its field and ends in a zero byte.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (at, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *at = *byte as libc::c_char;
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
