//! A recorded log, damaged at one place after the other: what opening makes of each.
//!
//! A sample of the places by seed; all of them where `KEELSON_WAL_POSITIONS=all` asks for it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::record::FRAME_HEAD;
use super::*;
use crate::disk::{Disk, Random, SeededRandom, SimulatedDisk, SystemRandom};

const IDENTITY: Identity = Identity { cluster_id: 7, node_id: 1 };
const SMALL: WalOptions = WalOptions { segment_bytes: 3072, zero_bytes: 1024 };
/// Places of each kind of damage that are tried, where nothing else is asked for.
const SAMPLE: usize = 300;
/// `all`, or how many.
const POSITIONS: &str = "KEELSON_WAL_POSITIONS";
/// What the log holds, and which places are tried.
const SEED: &str = "KEELSON_WAL_SEED";
/// A lost write of a disk has this size.
const SECTOR: usize = 512;

/// What a log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Says {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    membership: Option<Membership>,
    entries: BTreeMap<u64, EntryRecord>,
}

impl Says {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Entry(entry) => {
                if entry.kind == EntryKind::Membership {
                    let encoded = entry.payload.clone();
                    self.membership = Some(Membership { id: Some(entry.id), encoded });
                }
                self.entries.insert(entry.id.index, entry.clone());
            }
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Committed(id) => self.committed = Some(*id),
            Record::Truncate(keep) => {
                drop(self.entries.split_off(&(keep.map_or(0, |id| id.index) + 1)));
            }
            Record::Purge(id) => {
                self.purged = Some(*id);
                self.entries = self.entries.split_off(&(id.index + 1));
            }
            Record::Membership(membership) => self.membership = Some(membership.clone()),
        }
    }

    fn of(wal: &Wal, recovered: &Recovered) -> Self {
        let first = recovered.index.first().unwrap_or(0);
        let places: Vec<_> = (first..).map_while(|index| recovered.index.get(index)).collect();
        let entries = wal.reader().read(&places).unwrap();
        Self {
            vote: recovered.vote,
            committed: recovered.committed,
            purged: recovered.purged,
            membership: recovered.membership.clone(),
            entries: entries.into_iter().map(|entry| (entry.id.index, entry)).collect(),
        }
    }
}

/// A log, and what it says up to the end of each of its records.
struct Recorded {
    seed: u64,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Position after a record, and what the log says up to there.
    ends: Vec<(u64, Says)>,
    /// Where frames begin, of any kind.
    frames: Vec<u64>,
    /// Where batches begin, and what each says to be synced.
    batches: Vec<(u64, u64)>,
    summary: Summary,
}

fn dir() -> PathBuf {
    PathBuf::from("/wal")
}

fn open(disk: &SimulatedDisk) -> Result<(Wal, Recovered), WalError> {
    Wal::open(Arc::new(disk.clone()), &dir(), IDENTITY, SMALL)
}

fn write(wal: &mut Wal, records: &[Record]) {
    wal.write(records.iter(), &mut Vec::new()).unwrap();
    wal.sync().unwrap();
}

fn entry(term: u64, index: u64, random: &SeededRandom) -> Record {
    let size = random.next_u64() % 150;
    let payload: Vec<u8> = (0..size).map(|_| random.next_u64().to_le_bytes()[0]).collect();
    let kind = if random.next_u64().is_multiple_of(16) {
        EntryKind::Membership
    } else {
        EntryKind::Command
    };
    let id = LogId { term, index };
    Record::Entry(EntryRecord { id, kind, payload: Bytes::from(payload) })
}

/// What a member may write at once: entries, and at times a vote, a truncation, a release. `ids`
/// are the entries that the log holds.
fn batch(number: u64, ids: &mut Vec<LogId>, random: &SeededRandom) -> Vec<Record> {
    let mut records = Vec::new();
    let term = 1 + number / 8;
    match number % 8 {
        0 => records.push(Record::Vote(Vote { term, node: 2, committed: number > 20 })),
        4 => {
            ids.pop();
            records.push(Record::Truncate(ids.last().copied()));
        }
        5 => records.push(Record::Committed(ids[ids.len() - 2])),
        6 if number > 20 => records.push(Record::Purge(ids[ids.len() - 8])),
        _ => {}
    }
    for _ in 0..=random.next_u64() % 4 {
        let index = ids.last().map_or(0, |last| last.index) + 1;
        let mut next = entry(term, index, random);
        // A membership that is cut off again is the library's to take back.
        if let Record::Entry(next) = &mut next
            && number % 8 == 3
        {
            next.kind = EntryKind::Command;
        }
        ids.push(LogId { term, index });
        records.push(next);
    }
    records
}

