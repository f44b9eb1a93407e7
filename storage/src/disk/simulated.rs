//! SimulatedDisk: files in memory that a crash strips of what was not synced.
//!
//! A crash keeps, drops or tears every unsynced write by itself, in sectors, and forgets names
//! that no `sync_dir` made durable. Syncs can be made to fail, the space to end, and what is synced
//! to rot.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::{Disk, DiskFile};
use super::random::Random;

/// A write reaches the platter in pieces of this size.
const SECTOR: usize = 512;

/// A disk in memory. Clones share the content.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Names as programs see them.
    names: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    /// Names that survive a crash.
    durable_names: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    fail_syncs: bool,
    full: bool,
    syncs: u64,
    /// Handles from before a crash are dead.
    generation: u64,
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: what was not synced is lost, kept or torn as `random` says, and handles
    /// that are open fail from now on.
    pub fn crash(&self, random: &dyn Random) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.fail_syncs = false;
        state.full = false;
        let survivors = state.durable_names.clone();
        for content in survivors.values() {
            content.lock().crash(random);
        }
        state.names = survivors;
    }

    /// From now on every sync fails (or works again).
    pub fn fail_syncs(&self, fail: bool) {
        self.state.lock().fail_syncs = fail;
    }

    /// From now on there is no space for anything (or again).
    pub fn fill(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// Changes one synced byte that is not zero, in the first three quarters of what a file holds:
    /// what is further back may be the last write, which no later one says to be synced. Where,
    /// if there is enough to choose from.
    pub fn rot(&self, random: &dyn Random) -> Option<(PathBuf, usize)> {
        const CONTENT_MIN: usize = 16 * 1024;
        let state = self.state.lock();
        let files: Vec<_> = state.durable_names.iter().collect();
        let chosen = usize::try_from(random.next_u64()).unwrap_or(0) % files.len().max(1);
        let (path, content) = files.get(chosen)?;
        let mut content = content.lock();
        let held = content.durable.iter().rposition(|byte| *byte != 0)? + 1;
        if held < CONTENT_MIN {
            return None;
        }
        let from = usize::try_from(random.next_u64()).unwrap_or(0) % (held / 4 * 3);
        let at = from + content.durable[from..held].iter().position(|byte| *byte != 0)?;
        let mask = 1 << (random.next_u64() % 8);
        let content = &mut *content;
        for bytes in [&mut content.durable, &mut content.current] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        Some(((*path).clone(), at))
    }

    /// How many syncs were done.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Changes one byte as failing hardware would; for tests.
    pub fn flip(&self, path: &Path, offset: usize, mask: u8) {
        if let Some(content) = self.state.lock().names.get(path) {
            let mut content = content.lock();
            let content = &mut *content;
            for bytes in [&mut content.durable, &mut content.current] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= mask;
                }
            }
        }
    }

    /// A copy of a file's content; for tests.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.state.lock().names.get(path).map(|content| content.lock().current.clone())
    }

    /// Puts a file's content in place, synced; for tests.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let content = Arc::new(Mutex::new(Content {
            durable: bytes.clone(),
            current: bytes,
            unsynced: Vec::new(),
        }));
        state.names.insert(path.to_owned(), content.clone());
        state.durable_names.insert(path.to_owned(), content);
    }

    fn handle(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        let content = state.names.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), content, generation: state.generation }))
    }
}

impl Content {
    fn crash(&mut self, random: &dyn Random) {
        let mut bytes = std::mem::take(&mut self.durable);
        for (offset, write) in std::mem::take(&mut self.unsynced) {
            let (mut at, end) = (offset, offset + write.len());
            while at < end {
                let next = (at / SECTOR + 1) * SECTOR;
                let sector = &write[at - offset..next.min(end) - offset];
                // Half of the sectors arrive, in any order: every tear is possible.
                if random.next_u64() % 4 < 2 {
                    place(&mut bytes, at, sector);
                }
                at = next;
            }
        }
        self.current.clone_from(&bytes);
        self.durable = bytes;
    }
}

fn place(bytes: &mut Vec<u8>, offset: usize, write: &[u8]) {
    let end = offset + write.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(write);
}

impl Disk for SimulatedDisk {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut state = self.state.lock();
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.names.insert(path.to_owned(), Arc::default());
        }
        self.handle(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.handle(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.handle(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let content = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let removed = self.state.lock().names.remove(path);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.fail_syncs {
            return Err(io::Error::other("simulated sync failure"));
        }
        let state = &mut *state;
        state.durable_names.retain(|path, _| path.parent() != Some(dir));
        for (path, content) in &state.names {
            if path.parent() == Some(dir) {
                state.durable_names.insert(path.clone(), content.clone());
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    content: Arc<Mutex<Content>>,
    generation: u64,
}

impl SimulatedFile {
    fn check_alive(&self) -> io::Result<()> {
        if self.disk.state.lock().generation == self.generation {
            Ok(())
        } else {
            Err(io::Error::other("simulated machine has crashed"))
        }
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check_alive()?;
        let content = self.content.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?.min(content.current.len());
        let count = buffer.len().min(content.current.len() - start);
        buffer[..count].copy_from_slice(&content.current[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.check_alive()?;
        if self.disk.state.lock().full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut content = self.content.lock();
        place(&mut content.current, offset, buffer);
        content.unsynced.push((offset, buffer.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_alive()?;
        let mut state = self.disk.state.lock();
        if state.fail_syncs {
            return Err(io::Error::other("simulated sync failure"));
        }
        state.syncs += 1;
        let mut content = self.content.lock();
        let content = &mut *content;
        for (offset, write) in content.unsynced.drain(..) {
            place(&mut content.durable, offset, &write);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.content.lock().current.len() as u64)
    }
}
