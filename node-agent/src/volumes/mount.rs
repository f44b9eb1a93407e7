//! tmpfs for what must not reach the disk, and what is mounted below a directory.
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a tmpfs unless one is there; `size_bytes` of none takes the kernel's default.
pub(crate) fn mount_tmpfs(dir: &Path, size_bytes: Option<u64>) -> nix::Result<()> {
    if mounts_below(dir).iter().any(|point| point == dir) {
        return Ok(());
    }
    let options = match size_bytes {
        Some(size) => format!("size={size},mode=0777"),
        None => "mode=0777".to_owned(),
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some(options.as_str()))
}

/// Unmounts everything at and below a directory, deepest first.
pub(crate) fn unmount_below(dir: &Path) -> nix::Result<()> {
    for point in mounts_below(dir) {
        match umount2(&point, MntFlags::MNT_DETACH) {
            // Somebody else was faster.
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut points: Vec<PathBuf> =
        points.map(PathBuf::from).filter(|p| p.starts_with(&dir)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.as_os_str().len()));
    points
}

/// Spaces and the like are octal in the kernel's table.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}