impl Recorded {
    /// Batches over many segments, the oldest of which are released; the last is followed by the
    /// idle statement that it is synced, or not.
    fn new(seed: u64, states_synced: bool) -> Self {
        let random = SeededRandom::new(seed);
        let disk = SimulatedDisk::new();
        let (mut wal, _) = open(&disk).unwrap();
        let mut history = vec![Says::default()];
        let mut ids = Vec::new();
        let (mut number, mut segments, mut released) = (0, 0, false);
        // Long enough that the oldest segments are gone and several are left.
        while number < 60 || segments < 3 || !released {
            let records = batch(number, &mut ids, &random);
            write(&mut wal, &records);
            for record in &records {
                let mut says = history.last().unwrap().clone();
                says.take(record);
                history.push(says);
            }
            let before = disk.list(&dir()).unwrap().len();
            if number >= 40 && !released {
                wal.remove_released().unwrap();
            }
            segments = disk.list(&dir()).unwrap().len();
            released |= segments < before;
            number += 1;
        }
        if states_synced {
            wal.state_synced().unwrap();
            wal.sync().unwrap();
        }
        let (mut ends, mut frames, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let summary = walk(&disk, &dir(), &mut |step| {
            match step {
                Walked::Segment { .. } => {}
                Walked::Batch { position, synced } => {
                    frames.push(position);
                    batches.push((position, synced));
                }
                Walked::Record { position, length, .. } => {
                    frames.push(position);
                    ends.push(position + FRAME_HEAD as u64 + u64::from(length));
                }
            }
            Ok(())
        })
        .unwrap();
        let names = disk.list(&dir()).unwrap();
        assert!(ends.len() < history.len() - 1, "the oldest segments are gone");
        assert!(names.len() >= 3, "{names:?}");
        let kept = history.split_off(history.len() - ends.len() - 1);
        let mut known = kept.into_iter();
        let first = segment::parse_name(&names[0]).unwrap();
        let mut says = vec![(first, known.next().unwrap())];
        says.extend(ends.into_iter().zip(known));
        let content = |name: &String| {
            let path = dir().join(name);
            let content = disk.content(&path).unwrap();
            (path, content)
        };
        let files = names.iter().map(content).collect();
        Self { seed, files, ends: says, frames, batches, summary }
    }

    /// The same log, with one file changed.
    fn damaged(&self, file: usize, content: Vec<u8>) -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        for (path, intact) in &self.files {
            disk.put(path, intact.clone());
        }
        disk.put(&self.files[file].0, content);
        disk
    }

    fn base(&self, file: usize) -> u64 {
        let name = self.files[file].0.file_name().unwrap().to_str().unwrap();
        segment::parse_name(name).unwrap()
    }

    /// What is said by whole records before a position.
    fn says_before(&self, position: u64) -> &Says {
        &self.ends.iter().rev().find(|(end, _)| *end <= position).unwrap().1
    }

    /// What the log still says to be synced when bytes of a file are not what they were.
    fn known_synced(&self, file: usize, bytes: &Range<usize>) -> u64 {
        let base = self.base(file);
        if file + 1 < self.files.len() {
            return self.base(file + 1);
        }
        let damaged = base + bytes.start as u64..base + bytes.end as u64;
        let whole = |(position, _): &&(u64, u64)| {
            position + batch::BATCH_FRAME as u64 <= damaged.start
                || position + FRAME_HEAD as u64 >= damaged.end
        };
        let stated = self.batches.iter().filter(whole).map(|(_, synced)| *synced).max();
        // A segment is named when its head is on disk.
        let head = self.frames.iter().find(|frame| **frame >= base);
        stated.unwrap_or(0).max(*head.unwrap())
    }

    /// Whether the record that is damaged says a length that the file does not have.
    fn leads_beyond(&self, file: usize, bytes: &Range<usize>, content: &[u8]) -> bool {
        let base = self.base(file);
        let starts = self.frames.iter().copied().chain([self.summary.end]);
        let offset = |frame: u64| usize::try_from(frame - base).unwrap();
        let mut starts = starts.filter(|frame| *frame >= base).map(offset);
        let Some(start) = starts.rfind(|start| *start <= bytes.start) else { return false };
        let Some(length) = content.get(start..start + 4) else { return false };
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        length <= record::BODY_MAX && start + FRAME_HEAD + length > content.len()
    }

