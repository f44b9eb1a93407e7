//! Wal: the log's one writer. Writes batches, syncs, begins and releases segments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use keelson_failpoint::failpoint;
use parking_lot::RwLock;

use super::batch::{BATCH_FRAME, BatchHead};
use super::error::WalError;
use super::index::EntryPosition;
use super::reader::{Segments, WalReader};
use super::record::{EntryKind, FRAME_HEAD, Membership, Record};
use super::recovery::{Recovered, SegmentEnds, recover};
use super::segment::{Identity, ROOM_BYTES, SegmentHead, file_name, parse_name};
use crate::disk::{Disk, DiskFile};

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// The write buffer is given back when a batch made it larger than this.
const BUFFER_BYTES_KEPT: usize = 4 * 1024 * 1024;

/// Sizes of a log.
#[derive(Debug, Clone, Copy)]
pub struct WalOptions {
    /// A new segment is begun when the current one reaches this size.
    pub segment_bytes: u64,
    /// Files are filled with zeros this far ahead, so that a sync changes no metadata.
    pub zero_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 * 1024 * 1024, zero_bytes: 1024 * 1024 }
    }
}

/// An open log. One owner writes; [`Wal::reader`] reads beside it.
#[derive(Debug)]
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    /// What the head of the next segment will say.
    state: SegmentHead,
    file: Arc<dyn DiskFile>,
    base: u64,
    /// Position after the last record.
    tail: u64,
    /// Everything before this position is synced.
    synced: u64,
    /// The synced position that the log itself says.
    stated: u64,
    /// The current file is filled with zeros up to this offset.
    zeroed: u64,
    /// The part of that which a crash leaves.
    zeroed_synced: u64,
    chain: u32,
    segments: Segments,
    ends: SegmentEnds,
    buffer: BytesMut,
    failed: Option<String>,
}

