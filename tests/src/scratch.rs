//! Directories of a test run, named after its process. A run that was killed cannot clear away what
//! it has made, members that still run among it: the next run does.

use std::fs;
use std::path::Path;

use anyhow::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A new directory of this run, for this use.
pub fn dir(name: &str) -> Result<TempDir> {
    let prefix = format!("keelson-{name}-");
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        let file_name = entry.file_name();
        let owner = file_name.to_str().and_then(|name| name.strip_prefix(&prefix)?.split_once('-'));
        let owner = owner.and_then(|(pid, _)| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            end_users(&entry.path())?;
            let _gone_already = fs::remove_dir_all(entry.path());
        }
    }
    Ok(tempfile::Builder::new().prefix(&format!("{prefix}{}-", std::process::id())).tempdir()?)
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