    /// Opens a log in which some bytes of a file are not what they were, and looks at what comes
    /// of it.
    fn check(&self, file: usize, bytes: &Range<usize>, content: Vec<u8>, what: &str) -> Outcome {
        let is_cut = content.len() == bytes.start;
        let is_last = file + 1 == self.files.len();
        let disk = &self.damaged(file, content.clone());
        let mut position = self.base(file) + bytes.start as u64;
        let path = &self.files[file].0;
        let at = format!("{SEED}={}: {what} at {}:{}", self.seed, path.display(), bytes.start);
        if file + 1 < self.files.len() && position >= self.base(file + 1) {
            // Zeros that the segment had no use for.
            position = self.summary.end;
        }
        let must_refuse = position < self.known_synced(file, bytes)
            || is_cut && bytes.start < usize::try_from(SMALL.zero_bytes).unwrap()
            || is_cut && is_last && position < self.summary.end + segment::ROOM_BYTES
            || is_last && self.leads_beyond(file, bytes, &content);
        let (mut wal, recovered) = match open(disk) {
            Err(error) => {
                assert!(must_refuse, "{at}: a tear must be cut: {error}");
                self.check_refusal(&error, file, bytes, &at);
                return Outcome::Refused;
            }
            Ok(opened) => opened,
        };
        assert!(!must_refuse, "{at}: it was opened");
        let wanted = self.says_before(position);
        assert_eq!(Says::of(&wal, &recovered), *wanted, "{at}");
        // The log goes on from there.
        let last = recovered.last().unwrap();
        let next = LogId { term: last.term + 1, index: last.index + 1 };
        let payload = Bytes::from_static(b"after the damage");
        let next = EntryRecord { id: next, kind: EntryKind::Command, payload };
        write(&mut wal, &[Record::Entry(next.clone())]);
        let (wal, recovered) = open(disk).unwrap_or_else(|error| panic!("{at}: {error}"));
        let mut wanted = wanted.clone();
        wanted.entries.insert(next.id.index, next);
        assert_eq!(Says::of(&wal, &recovered), wanted, "{at}: written after");
        Outcome::Kept { cut: position < self.summary.end }
    }

    /// A refusal names the file, the record that is broken, and what the tools can do.
    fn check_refusal(&self, error: &WalError, file: usize, bytes: &Range<usize>, at: &str) {
        let (text, path) = (error.to_string(), &self.files[file].0);
        match error {
            WalError::Damaged { file: named, offset: found, .. } => {
                assert_eq!(named, path, "{at}: {text}");
                let offset = bytes.start as u64;
                let position = self.base(file) + offset;
                let before = self.frames.iter().rev().find(|frame| **frame <= position);
                let record = before.map_or(0, |frame| frame.saturating_sub(self.base(file)));
                assert!(*found <= offset && *found >= record, "{at}: {text}");
                assert!(text.contains(&format!("offset {found} ")), "{at}: {text}");
            }
            WalError::UnknownFormat { file: named, .. } => assert_eq!(named, path, "{at}"),
            other => panic!("{at}: {other}"),
        }
        for named in [&*path.display().to_string(), "`keelson store verify`"] {
            assert!(text.contains(named), "{at}: {named} is not in: {text}");
        }
        assert!(text.contains("`keelson store repair`"), "{at}: {text}");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Refused,
    Kept { cut: bool },
}

fn seed() -> u64 {
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| SystemRandom.next_u64())
}

/// The places of the log to try: all, or some, the ends of it always among them.
fn places(recorded: &Recorded, random: &SeededRandom) -> Vec<(usize, usize)> {
    let all: Vec<(usize, usize)> = recorded
        .files
        .iter()
        .enumerate()
        .flat_map(|(file, (_, content))| (0..content.len()).map(move |offset| (file, offset)))
        .collect();
    let wanted = match std::env::var(POSITIONS) {
        Ok(all_of_them) if all_of_them == "all" => return all,
        Ok(number) => number.parse().unwrap(),
        Err(_) => SAMPLE,
    };
    let end = usize::try_from(recorded.summary.end - recorded.summary.last_base).unwrap();
    let last = recorded.files.len() - 1;
    let mut some: Vec<_> = (end.saturating_sub(60)..end + 10).map(|place| (last, place)).collect();
    let count = all.len() as u64;
    let any = || all[usize::try_from(random.next_u64() % count).unwrap()];
    some.extend((0..wanted).map(|_| any()));
    some
}

