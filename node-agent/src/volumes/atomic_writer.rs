//! Replaces all files of a volume at once: a dated directory, and a `..data` link that is renamed onto the old one.
//!
//! A reader sees the old files or the new ones, never a mix. User-visible names are links through `..data`.
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::payload::Payload;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `dir` hold exactly `payload`; whether anything changed.
pub(crate) fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    let old = fs::read_link(dir.join(DATA)).ok().map(|name| dir.join(name));
    if let Some(old) = &old
        && same(old, payload, group)?
    {
        return Ok(false);
    }
    let name = format!("..{}", Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let new = dir.join(&name);
    fs::create_dir(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    for (path, file) in payload {
        let target = new.join(path);
        make_parents(&new, path)?;
        fs::write(&target, &file.data)?;
        let mode = effective_mode(file.mode, group);
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&target, None, Some(group))?;
        }
    }
    let link = dir.join(DATA_NEW);
    match fs::remove_file(&link) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(&name, &link)?;
    fs::rename(&link, dir.join(DATA))?;
    link_names(dir, payload)?;
    if let Some(old) = old {
        fs::remove_dir_all(old)?;
    }
    Ok(true)
}

/// Files that the group owns, it may read.
fn effective_mode(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | 0o440 } else { mode }
}

fn make_parents(root: &Path, path: &str) -> io::Result<()> {
    let Some(parent) = Path::new(path).parent().filter(|p| !p.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut folder = root.to_path_buf();
    for part in parent {
        folder.push(part);
        if !folder.exists() {
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<String> = payload.keys().map(first).collect();
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(PathBuf::from(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(dir.join(&name))?;
        }
    }
    Ok(())
}

fn same(old: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    if !old.is_dir() {
        return Ok(false);
    }
    list(old, old, &mut found)?;
    if found.len() != payload.len() {
        return Ok(false);
    }
    for (path, file) in payload {
        let target = old.join(path);
        if !found.contains(path) || fs::read(&target)? != file.data {
            return Ok(false);
        }
        let mode = fs::metadata(&target)?.permissions().mode() & 0o777;
        if mode != effective_mode(file.mode, group) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(root: &Path, folder: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(root, &entry.path(), found)?;
        } else if let Ok(path) = entry.path().strip_prefix(root) {
            found.insert(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::payload::PayloadFile;
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| PayloadFile { data: text.to_owned().into(), mode: 0o640 };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn files_are_replaced_as_a_whole_and_only_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert!(write(dir, &payload(&[("a", "1"), ("x/y", "2")]), None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("x/y")).unwrap(), "2");
        let mode = fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640);
        let first = fs::read_link(dir.join(DATA)).unwrap();
        assert!(!write(dir, &payload(&[("a", "1"), ("x/y", "2")]), None).unwrap());
        assert_eq!(fs::read_link(dir.join(DATA)).unwrap(), first);
        assert!(write(dir, &payload(&[("b", "3")]), None).unwrap());
        assert_eq!(fs::read_to_string(dir.join("b")).unwrap(), "3");
        assert!(fs::symlink_metadata(dir.join("a")).is_err());
        assert!(!dir.join(first).exists());
    }

    #[test]
    fn what_a_crash_left_does_not_hinder_the_next_write() {
        let folder = tempfile::tempdir().unwrap();
        symlink("..gone", folder.path().join(DATA_NEW)).unwrap();
        symlink("..gone", folder.path().join(DATA)).unwrap();
        assert!(write(folder.path(), &payload(&[("a", "1")]), None).unwrap_or(true));
    }
}
