//! The file that keeps a watcher's position over restarts.
//!
//! It is replaced as a whole, after its content is on the disk: a crash leaves the one before or the one
//! after. What it holds says what it is a position of; another watcher does not take it for its own.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::cursor::Position;
use super::ended::Ended;

/// The form of the file.
const VERSION: u32 = 1;
/// More is no bookmark.
const BYTES_MAX: u64 = 64 << 10;

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// In hexadecimal.
    cluster: String,
    prefix: String,
    #[serde(default)]
    exact: bool,
    next_revision: i64,
    #[serde(default)]
    changes_done: usize,
}

/// A position in a file, this process's alone.
#[derive(Debug)]
pub struct Bookmark {
    file: PathBuf,
    prefix: String,
    exact: bool,
    saved: Option<Position>,
    _lock: Flock<File>,
}

/// What an earlier run has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Of which cluster.
    pub cluster: u64,
    /// How far it was.
    pub position: Position,
}

impl Bookmark {
    /// Takes the file for this process, and reads it if it is there.
    pub fn open(file: &Path, prefix: &str, exact: bool) -> Result<(Self, Option<Left>), Ended> {
        let lock = lock(file)?;
        let left = read(file)
            .and_then(|content| content.map(|content| content.left(prefix, exact)).transpose())
            .map_err(|why| Ended::Bookmark { file: file.to_owned(), why })?;
        let saved = left.map(|left| left.position);
        let (file, prefix) = (file.to_owned(), prefix.to_owned());
        Ok((Self { file, prefix, exact, saved, _lock: lock }, left))
    }

    /// Writes the position, if it is another than before. It is on the disk when this returns.
    pub fn save(&mut self, cluster: u64, position: Position) -> Result<(), Ended> {
        if self.saved == Some(position) {
            return Ok(());
        }
        let content = Content {
            version: VERSION,
            cluster: format!("{cluster:x}"),
            prefix: self.prefix.clone(),
            exact: self.exact,
            next_revision: position.next_revision,
            changes_done: position.changes_done,
        };
        replace(&self.file, &content)
            .map_err(|error| Ended::Bookmark { file: self.file.clone(), why: error.to_string() })?;
        self.saved = Some(position);
        Ok(())
    }
}

impl Content {
    fn left(&self, prefix: &str, exact: bool) -> Result<Left, String> {
        if self.version != VERSION {
            return Err(format!("version {} is not known, {VERSION} is", self.version));
        }
        if (self.prefix.as_str(), self.exact) != (prefix, exact) {
            let kind = |exact| if exact { "key" } else { "prefix" };
            return Err(format!(
                "it is a position of the {} {:?}, and the {} {prefix:?} is watched",
                kind(self.exact),
                self.prefix,
                kind(exact)
            ));
        }
        if self.next_revision < 1 {
            return Err(format!("{} is no revision", self.next_revision));
        }
        let cluster = u64::from_str_radix(&self.cluster, 16)
            .map_err(|_| format!("{:?} is no cluster's id", self.cluster))?;
        let position =
            Position { next_revision: self.next_revision, changes_done: self.changes_done };
        Ok(Left { cluster, position })
    }
}

/// The file beside, which is never replaced.
fn lock(file: &Path) -> Result<Flock<File>, Ended> {
    let wrong = |why: String| Ended::Bookmark { file: file.to_owned(), why };
    let mut name = file.file_name().ok_or_else(|| wrong("it has no name".to_owned()))?.to_owned();
    name.push(".lock");
    let path = file.with_file_name(name);
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    let opened = opened.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => wrong("another keelson watch is using it".to_owned()),
        error => wrong(error.to_string()),
    })
}

fn read(file: &Path) -> Result<Option<Content>, String> {
    let length = match fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
        Ok(metadata) => metadata.len(),
    };
    if length > BYTES_MAX {
        return Err("it is too long for a bookmark".to_owned());
    }
    let text = fs::read(file).map_err(|error| error.to_string())?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty; without the file the watch begins anew".to_owned());
    }
    let content = serde_json::from_slice(&text).map_err(|error| {
        let what = if error.is_eof() { "it ends in the middle" } else { "it is no bookmark" };
        format!("{what} ({error}); without the file the watch begins anew")
    })?;
    Ok(Some(content))
}

fn replace(file: &Path, content: &Content) -> std::io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(fresh, "{}", serde_json::to_string(content)?)?;
    fresh.as_file().sync_all()?;
    fresh.persist(file).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b");
        fs::write(&file, text).unwrap();
        Bookmark::open(&file, "a/", false).unwrap_err().to_string()
    }

    #[test]
    fn a_position_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b");
        let (mut bookmark, left) = Bookmark::open(&file, "a/", false).unwrap();
        assert_eq!(left, None);
        let position = Position { next_revision: 7, changes_done: 2 };
        bookmark.save(0xabc, position).unwrap();
        let used = Bookmark::open(&file, "a/", false).unwrap_err().to_string();
        assert!(used.contains("another keelson watch"), "{used}");
        drop(bookmark);
        let (_bookmark, left) = Bookmark::open(&file, "a/", false).unwrap();
        assert_eq!(left, Some(Left { cluster: 0xabc, position }));
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn what_is_no_bookmark_of_ours_is_refused() {
        let whole = r#"{"version":1,"cluster":"a","prefix":"a/","next_revision":12}"#;
        for cut in 1..whole.len() {
            let why = why(&whole[..cut]);
            assert!(why.contains("ends in the middle"), "{cut}: {why}");
        }
        for (text, words) in [
            ("", "it is empty"),
            ("12", "no bookmark"),
            (r#"{"version":2,"cluster":"a","prefix":"a/","next_revision":12}"#, "version 2"),
            (r#"{"version":1,"cluster":"x","prefix":"a/","next_revision":12}"#, "cluster's id"),
            (r#"{"version":1,"cluster":"a","prefix":"b/","next_revision":12}"#, "prefix \"b/\""),
            (r#"{"version":1,"cluster":"a","prefix":"a/","next_revision":0}"#, "no revision"),
        ] {
            let why = why(text);
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