/// Tries a damage at many places of a log; whether each outcome was met.
fn try_everywhere(
    what: &str,
    states_synced: bool,
    damage: impl Fn(&mut Vec<u8>, usize, &SeededRandom),
) -> Vec<Outcome> {
    let recorded = Recorded::new(seed(), states_synced);
    let random = SeededRandom::new(recorded.seed);
    let mut met = Vec::new();
    for (file, offset) in places(&recorded, &random) {
        let mut content = recorded.files[file].1.clone();
        // A frame may begin where the file ends: in the next.
        if offset >= content.len() {
            continue;
        }
        damage(&mut content, offset, &random);
        let Some(bytes) = difference(&recorded.files[file].1, &content) else { continue };
        let outcome = recorded.check(file, &bytes, content, what);
        if !met.contains(&outcome) {
            met.push(outcome);
        }
    }
    met
}

/// The bytes that are not what they were; those that are missing count.
fn difference(intact: &[u8], damaged: &[u8]) -> Option<Range<usize>> {
    if damaged.len() < intact.len() {
        return Some(damaged.len()..intact.len());
    }
    let mut differing = (0..intact.len()).filter(|place| intact[*place] != damaged[*place]);
    let first = differing.next()?;
    Some(first..differing.next_back().unwrap_or(first) + 1)
}

const WINDOW: Outcome = Outcome::Kept { cut: true };

#[test]
fn a_flipped_bit_is_a_refusal_but_in_the_last_batch_and_behind_it() {
    for states_synced in [true, false] {
        let met = try_everywhere("a flipped bit", states_synced, |content, offset, random| {
            content[offset] ^= 1 << (random.next_u64() % 8);
        });
        assert!(met.contains(&Outcome::Refused) && met.contains(&WINDOW), "{met:?}");
    }
}

#[test]
fn a_wrong_byte_is_a_refusal_but_in_the_last_batch_and_behind_it() {
    for states_synced in [true, false] {
        let met = try_everywhere("a wrong byte", states_synced, |content, offset, random| {
            content[offset] ^= (random.next_u64() % 255) as u8 + 1;
        });
        assert!(met.contains(&Outcome::Refused) && met.contains(&WINDOW), "{met:?}");
    }
}

#[test]
fn a_sector_that_was_lost_or_is_anothers_is_a_refusal_but_in_the_last_batch_and_behind_it() {
    for states_synced in [true, false] {
        let met = try_everywhere("a lost sector", states_synced, |content, offset, _| {
            let end = content.len().min(offset + SECTOR);
            content[offset..end].fill(0);
        });
        assert!(met.contains(&Outcome::Refused), "{met:?}");
        let met = try_everywhere("another's sector", states_synced, |content, offset, random| {
            let end = content.len().min(offset + SECTOR);
            content[offset..end].fill_with(|| random.next_u64().to_le_bytes()[0]);
        });
        assert!(met.contains(&Outcome::Refused) && met.contains(&WINDOW), "{met:?}");
    }
}

#[test]
fn a_log_cut_short_among_its_records_is_a_refusal() {
    for states_synced in [true, false] {
        let met = try_everywhere("a cut", states_synced, |content, offset, _| {
            content.truncate(offset);
        });
        assert!(met.contains(&Outcome::Refused) && !met.contains(&WINDOW), "{met:?}");
    }
}

/// As older versions left them: nothing told their cut from a log that was never longer.
#[test]
fn a_segment_that_promises_no_zeros_is_read_to_its_end() {
    let disk = SimulatedDisk::new();
    let state = SegmentHead {
        identity: IDENTITY,
        base: 0,
        length_min: 0,
        keeps_room: false,
        chain: 0,
        vote: None,
        committed: None,
        purged: None,
        last: None,
        membership: None,
    };
    let mut content = bytes::BytesMut::new();
    let head = state.write(&mut content);
    let chain = batch::BatchHead { position: content.len() as u64, synced: 0 };
    let chain = chain.frame(&mut content, head);
    let random = SeededRandom::new(1);
    let written = entry(1, 1, &random);
    written.frame(&mut content, chain);
    let path = dir().join(segment::file_name(0));
    disk.put(&path, content.to_vec());
    let last = open(&disk).unwrap().1.last();
    assert_eq!(last, Some(LogId { term: 1, index: 1 }));
    content.truncate(content.len() - 1);
    disk.put(&path, content.to_vec());
    let (mut wal, recovered) = open(&disk).unwrap();
    assert!(recovered.cut.is_some() && recovered.last().is_none());
    // Before anything is written to it, it is as long as any other.
    write(&mut wal, &[written]);
    assert!(open(&disk).unwrap().1.cut.is_none());
}
