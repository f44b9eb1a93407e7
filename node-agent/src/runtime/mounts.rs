//! The mounts that the runtime makes: overlays, shared memory, pinned namespaces.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Puts layers (lowest first) under a writable one.
pub(super) fn overlay(layers: &[PathBuf], upper: &Path, work: &Path, at: &Path) -> io::Result<()> {
    // The options have one page: by descriptor a layer's path is short. They are resolved when
    // mounting, so the descriptors can go afterwards.
    let open = |path: &Path| File::open(path).map_err(|error| named(path, error));
    let lower: Vec<File> = layers.iter().rev().map(|path| open(path)).collect::<Result<_, _>>()?;
    let (upper, work) = (open(upper)?, open(work)?);
    let path = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let lower: Vec<String> = lower.iter().map(path).collect();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), path(&upper), path(&work));
    mount(Some("keelson"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|error| named(at, error.into()))
}

/// A pod's shared memory.
pub(super) fn shared_memory(at: &Path) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), at, Some("tmpfs"), flags, Some("mode=1777,size=67108864"))
        .map_err(|error| named(at, error.into()))
}

/// Unmounts everything mounted at or below a path, what was mounted last first.
pub(super) fn unmount_below(path: &Path) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut outcome = Ok(());
    for at in mounted_below(&path)?.into_iter().rev() {
        // Detached, since a process that is just ending may still be in it.
        if let Err(error) = umount2(&at, MntFlags::MNT_DETACH) {
            outcome = Err(named(&at, error.into()));
        }
    }
    outcome
}

fn mounted_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    Ok(points.filter(|point| point.starts_with(path)).collect())
}

/// The kernel writes blanks and the like in octal.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    PathBuf::from(out)
}

/// Unmounts what is at or below a folder, and removes it. Gone is fine.
pub(super) fn remove_tree(folder: &Path) -> io::Result<()> {
    unmount_below(folder)?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| named(folder, error)),
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(r"/a\040b\134c"), PathBuf::from(r"/a b\c"));
        assert_eq!(unescape("/plain"), PathBuf::from("/plain"));
    }
}
