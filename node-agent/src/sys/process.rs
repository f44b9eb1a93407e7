//! Forking a single-threaded process, entering namespaces, waiting for children.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sched::CloneFlags;

/// Whether this process was made by [`fork`].
static FORKED: AtomicBool = AtomicBool::new(false);

/// What `fork` returned in which of the two processes.
#[derive(Debug)]
pub enum Forked {
    /// In the parent: the child's process id.
    Parent(i32),
    /// In the child.
    Child,
}

/// Forks the calling process.
///
/// Only the shim calls this, and a shim has one thread: the child may therefore allocate and take
/// locks, which it could not in a process with more threads. Refused where that does not hold; a
/// child made here starts no threads, and needs no second look (nor would it see itself in the
/// `/proc` of a container that it has entered).
pub fn fork() -> io::Result<Forked> {
    if !FORKED.load(Ordering::Relaxed) {
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads != 1 {
            return Err(io::Error::other(format!("fork in a process of {threads} threads")));
        }
    }
    // SAFETY: the process has one thread (see above), so the child sees no lock held by a thread
    // that does not exist in it.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            FORKED.store(true, Ordering::Relaxed);
            Ok(Forked::Child)
        }
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Ends the process without running destructors or exit handlers, as a forked child must.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Replaces the process image; returns only on failure. `path` is not searched.
pub fn exec(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    match nix::unistd::execve(path, args, env) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// A handle on a process that no reuse of its number can redirect.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call on integers; the returned descriptor is new and owned by nobody.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?))
    }
}

/// Enters several namespaces of one process at once.
pub fn enter_namespaces(pidfd: BorrowedFd<'_>, which: CloneFlags) -> io::Result<()> {
    // SAFETY: the descriptor is alive for the call; setns changes only this (single) thread.
    match unsafe { libc::setns(pidfd.as_raw_fd(), which.bits()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes orphaned descendants children of this process, which then must reap them.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: prctl with integer arguments.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the name that `ps` shows.
pub fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: the string is alive for the call and ends in a zero byte.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    }
}

/// Sets the bit that keeps set-user-id programs from gaining privileges, for good.
pub fn set_no_new_privileges() -> io::Result<()> {
    // SAFETY: prctl with integer arguments.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Marks every descriptor from `first` on to be closed by exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: plain system call on integers; no descriptor is closed before exec.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Becomes another user, keeping the permitted capabilities so that the caller can choose among
/// them afterwards.
pub fn switch_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&groups)?;
    keep_capabilities(true)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    keep_capabilities(false)
}

fn keep_capabilities(keep: bool) -> io::Result<()> {
    // SAFETY: prctl with integer arguments.
    match unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has a child killed when the thread ends that starts it, however that ends.
pub fn kill_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let set = || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: between fork and exec only one system call is made, on integers.
    unsafe { command.pre_exec(set) };
}

/// Sends a signal by its number, real-time ones included.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain system call on integers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ignores a signal in this process.
pub fn ignore_signal(which: nix::sys::signal::Signal) -> io::Result<()> {
    use nix::sys::signal::{SigHandler, signal};
    // SAFETY: SIG_IGN installs no function of ours.
    unsafe { signal(which, SigHandler::SigIgn) }?;
    Ok(())
}

/// Undoes what a shim set for itself and would hand on by exec: ignored signals, a blocked set, no
/// huge pages.
pub fn restore_defaults() -> io::Result<()> {
    use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
    for which in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE] {
        // SAFETY: SIG_DFL installs no function of ours.
        unsafe { signal(which, SigHandler::SigDfl) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    disable_huge_pages(false)
}

/// Whether this process goes without huge pages: one of them is most of what a shim may take.
pub fn disable_huge_pages(disable: bool) -> io::Result<()> {
    let disable = libc::c_ulong::from(disable);
    // SAFETY: prctl with integer arguments.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, disable, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
