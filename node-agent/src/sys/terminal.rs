//! Pseudo-terminals: opening, sizing, making one the controlling terminal.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Opens a new pair at `ptmx`, the multiplexer of the devpts instance wanted: (master, slave).
pub fn open(ptmx: &std::path::Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let master: OwnedFd = std::fs::OpenOptions::new().read(true).write(true).open(ptmx)?.into();
    let unlock: libc::c_int = 0;
    // SAFETY: both calls get a live descriptor and, for TIOCSPTLCK, a pointer to a live integer;
    // TIOCGPTPEER returns a new descriptor that nobody owns yet.
    unsafe {
        if libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlock) != 0 {
            return Err(io::Error::last_os_error());
        }
        let slave =
            libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY);
        if slave < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((master, OwnedFd::from_raw_fd(slave)))
    }
}

/// Tells the terminal its size in characters; its foreground processes get SIGWINCH.
pub fn resize(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a live descriptor and a pointer to a live structure of the type that TIOCSWINSZ reads.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the terminal the controlling one of this process, which must lead a session without one.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a live descriptor and an integer argument.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets async code wait for the descriptor, which must not block.
pub fn watch(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: the value owns its descriptor, so it stays open and the same as long as it is watched.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}