impl Wal {
    /// Opens the log in a directory, or begins one. Cuts a tear; refuses damage.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: Identity,
        options: WalOptions,
    ) -> Result<(Self, Recovered), WalError> {
        disk.create_dir_all(dir).map_err(|error| WalError::io("create", dir, error))?;
        remove_unfinished(&*disk, dir)?;
        let (recovered, summary, ends) = recover(&*disk, dir, identity)?;
        let mut files: BTreeMap<u64, Arc<dyn DiskFile>> = BTreeMap::new();
        for (base, _) in &ends {
            let path = dir.join(file_name(*base));
            let file = disk.open(&path).map_err(|error| WalError::io("open", &path, error))?;
            files.insert(*base, file);
        }
        let state = SegmentHead {
            identity,
            base: summary.last_base,
            length_min: options.zero_bytes,
            keeps_room: true,
            chain: summary.chain,
            vote: recovered.vote,
            committed: recovered.committed,
            purged: recovered.purged,
            last: recovered.last(),
            membership: recovered.membership.clone(),
        };
        let last = files.last_key_value().map(|(base, file)| (*base, file.clone()));
        let segments = Arc::new(RwLock::new(files));
        let (base, file) = match last {
            Some(last) => last,
            None => (0, begin_segment(&*disk, dir, &state, &options)?),
        };
        let mut wal = Self {
            disk,
            dir: dir.to_owned(),
            options,
            state,
            file,
            base,
            tail: summary.end,
            synced: summary.end,
            stated: summary.synced,
            zeroed: 0,
            zeroed_synced: 0,
            chain: summary.chain,
            segments,
            ends,
            buffer: BytesMut::new(),
            failed: None,
        };
        if wal.ends.is_empty() {
            wal.adopt_first_segment();
        } else {
            wal.clear_tail(recovered.cut.is_some())?;
        }
        Ok((wal, recovered))
    }

    /// Reads entries beside the writer.
    pub fn reader(&self) -> WalReader {
        WalReader { segments: self.segments.clone() }
    }

    /// Position after the last record.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Bytes on disk that hold records.
    pub fn bytes(&self) -> u64 {
        self.tail - self.ends.first().map_or(0, |(base, _)| *base)
    }

    /// Writes records as one batch, without waiting for the disk; appends the places of the
    /// entries among them to `places`.
    pub fn write<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record> + Clone,
        places: &mut Vec<EntryPosition>,
    ) -> Result<(), WalError> {
        self.check()?;
        let result = self.try_write(records, places);
        self.remember_failure(result)
    }

    /// Waits until everything written is on disk.
    pub fn sync(&mut self) -> Result<(), WalError> {
        self.check()?;
        let result = self.try_sync();
        self.remember_failure(result)
    }

    /// Says in the log what is synced, if it does not say so yet. Not synced itself.
    pub fn state_synced(&mut self) -> Result<(), WalError> {
        if self.stated < self.synced {
            return self.write(std::iter::empty(), &mut Vec::new());
        }
        Ok(())
    }

    /// Whether the log does not yet say that its last batch is synced.
    pub fn owes_synced(&self) -> bool {
        self.stated < self.synced
    }

    /// Fills the file with zeros ahead of the writer; best called when nobody waits.
    pub fn fill_ahead(&mut self) -> Result<(), WalError> {
        self.check()?;
        let offset = self.tail - self.base;
        if self.zeroed.saturating_sub(offset) < self.options.zero_bytes / 2
            && offset < self.options.segment_bytes
        {
            let result = self.zero_up_to(offset + self.options.zero_bytes);
            return self.remember_failure(result);
        }
        Ok(())
    }

    /// Removes segments all of whose entries are released. The release must be synced.
    pub fn remove_released(&mut self) -> Result<(), WalError> {
        let Some(purged) = self.state.purged else { return Ok(()) };
        let released = |ends: &SegmentEnds| {
            let next = ends.get(1)?;
            next.1.is_some_and(|last| last.index <= purged.index).then_some(ends[0].0)
        };
        let mut removed = false;
        while let Some(base) = released(&self.ends) {
            let path = self.dir.join(file_name(base));
            self.disk.remove_file(&path).map_err(|error| WalError::io("remove", &path, error))?;
            self.segments.write().remove(&base);
            self.ends.remove(0);
            removed = true;
        }
        if removed {
            self.sync_dir()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), WalError> {
        match &self.failed {
            Some(reason) => Err(WalError::Stopped(reason.clone())),
            None => Ok(()),
        }
    }

    fn remember_failure<T>(&mut self, result: Result<T, WalError>) -> Result<T, WalError> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| error.to_string());
        }
        result
    }

    fn try_write<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record> + Clone,
        places: &mut Vec<EntryPosition>,
    ) -> Result<(), WalError> {
        if self.tail - self.base >= self.options.segment_bytes {
            self.next_segment()?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let head = BatchHead { position: self.tail, synced: self.synced };
        let mut chain = head.frame(&mut buffer, self.chain);
        debug_assert_eq!(buffer.len(), BATCH_FRAME, "a batch head's length is fixed");
        for record in records {
            let seed = chain;
            let start = buffer.len();
            chain = record.frame(&mut buffer, seed);
            if let Record::Entry(entry) = record {
                #[allow(clippy::cast_possible_truncation, reason = "frame asserts BODY_MAX")]
                let length = (buffer.len() - start - FRAME_HEAD) as u32;
                let position = self.tail + start as u64;
                places.push(EntryPosition { term: entry.id.term, position, length, seed });
            }
            self.remember(record);
        }
        let offset = self.tail - self.base;
        let end = offset + buffer.len() as u64;
        self.make_room(end)?;
        self.file
            .write_at(&buffer, offset)
            .map_err(|error| WalError::io("write", &self.path(), error))?;
        self.tail += buffer.len() as u64;
        self.chain = chain;
        self.stated = head.synced;
        if buffer.capacity() <= BUFFER_BYTES_KEPT {
            self.buffer = buffer;
        }
        Ok(())
    }

    /// Keeps what the head of the next segment repeats.
    fn remember(&mut self, record: &Record) {
        let state = &mut self.state;
        match record {
            Record::Entry(entry) => {
                state.last = Some(entry.id);
                if entry.kind == EntryKind::Membership {
                    let encoded = entry.payload.clone();
                    state.membership = Some(Membership { id: Some(entry.id), encoded });
                }
            }
            Record::Vote(vote) => state.vote = Some(*vote),
            Record::Committed(id) => state.committed = Some(*id),
            Record::Truncate(keep) => state.last = state.last.min(*keep).max(state.purged),
            Record::Purge(id) => {
                state.purged = state.purged.max(Some(*id));
                state.last = state.last.max(Some(*id));
            }
            Record::Membership(membership) => state.membership = Some(membership.clone()),
        }
    }

    fn try_sync(&mut self) -> Result<(), WalError> {
        failpoint!(walBeforeSync);
        failpoint!(walSyncError => |text| {
            return Err(WalError::io("sync", &self.path(), std::io::Error::other(text)));
        });
        self.file.sync_data().map_err(|error| WalError::io("sync", &self.path(), error))?;
        failpoint!(walAfterSync);
        self.synced = self.tail;
        self.zeroed_synced = self.zeroed;
        Ok(())
    }

    /// Makes sure that zeros are on disk up to `end` and a little further, before records are
    /// written there: so no crash leaves a file that looks like one that was cut. As a rule
    /// [`Wal::fill_ahead`] and the sync of the batch after it have done so.
    fn make_room(&mut self, end: u64) -> Result<(), WalError> {
        if end + ROOM_BYTES <= self.zeroed_synced {
            return Ok(());
        }
        if end + ROOM_BYTES > self.zeroed {
            self.zero_up_to(end + self.options.zero_bytes.max(ROOM_BYTES))?;
        }
        self.try_sync()
    }

    fn next_segment(&mut self) -> Result<(), WalError> {
        self.try_sync()?;
        self.state.base = self.tail;
        self.state.chain = self.chain;
        self.file = begin_segment(&*self.disk, &self.dir, &self.state, &self.options)?;
        self.adopt_first_segment();
        Ok(())
    }

    /// Goes on in the file that was just begun with the head `state`.
    fn adopt_first_segment(&mut self) {
        let mut head = BytesMut::new();
        self.chain = self.state.write(&mut head);
        self.base = self.state.base;
        self.tail = self.base + head.len() as u64;
        self.synced = self.tail;
        self.stated = self.tail;
        self.zeroed = begun_length(&self.options, head.len());
        self.zeroed_synced = self.zeroed;
        self.segments.write().insert(self.base, self.file.clone());
        self.ends.push((self.base, self.state.last));
    }

    /// Makes sure that nothing but zeros is behind the tail.
    fn clear_tail(&mut self, torn: bool) -> Result<(), WalError> {
        let length =
            self.file.length().map_err(|error| WalError::io("read", &self.path(), error))?;
        self.zeroed = length.max(self.tail - self.base);
        if torn {
            self.zeroed = self.tail - self.base;
            self.zero_up_to(length)?;
        }
        // What was read may never have been synced; it counts from now on.
        self.try_sync()
    }

    fn zero_up_to(&mut self, end: u64) -> Result<(), WalError> {
        write_zeros(&*self.file, self.zeroed, end)
            .map_err(|error| WalError::io("fill", &self.path(), error))?;
        self.zeroed = self.zeroed.max(end);
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), WalError> {
        self.disk.sync_dir(&self.dir).map_err(|error| WalError::io("sync", &self.dir, error))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(file_name(self.base))
    }
}

