//! A container's log in CRI format: `time stream tag text`, a line each.
//!
//! upstream: CRI logging, tag F for a whole line, P for a part of one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A longer line is written in parts.
const LINE_BYTES_MAX: usize = 16 << 10;

/// The log file, opened anew on request after somebody renamed it.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

/// The beginning of a line whose end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Pending(Vec<u8>);

impl Log {
    /// Opens or creates the file, and its folder.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self { path: path.to_owned(), file: open(path)? })
    }

    /// Goes on in the file of that name; the one open until now was renamed.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Writes what a stream said.
    pub(super) fn write(
        &mut self,
        stream: &str,
        pending: &mut Pending,
        bytes: &[u8],
    ) -> io::Result<()> {
        let time = timestamp(SystemTime::now());
        let mut out = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            pending.0.extend_from_slice(text);
            let mut line = pending.0.as_slice();
            while line.len() > LINE_BYTES_MAX {
                entry(&mut out, &time, stream, 'P', &line[..LINE_BYTES_MAX]);
                line = &line[LINE_BYTES_MAX..];
            }
            if whole {
                entry(&mut out, &time, stream, 'F', line);
                pending.0 = Vec::new();
            } else {
                pending.0 = line.to_vec();
            }
        }
        self.file.write_all(&out)
    }

    /// Writes a last line that no newline ended.
    pub(super) fn finish(&mut self, stream: &str, pending: &mut Pending) -> io::Result<()> {
        if pending.0.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        entry(&mut out, &timestamp(SystemTime::now()), stream, 'F', &pending.0);
        pending.0 = Vec::new();
        self.file.write_all(&out)
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn entry(out: &mut Vec<u8>, time: &str, stream: &str, tag: char, text: &[u8]) {
    out.extend_from_slice(format!("{time} {stream} {tag} ").as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// RFC 3339 with nanoseconds, UTC.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The Gregorian date of a day since 1970. By hand, since a date library would be most of what a
/// shim keeps in memory.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // from 0000-03-01
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_rfc3339() {
        let check = |seconds, text: &str| {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::new(seconds, 7)), text);
        };
        check(0, "1970-01-01T00:00:00.000000007Z");
        check(951_827_696, "2000-02-29T12:34:56.000000007Z");
        check(1_767_323_045, "2026-01-02T03:04:05.000000007Z");
    }

    #[test]
    fn lines_are_joined_split_and_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/0.log");
        let mut log = Log::open(&path).unwrap();
        let mut pending = Pending::default();
        log.write("stdout", &mut pending, b"one\ntw").unwrap();
        log.write("stdout", &mut pending, b"o\n\nrest").unwrap();
        log.finish("stdout", &mut pending).unwrap();
        log.write("stderr", &mut pending, &[b'x'; LINE_BYTES_MAX + 1]).unwrap();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        log.reopen().unwrap();
        log.write("stderr", &mut pending, b"\n").unwrap();
        let tails = |name: &str| -> Vec<String> {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
        };
        let long = format!("stderr P {}", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(
            tails("old"),
            ["stdout F one", "stdout F two", "stdout F ", "stdout F rest", &long]
        );
        assert_eq!(tails("a/0.log"), ["stderr F x"]);
    }
}
