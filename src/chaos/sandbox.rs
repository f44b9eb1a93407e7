//! Where a run takes place: as root in namespaces of its own, which end with it; else among all
//! other processes, as children that die with it. Its files stand in one directory, which the next
//! run clears away if this one cannot.

use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result, bail};
use keelson_node_agent::sys::process::{ignore_signal, kill_with_parent};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tokio::signal::unix::{SignalKind, signal};

use super::options::{Net, Options};
use super::run;
use crate::scratch;

/// What directories of runs are called.
const NAME: &str = "chaos";

/// What a shell tells of a command that a signal has ended.
const INTERRUPTED: u8 = 130;

/// Runs it where it can do no harm.
pub fn enter(options: Options) -> Result<ExitCode> {
    if let Some(dir) = options.inside.clone() {
        return inside(options, &dir);
    }
    // Before anything is started: what cannot be read is told at once.
    run::prepare(&options)?;
    let root = geteuid().is_root();
    if !root && options.network == Net::Namespaces {
        bail!("network namespaces need root; --network proxies does without");
    }
    let dir = scratch::dir(NAME)?;
    if !root {
        return block_on(run::run(options, dir.path()));
    }
    let apart = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    unshare(apart).context("make namespaces; in a container without that right, run as a user")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--inside").arg(dir.path());
    kill_with_parent(&mut command);
    let status = supervise(&mut command);
    unmount_all(dir.path());
    let status = status?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(INTERRUPTED)))
}

/// Small disks of members are mounted here as well; a directory cannot go that is one.
fn unmount_all(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let _most_are_none = umount2(&entry.path(), MntFlags::MNT_DETACH);
    }
}

/// Waits for the run; a signal is handed on, so that it can end in order.
fn supervise(command: &mut Command) -> Result<ExitStatus> {
    // A terminal signals the run itself too.
    ignore_signal(Signal::SIGINT)?;
    let mut child = command.spawn().context("start the run")?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut ended = signal(SignalKind::terminate())?;
        let mut changed = signal(SignalKind::child())?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            tokio::select! {
                _ = ended.recv() => kill(pid, Signal::SIGTERM)?,
                _ = changed.recv() => {}
            }
        }
    })
}

/// The first process of the namespaces.
fn inside(options: Options, dir: &Path) -> Result<ExitCode> {
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).context("keep mounts to itself")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), safe, none).context("mount /proc")?;
    keelson_node_agent::sys::network::set_loopback_up().context("set loopback up")?;
    block_on(run::run(options, dir))
}

/// Runs until the end or a signal: whatever was started is dropped then, and so ended.
fn block_on(run: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut ended = signal(SignalKind::terminate())?;
        tokio::select! {
            done = run => done,
            _ = interrupted.recv() => Ok(ExitCode::from(INTERRUPTED)),
            _ = ended.recv() => Ok(ExitCode::from(INTERRUPTED)),
        }
    })
}

/// `keelson chaos clean`.
pub fn clean() -> Result<ExitCode> {
    let cleared = scratch::clear(NAME)?;
    println!("cleared away {cleared} killed runs");
    Ok(ExitCode::SUCCESS)
}