/// Makes a segment file: written and synced under another name, so that its head is whole.
fn begin_segment(
    disk: &dyn Disk,
    dir: &Path,
    head: &SegmentHead,
    options: &WalOptions,
) -> Result<Arc<dyn DiskFile>, WalError> {
    let path = dir.join(file_name(head.base));
    let unfinished = path.with_extension("tmp");
    let make = || {
        let mut content = BytesMut::new();
        head.write(&mut content);
        let file = disk.create(&unfinished)?;
        file.write_at(&content, 0)?;
        write_zeros(&*file, content.len() as u64, begun_length(options, content.len()))?;
        file.sync_data()?;
        disk.rename(&unfinished, &path)?;
        disk.sync_dir(dir)?;
        Ok(file)
    };
    make().map_err(|error| WalError::io("begin", &path, error))
}

/// The length of a segment's file when it is begun with a head of so many bytes.
fn begun_length(options: &WalOptions, head: usize) -> u64 {
    options.zero_bytes.max(head as u64 + ROOM_BYTES)
}

fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
    for name in disk.list(dir).map_err(|error| WalError::io("list", dir, error))? {
        let stem = name.strip_suffix(".tmp");
        if stem.is_some_and(|stem| parse_name(&format!("{stem}.wal")).is_some()) {
            let path = dir.join(&name);
            disk.remove_file(&path).map_err(|error| WalError::io("remove", &path, error))?;
        }
    }
    Ok(())
}

fn write_zeros(file: &dyn DiskFile, from: u64, end: u64) -> std::io::Result<()> {
    let mut offset = from;
    while offset < end {
        let count = (end - offset).min(ZEROS.len() as u64);
        #[allow(clippy::cast_possible_truncation, reason = "at most the buffer's length")]
        file.write_at(&ZEROS[..count as usize], offset)?;
        offset += count;
    }
    Ok(())
}
