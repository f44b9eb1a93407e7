//! Where lines go: standard streams and files, which may be begun anew when they are full.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tracing_subscriber::fmt::MakeWriter;

const MEGABYTE: u64 = 1 << 20;

/// When a file is begun anew, and how many old ones stay.
// upstream: lumberjack, as etcd's --log-rotation-config-json names it
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
pub struct Rotation {
    /// Megabytes.
    pub maxsize: u64,
    /// Days that old files stay; 0: for ever.
    pub maxage: u64,
    /// How many old files stay; 0: all.
    pub maxbackups: usize,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { maxsize: 100, maxage: 0, maxbackups: 0 }
    }
}

/// All places that a line goes to.
#[derive(Debug, Clone)]
pub struct Outputs(Arc<Mutex<Vec<Output>>>);

#[derive(Debug)]
enum Output {
    Stdout,
    Stderr,
    File(LogFile),
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
    rotation: Option<Rotation>,
}

impl Outputs {
    /// Opens them by etcd's names for them.
    pub fn open(names: &[String], rotation: Option<Rotation>) -> io::Result<Self> {
        let open = |name: &String| {
            Ok(match name.as_str() {
                "stdout" | "/dev/stdout" => Output::Stdout,
                // Under systemd standard error is the journal.
                "default" | "stderr" | "/dev/stderr" | "systemd/journal" => Output::Stderr,
                path => Output::File(LogFile::open(Path::new(path), rotation)?),
            })
        };
        let outputs = names.iter().map(open).collect::<io::Result<Vec<Output>>>()?;
        Ok(Self(Arc::new(Mutex::new(outputs))))
    }
}

impl LogFile {
    fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length, rotation })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(rotation) = self.rotation
            && self.length > 0
            && self.length + line.len() as u64 > rotation.maxsize.max(1) * MEGABYTE
        {
            self.rotate(rotation)?;
        }
        self.file.write_all(line)?;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Puts the full file aside under the time, and forgets the oldest.
    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string();
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let end = match self.path.extension() {
            Some(end) => format!(".{}", end.to_string_lossy()),
            None => String::new(),
        };
        std::fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{time}{end}")))?;
        *self = Self::open(&self.path, self.rotation)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let prefix = format!("{stem}-");
        let mut old: Vec<PathBuf> = std::fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.starts_with(&prefix) && name.ends_with(&end)
            })
            .collect();
        old.sort();
        let is_too_old = |path: &Path| {
            let age = std::fs::metadata(path).and_then(|file| file.modified()).ok();
            let age = age.and_then(|time| time.elapsed().ok());
            rotation.maxage > 0 && age.is_some_and(|age| age.as_secs() > rotation.maxage * 86_400)
        };
        let kept = if rotation.maxbackups == 0 { old.len() } else { rotation.maxbackups };
        let surplus = old.len().saturating_sub(kept);
        for (index, path) in old.iter().enumerate() {
            if index < surplus || is_too_old(path) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Write for Outputs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut outputs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Ok(line.len());
        for output in outputs.iter_mut() {
            let written = match output {
                Output::Stdout => io::stdout().write_all(line),
                Output::Stderr => io::stderr().write_all(line),
                Output::File(file) => file.write(line),
            };
            // The others still get it.
            if let Err(error) = written {
                ended = Err(error);
            }
        }
        ended
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.log");
        let rotation = Rotation { maxsize: 1, maxage: 0, maxbackups: 2 };
        let mut outputs = Outputs::open(&[path.display().to_string()], Some(rotation)).unwrap();
        let line = vec![b'x'; 600 << 10];
        for _ in 0..5 {
            outputs.write_all(&line).unwrap();
            // Names hold milliseconds.
            let before = jiff::Timestamp::now().as_millisecond();
            while jiff::Timestamp::now().as_millisecond() == before {}
        }
        let count = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(count, 3);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 600 << 10);
    }
}
