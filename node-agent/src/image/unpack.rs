//! Unpacks a layer for overlayfs, without ever leaving the layer's folder.
//!
//! Every path is resolved by the kernel with the folder as its root (`openat2`, `RESOLVE_IN_ROOT`),
//! so that neither `..` nor a symbolic link that the layer itself brought leads outside.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType};

use super::digest::HashingReader;
use crate::sys::attributes::set_attribute;

const OPAQUE: &str = ".wh..wh..opq";
const WHITEOUT: &str = ".wh.";

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive or the disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The kernel refused, with the path.
    #[error("{path}: {error}")]
    Path {
        /// In the layer.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A path that no layer may have.
    #[error("{0}: path leads outside of the layer")]
    Outside(PathBuf),
    /// A link to nothing.
    #[error("{path}: hard link to missing {target}")]
    LinkTarget {
        /// The link.
        path: PathBuf,
        /// What it should be the same as.
        target: PathBuf,
    },
}

/// Unpacks `blob` (tar, plain or compressed by gzip or zstd) into the new folder `into`; `lower`
/// are the folders of the layers below, highest first. Says the digest of the tar.
pub(super) fn unpack(blob: &Path, into: &Path, lower: &[PathBuf]) -> Result<String, UnpackError> {
    fs::create_dir_all(into)?;
    let root: OwnedFd = File::open(into)?.into();
    let mut archive = Archive::new(HashingReader::new(decompressed(blob)?));
    let mut folder_times = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        place(root.as_fd(), &mut entry, lower, &mut folder_times)?;
    }
    // Last, since making an entry changes its folder's time.
    for (path, time) in folder_times.iter().rev() {
        if let Ok(fd) = in_root(root.as_fd(), path, OFlag::O_DIRECTORY) {
            let _ = nix::sys::stat::futimens(&fd, time, time);
        }
    }
    Ok(archive.into_inner().finish()?)
}

fn decompressed(blob: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(128 << 10, File::open(blob)?);
    let head = io::BufRead::fill_buf(&mut file)?;
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

type FolderTimes = Vec<(PathBuf, TimeSpec)>;

/// Makes one entry.
fn place<R: Read>(
    root: BorrowedFd<'_>,
    entry: &mut Entry<'_, R>,
    lower: &[PathBuf],
    folder_times: &mut FolderTimes,
) -> Result<(), UnpackError> {
    let path = relative(&entry.path()?)?;
    let Some(name) = path.file_name() else { return Ok(()) }; // the root itself
    let fail = |error: nix::Error| UnpackError::Path { path: path.clone(), error: error.into() };
    let parent = folder(root, path.parent().unwrap_or(Path::new("")))?;
    if let Some(hidden) = name.to_str().and_then(|name| name.strip_prefix(WHITEOUT)) {
        return whiteout(parent.as_fd(), name, hidden).map_err(fail);
    }
    let kind = entry.header().entry_type();
    let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
    let time = TimeSpec::new(i64::try_from(entry.header().mtime()?).unwrap_or(0), 0);
    clear(parent.as_fd(), name, kind).map_err(fail)?;
    match kind {
        EntryType::Directory => {
            match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(nix::Error::EEXIST) => {}
                Err(error) => return Err(fail(error)),
            }
            folder_times.push((path.clone(), time));
        }
        EntryType::Symlink => {
            let target = entry.link_name()?.unwrap_or_default();
            symlinkat(target.as_ref(), &parent, name).map_err(fail)?;
        }
        EntryType::Link => {
            let target = relative(&entry.link_name()?.unwrap_or_default())?;
            return link(root, parent.as_fd(), &path, &target, lower);
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            let kind = match kind {
                EntryType::Char => SFlag::S_IFCHR,
                EntryType::Block => SFlag::S_IFBLK,
                _ => SFlag::S_IFIFO,
            };
            let major = entry.header().device_major()?.unwrap_or(0);
            let minor = entry.header().device_minor()?.unwrap_or(0);
            let device = nix::sys::stat::makedev(major.into(), minor.into());
            mknodat(&parent, name, kind, mode, device).map_err(fail)?;
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let flags = OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_WRONLY
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let fd = openat(&parent, name, flags, mode).map_err(fail)?;
            io::copy(entry, &mut File::from(fd))?;
        }
        _ => return Ok(()), // headers of the archive itself
    }
    finish(parent.as_fd(), &path, name, kind, mode, entry)?;
    if kind != EntryType::Directory {
        let _ = utimensat(&parent, name, &time, &time, UtimensatFlags::NoFollowSymlink);
    }
    Ok(())
}

