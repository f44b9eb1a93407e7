//! FailingDisk: another disk, until it is full, broken or read-only.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::{Disk, DiskFile};

/// How a disk fails. A write that fails may have put half of its bytes in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// No file grows and none is made: `ENOSPC`.
    Full,
    /// Writes fail: `EIO`.
    Writes,
    /// Syncs fail: `EIO`.
    Syncs,
    /// Nothing can be changed: `EROFS`.
    ReadOnly,
}

/// A step that changes something on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Name,
    Removal,
    Growth,
    Write,
    Sync,
}

/// A disk that fails from a given step on; clones share all.
#[derive(Debug, Clone)]
pub struct FailingDisk {
    disk: Arc<dyn Disk>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Steps so far.
    steps: u64,
    fails: Option<(u64, Failing)>,
    /// Steps that are refused, from then on.
    lasts: u64,
}

impl FailingDisk {
    /// `disk`, which fails nothing yet.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, state: Arc::default() }
    }

    /// Fails from the step with this number on: so many times, then works again.
    pub fn fail(&self, step: u64, failing: Failing, times: u64) {
        let mut state = self.state.lock();
        state.fails = Some((step, failing));
        state.lasts = times;
    }

    /// Steps taken so far: creations, writes, syncs, renames, removals.
    pub fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    fn step(&self, step: Step) -> io::Result<()> {
        let mut state = self.state.lock();
        state.steps += 1;
        let Some((from, failing)) = state.fails else { return Ok(()) };
        if state.steps <= from || state.lasts == 0 || !failing.hits(step) {
            return Ok(());
        }
        state.lasts -= 1;
        Err(failing.error())
    }
}

impl Failing {
    fn hits(self, step: Step) -> bool {
        match self {
            Self::Full => matches!(step, Step::Name | Step::Growth),
            Self::Writes => matches!(step, Step::Growth | Step::Write),
            Self::Syncs => step == Step::Sync,
            Self::ReadOnly => true,
        }
    }

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Full => 28,
            Self::Writes | Self::Syncs => 5,
            Self::ReadOnly => 30,
        })
    }
}

impl Disk for FailingDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.step(Step::Name)?;
        let file = self.disk.create(path)?;
        Ok(Arc::new(FailingFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path)?;
        Ok(Arc::new(FailingFile { disk: self.clone(), file }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Name)?;
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Removal)?;
        self.disk.remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(Step::Sync)?;
        self.disk.sync_dir(dir)
    }
}

#[derive(Debug)]
struct FailingFile {
    disk: FailingDisk,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let grows = offset + buffer.len() as u64 > self.file.length()?;
        let step = if grows { Step::Growth } else { Step::Write };
        if let Err(error) = self.disk.step(step) {
            if error.raw_os_error() != Failing::ReadOnly.error().raw_os_error() {
                self.file.write_at(&buffer[..buffer.len() / 2], offset)?;
            }
            return Err(error);
        }
        self.file.write_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.step(Step::Sync)?;
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}
