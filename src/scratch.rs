//! Directories of a test or chaos run, named after its process. A run that was killed cannot clear away what
//! it has made, members that still run among it: the next run does.

use std::fs;
use std::path::Path;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A new directory of this run, for this use.
pub fn dir(name: &str) -> Result<TempDir> {
    clear(name)?;
    let prefix = format!("keelson-{name}-{}-", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

/// Clears away what runs that are no more have left of this use; how many directories.
pub fn clear(name: &str) -> Result<usize> {
    let prefix = format!("keelson-{name}-");
    let mut cleared = 0;
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        let file_name = entry.file_name();
        let owner = file_name.to_str().and_then(|name| name.strip_prefix(&prefix)?.split_once('-'));
        let owner = owner.and_then(|(pid, _)| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            end_users(&entry.path())?;
            let _gone_already = fs::remove_dir_all(entry.path());
            cleared += 1;
        }
    }
    Ok(cleared)
}

/// Ends the processes whose arguments name this directory.
fn end_users(dir: &Path) -> Result<()> {
    let dir = format!("{}/", dir.display());
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if let Some(pid) = pid
            && String::from_utf8_lossy(&arguments).contains(&dir)
        {
            let _ended_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    Ok(())
}