/// Owner, mode and extended attributes; in this order, since a change of owner clears some.
fn finish<R: Read>(
    parent: BorrowedFd<'_>,
    path: &Path,
    name: &OsStr,
    kind: EntryType,
    mode: Mode,
    entry: &mut Entry<'_, R>,
) -> Result<(), UnpackError> {
    let fail = |error: io::Error| UnpackError::Path { path: path.to_owned(), error };
    let id = |id: u64| u32::try_from(id).unwrap_or(0);
    let (uid, gid) = (id(entry.header().uid()?), id(entry.header().gid()?));
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    fchownat(parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|error| fail(error.into()))?;
    if kind == EntryType::Symlink {
        return Ok(());
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(parent, name, flags, Mode::empty()).map_err(|error| fail(error.into()))?;
    // By way of /proc, since O_PATH descriptors (which open no device) take neither call.
    let by_fd = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode.bits());
    fs::set_permissions(&by_fd, permissions).map_err(fail)?;
    for pair in entry.pax_extensions()?.into_iter().flatten() {
        let pair = pair?;
        if let Some(attribute) = pair.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr."))
            && !attribute.starts_with("trusted.overlay.")
        {
            set_attribute(Path::new(&by_fd), attribute, pair.value_bytes()).map_err(fail)?;
        }
    }
    Ok(())
}

/// The path without a leading slash and dots; refused if it climbs.
fn relative(path: &Path) -> Result<PathBuf, UnpackError> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(UnpackError::Outside(path.to_owned()));
            }
        }
    }
    Ok(clean)
}

fn in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

/// Opens a folder, making what is missing of it.
fn folder(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, UnpackError> {
    let fail = |error: nix::Error| UnpackError::Path { path: path.to_owned(), error: error.into() };
    match in_root(root, path, OFlag::O_DIRECTORY) {
        Ok(fd) => return Ok(fd),
        Err(nix::Error::ENOENT) => {}
        Err(error) => return Err(fail(error)),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(fail(nix::Error::ENOENT));
    };
    let parent = folder(root, parent)?;
    match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(error) => return Err(fail(error)),
    }
    in_root(root, path, OFlag::O_DIRECTORY).map_err(fail)
}

/// Takes away what an earlier entry of this layer made under the name; a folder stays a folder.
fn clear(parent: BorrowedFd<'_>, name: &OsStr, kind: EntryType) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(nix::Error::EISDIR | nix::Error::EPERM) if kind == EntryType::Directory => Ok(()),
        Err(nix::Error::EISDIR | nix::Error::EPERM) => {
            unlinkat(parent, name, UnlinkatFlags::RemoveDir)
        }
        Err(error) => Err(error),
    }
}

/// Hides what lower layers have.
fn whiteout(parent: BorrowedFd<'_>, name: &OsStr, hidden: &str) -> nix::Result<()> {
    if name == OPAQUE {
        let by_fd = format!("/proc/self/fd/{}", parent.as_raw_fd());
        return set_attribute(Path::new(&by_fd), "trusted.overlay.opaque", b"y")
            .map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or(libc::EIO)));
    }
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        return Err(nix::Error::EINVAL);
    }
    match mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), 0) {
        // Something of this layer itself replaces what is hidden.
        Err(nix::Error::EEXIST) => Ok(()),
        other => other,
    }
}

