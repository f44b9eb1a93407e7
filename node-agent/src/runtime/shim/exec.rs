//! Runs one more process in a running container. Runs in a worker.
//!
//! By hand and not by libcontainer's tenant builder, which would leave the process without the
//! container's seccomp filter.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::create_syscall;
use nix::sched::CloneFlags;

use super::create::Stdio;
use super::payload;
use super::protocol::{ExecProcess, StartContainer};
use super::worker::{Report, Reporter};
use crate::sys::process::{
    Forked, close_on_exec_from, enter_namespaces, exit_now, fork, pidfd_open,
    set_no_new_privileges, switch_user,
};
use crate::sys::terminal;

#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("{step}: {error}")]
    Step { step: &'static str, error: io::Error },
    #[error("specification: {0}")]
    Spec(#[from] libcontainer::oci_spec::OciSpecError),
    #[error("specification has no {0}")]
    Missing(&'static str),
    #[error("capabilities: {0}")]
    Capabilities(#[from] libcontainer::syscall::SyscallError),
    #[error("seccomp: {0}")]
    Seccomp(#[from] libcontainer::seccomp::SeccompError),
}

trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, ExecError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, ExecError> {
        self.map_err(|error| ExecError::Step { step, error: error.into() })
    }
}

/// Starts `request` beside the container's first process `init`.
pub(super) fn exec(
    request: &ExecProcess,
    container: &StartContainer,
    init: i32,
    stdio: Option<Stdio>,
    reporter: &mut Reporter,
) {
    let entered = enter(container, init);
    let (spec, working_dir) = match entered {
        Ok(entered) => entered,
        Err(error) => return reporter.fail(&error),
    };
    // The new process namespace holds for children only.
    match fork() {
        Ok(Forked::Parent(pid)) => reporter.send(&Report { pid: Some(pid), error: None }, None),
        Ok(Forked::Child) => {
            let error = become_process(request, &spec, &working_dir, stdio, reporter);
            reporter.fail(&error);
            // As a shell has it for what cannot be run.
            exit_now(126)
        }
        Err(error) => reporter.fail(&error),
    }
}

/// Joins the container's cgroups and namespaces.
fn enter(container: &StartContainer, init: i32) -> Result<(Spec, String), ExecError> {
    let spec = Spec::load(Path::new(&container.bundle).join("config.json"))?;
    let process = spec.process().as_ref().ok_or(ExecError::Missing("process"))?;
    let working_dir = process.cwd().display().to_string();
    let score = process.oom_score_adj().unwrap_or(0);
    fs::write("/proc/self/oom_score_adj", score.to_string()).step("oom score")?;
    let pidfd = pidfd_open(init).step("container's first process")?;
    let mut which = CloneFlags::empty();
    for (name, flag) in [
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ] {
        let theirs = fs::read_link(format!("/proc/{init}/ns/{name}")).step("namespaces")?;
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).step("namespaces")?;
        which.set(flag, theirs != ours);
    }
    for folder in &container.cgroups {
        let procs = Path::new(folder).join("cgroup.procs");
        if procs.exists() {
            fs::write(procs, "0").step("cgroup")?;
        }
    }
    enter_namespaces(pidfd.as_fd(), which).step("namespaces")?;
    Ok((spec, working_dir))
}

/// Takes on the container's limits and becomes the program; returns why it could not.
fn become_process(
    request: &ExecProcess,
    spec: &Spec,
    working_dir: &str,
    stdio: Option<Stdio>,
    reporter: &mut Reporter,
) -> ExecError {
    let prepared = streams(stdio, reporter).and_then(|()| confine(spec, working_dir));
    match prepared {
        Err(error) => error,
        Ok(()) => {
            let process = spec.process().as_ref();
            let env = process.and_then(|process| process.env().clone()).unwrap_or_default();
            let error = payload::run(&request.args, &env);
            ExecError::Step { step: "exec failed", error: io::Error::other(error) }
        }
    }
}

fn streams(stdio: Option<Stdio>, reporter: &mut Reporter) -> Result<(), ExecError> {
    nix::unistd::setsid().step("session")?;
    let [stdin, stdout, stderr] = match stdio {
        Some(stdio) => stdio,
        None => {
            let (master, slave) = terminal::open(Path::new("/dev/ptmx")).step("terminal")?;
            reporter.send(&Report::default(), Some(&master));
            terminal::make_controlling(slave.as_fd()).step("terminal")?;
            let copy = |fd: &OwnedFd| fd.try_clone().step("terminal");
            [copy(&slave)?, copy(&slave)?, slave]
        }
    };
    nix::unistd::dup2_stdin(stdin).step("stdin")?;
    nix::unistd::dup2_stdout(stdout).step("stdout")?;
    nix::unistd::dup2_stderr(stderr).step("stderr")?;
    close_on_exec_from(3).step("descriptors")
}

fn confine(spec: &Spec, working_dir: &str) -> Result<(), ExecError> {
    let process = spec.process().as_ref().ok_or(ExecError::Missing("process"))?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let working_dir = if working_dir.is_empty() { "/" } else { working_dir };
    nix::unistd::chdir(working_dir).step("working directory")?;
    if let Some(mask) = process.user().umask() {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    }
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    // Loading a filter is privileged unless privileges can no longer be gained: then it comes
    // last, so that it need not allow what follows here.
    if let Some(filter) = seccomp.filter(|_| !no_new_privileges) {
        libcontainer::seccomp::initialize_seccomp(filter)?;
    }
    let syscall = create_syscall();
    if let Some(capabilities) = process.capabilities() {
        // The bounding set can only be lowered while still privileged.
        libcontainer::capabilities::reset_effective(syscall.as_ref())?;
        switch_user(user.uid(), user.gid(), &groups).step("user")?;
        libcontainer::capabilities::reset_effective(syscall.as_ref())?;
        libcontainer::capabilities::drop_privileges(capabilities, syscall.as_ref())?;
    } else {
        switch_user(user.uid(), user.gid(), &groups).step("user")?;
    }
    if no_new_privileges {
        set_no_new_privileges().step("no_new_privs")?;
        if let Some(filter) = seccomp {
            libcontainer::seccomp::initialize_seccomp(filter)?;
        }
    }
    Ok(())
}
