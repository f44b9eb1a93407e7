//! What the pod's containers share: namespaces pinned in the sandbox's folder.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::worker::{self, Report, Reporter};
use super::{NAMESPACES_DIR, ShimConfig};
use crate::sys::network::set_loopback_up;
use crate::sys::process::{Forked, disable_huge_pages, fork, set_name};

/// Leaves the caller's session, cgroups and terminal behind, so that neither its end nor its
/// signals reach this process.
pub(super) fn detach(config: &ShimConfig) -> io::Result<()> {
    set_name("keelson-shim");
    disable_huge_pages(true)?;
    // Fails for a process that leads a group already, which is as good.
    let _ = nix::unistd::setsid();
    // A shim that the kernel kills takes its pod with it. Where this process may not resist, it
    // does without.
    let _ = fs::write("/proc/self/oom_score_adj", "-998");
    for folder in &config.cgroups {
        fs::create_dir_all(folder)?;
        inherit_cpuset(folder);
        fs::write(folder.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// On cgroup v1 a new cpuset is empty and takes no process.
fn inherit_cpuset(folder: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let Some(parent) = folder.parent() else { return };
        if let (Ok(own), Ok(theirs)) =
            (fs::read_to_string(folder.join(file)), fs::read_to_string(parent.join(file)))
            && own.trim().is_empty()
        {
            // Refused only where the hierarchy is not v1's: then nothing is missing.
            let _ = fs::write(folder.join(file), theirs.trim());
        }
    }
}

/// Nobody reads what the shim says after its first line.
pub(super) fn leave_stdio() {
    if let Ok(null) = fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stderr(&null);
    }
}

/// Makes the namespaces wanted and pins each by a bind mount of its own. The working directory is
/// the sandbox's folder.
pub(super) fn make_namespaces(config: &ShimConfig) -> io::Result<()> {
    fs::create_dir_all(NAMESPACES_DIR)?;
    let shared = worker::run(|reporter| {
        if let Err(error) = shared_namespaces(config) {
            reporter.fail(&error);
        }
    })?;
    check(shared.0)?;
    if config.pid {
        check(worker::run(pause)?.0)?;
    }
    Ok(())
}

fn check(report: Report) -> io::Result<()> {
    match report.error {
        Some(error) => Err(io::Error::other(error)),
        None => Ok(()),
    }
}

fn shared_namespaces(config: &ShimConfig) -> io::Result<()> {
    let mut which = CloneFlags::empty();
    which.set(CloneFlags::CLONE_NEWNET, config.network);
    which.set(CloneFlags::CLONE_NEWIPC, config.ipc);
    which.set(CloneFlags::CLONE_NEWUTS, config.uts);
    unshare(which)?;
    if let Some(hostname) = config.hostname.as_ref().filter(|_| config.uts) {
        nix::unistd::sethostname(hostname)?;
    }
    if config.network {
        set_loopback_up()?;
    }
    for (name, value) in &config.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value)
            .map_err(|error| io::Error::other(format!("sysctl {name}={value}: {error}")))?;
    }
    for (name, made) in [("net", config.network), ("ipc", config.ipc), ("uts", config.uts)] {
        if made {
            pin(&format!("/proc/self/ns/{name}"), name)?;
        }
    }
    Ok(())
}

fn pin(from: &str, name: &str) -> io::Result<()> {
    let at = Path::new(NAMESPACES_DIR).join(name);
    fs::File::create(&at)?;
    mount(Some(from), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Starts the first process of the pod's process namespace: it reaps what nobody else does.
fn pause(reporter: &mut Reporter) {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWPID) {
        return reporter.fail(&error);
    }
    let (read, write) = match nix::unistd::pipe() {
        Ok(pair) => pair,
        Err(error) => return reporter.fail(&error),
    };
    match fork() {
        Err(error) => reporter.fail(&error),
        Ok(Forked::Parent(pid)) => match pin(&format!("/proc/{pid}/ns/pid"), "pid") {
            Ok(()) => {
                drop(write);
                reporter.send(&Report { pid: Some(pid), error: None }, None);
            }
            Err(error) => reporter.fail(&error),
        },
        Ok(Forked::Child) => {
            drop(write);
            // Held until the namespace is pinned, and no descriptor of the shim's afterwards.
            let _ = nix::unistd::read(read.as_fd(), &mut [0]);
            hold_process_namespace()
        }
    }
}

fn hold_process_namespace() -> ! {
    set_name("pause");
    for fd in 3..1024 {
        let _ = nix::unistd::close(fd);
    }
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&children), None);
    loop {
        let _ = children.wait();
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
    }
}