/// Makes a hard link; what it points at may be in a layer below, and is then copied up.
fn link(
    root: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    path: &Path,
    target: &Path,
    lower: &[PathBuf],
) -> Result<(), UnpackError> {
    let fail = |error: nix::Error| UnpackError::Path { path: path.to_owned(), error: error.into() };
    let name = path.file_name().unwrap_or_default();
    let target_name = target.file_name().ok_or_else(|| UnpackError::Outside(target.to_owned()))?;
    let target_parent = folder(root, target.parent().unwrap_or(Path::new("")))?;
    match linkat(&target_parent, target_name, parent, name, AtFlags::empty()) {
        Err(nix::Error::ENOENT) => {}
        other => return other.map_err(fail),
    }
    for layer in lower {
        let layer: OwnedFd = File::open(layer)?.into();
        let Ok(found) = in_root(layer.as_fd(), target, OFlag::O_NOFOLLOW) else { continue };
        let mut found = File::from(found);
        let about = found.metadata()?;
        if !about.is_file() {
            break;
        }
        use std::os::unix::fs::MetadataExt;
        let mode = Mode::from_bits_truncate(about.mode() & 0o7777);
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let fd = openat(&target_parent, target_name, flags, mode).map_err(fail)?;
        let mut copy = File::from(fd);
        io::copy(&mut found, &mut copy)?;
        std::os::unix::fs::fchown(&copy, Some(about.uid()), Some(about.gid()))?;
        copy.set_permissions(about.permissions())?;
        return linkat(&target_parent, target_name, parent, name, AtFlags::empty()).map_err(fail);
    }
    Err(UnpackError::LinkTarget { path: path.to_owned(), target: target.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    /// Packs entries (path, kind, content or link target) and unpacks them.
    fn unpacked(
        entries: &[(&str, EntryType, &str)],
        lower: &[PathBuf],
    ) -> (tempfile::TempDir, Result<String, UnpackError>) {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o640);
            header.set_mtime(1000);
            header.set_uid(0);
            header.set_gid(0);
            let is_link = matches!(kind, EntryType::Link | EntryType::Symlink);
            let data = if is_link { "" } else { text };
            header.set_size(data.len() as u64);
            if is_link {
                header.as_gnu_mut().unwrap().linkname[..text.len()]
                    .copy_from_slice(text.as_bytes());
            }
            // Written by hand, since the library refuses to make paths that climb.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, data.as_bytes()).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let blob = folder.path().join("blob");
        fs::write(&blob, tar.into_inner().unwrap()).unwrap();
        let outcome = unpack(&blob, &folder.path().join("fs"), lower);
        (folder, outcome)
    }

    const FILE: EntryType = EntryType::Regular;
    const FOLDER: EntryType = EntryType::Directory;
    const SYMLINK: EntryType = EntryType::Symlink;
    const LINK: EntryType = EntryType::Link;

    fn privileged() -> bool {
        nix::unistd::geteuid().is_root()
    }

    #[test]
    fn files_keep_what_they_are() {
        if !privileged() {
            return;
        }
        let entries = [("d/", FOLDER, ""), ("./d/f", FILE, "text"), ("h", LINK, "d/f")];
        let (folder, outcome) = unpacked(&entries, &[]);
        let blob = fs::read(folder.path().join("blob")).unwrap();
        assert_eq!(outcome.unwrap(), crate::image::digest::of(&blob));
        let at = |path: &str| folder.path().join("fs").join(path);
        assert_eq!(fs::read_to_string(at("h")).unwrap(), "text");
        let about = fs::metadata(at("d/f")).unwrap();
        assert_eq!((about.mode() & 0o7777, about.mtime(), about.nlink()), (0o640, 1000, 2));
        assert_eq!(fs::metadata(at("d")).unwrap().mtime(), 1000);
    }

    #[test]
    fn nothing_leaves_the_folder() {
        if !privileged() {
            return;
        }
        let (folder, outcome) = unpacked(&[("../out", FILE, "x")], &[]);
        assert!(matches!(outcome, Err(UnpackError::Outside(_))), "{outcome:?}");
        assert!(!folder.path().join("out").exists());
        let (folder, outcome) = unpacked(&[("up", SYMLINK, "../.."), ("up/out", FILE, "x")], &[]);
        outcome.unwrap(); // `up` leads to the folder itself
        assert!(folder.path().join("fs/out").exists());
        assert!(!folder.path().join("out").exists());
        let escape = [("abs", SYMLINK, "/etc"), ("abs/kt-escape", FILE, "x")];
        let (_folder, outcome) = unpacked(&escape, &[]);
        assert!(outcome.is_err(), "{outcome:?}"); // there is no /etc in the folder
        assert!(!Path::new("/etc/kt-escape").exists());
        let (_folder, outcome) = unpacked(&[("h", LINK, "../../../etc/passwd")], &[]);
        assert!(matches!(outcome, Err(UnpackError::Outside(_))), "{outcome:?}");
        let (_folder, outcome) = unpacked(&[("h", LINK, "etc/passwd")], &[]);
        assert!(matches!(outcome, Err(UnpackError::LinkTarget { .. })), "{outcome:?}");
        // A link is replaced, not written through.
        let replaced = [("f", SYMLINK, "/etc/passwd"), ("f", FILE, "x")];
        let (folder, outcome) = unpacked(&replaced, &[]);
        outcome.unwrap();
        assert!(fs::symlink_metadata(folder.path().join("fs/f")).unwrap().is_file());
    }

    #[test]
    fn whiteouts_are_those_of_overlayfs() {
        if !privileged() {
            return;
        }
        let entries = [("d/", FOLDER, ""), ("d/.wh.gone", FILE, ""), ("o/.wh..wh..opq", FILE, "")];
        let (folder, outcome) = unpacked(&entries, &[]);
        outcome.unwrap();
        let about = fs::symlink_metadata(folder.path().join("fs/d/gone")).unwrap();
        assert!(about.file_type().is_char_device() && about.rdev() == 0);
        assert!(fs::read_dir(folder.path().join("fs/o")).unwrap().next().is_none());
    }

    #[test]
    fn a_hard_link_may_lead_to_a_lower_layer() {
        if !privileged() {
            return;
        }
        let (lower, outcome) = unpacked(&[("d/f", FILE, "below")], &[]);
        outcome.unwrap();
        let below = lower.path().join("fs");
        let (folder, outcome) = unpacked(&[("h", LINK, "d/f")], &[below]);
        outcome.unwrap();
        let at = |path: &str| folder.path().join("fs").join(path);
        assert_eq!(fs::read_to_string(at("h")).unwrap(), "below");
        let inode = |path: &str| fs::metadata(at(path)).unwrap().ino();
        assert_eq!(inode("h"), inode("d/f"));
    }
}
