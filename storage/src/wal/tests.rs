//! What a log promises, tried on a disk that tears, loses and flips.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::disk::{Disk, RealDisk, SeededRandom, SimulatedDisk};

const IDENTITY: Identity = Identity { cluster_id: 7, node_id: 1 };
const SMALL: WalOptions = WalOptions { segment_bytes: 2048, zero_bytes: 1024 };

fn dir() -> PathBuf {
    PathBuf::from("/wal")
}

fn entry(term: u64, index: u64, size: usize) -> Record {
    #[allow(clippy::cast_possible_truncation)]
    let payload = Bytes::from(vec![index as u8 | 1; size]);
    Record::Entry(EntryRecord { id: LogId { term, index }, kind: EntryKind::Command, payload })
}

fn open(disk: &SimulatedDisk) -> Result<(Wal, Recovered), WalError> {
    Wal::open(Arc::new(disk.clone()), &dir(), IDENTITY, SMALL)
}

fn write(wal: &mut Wal, records: &[Record]) -> Vec<EntryPosition> {
    let mut places = Vec::new();
    wal.write(records.iter(), &mut places).unwrap();
    wal.sync().unwrap();
    places
}

/// Twenty batches of two entries each, over several segments, then the idle statement.
fn filled(state_synced: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    for number in 0..20 {
        write(&mut wal, &[entry(1, number * 2 + 1, 100), entry(1, number * 2 + 2, 50)]);
    }
    if state_synced {
        wal.state_synced().unwrap();
        wal.sync().unwrap();
    }
    disk
}

#[test]
fn everything_written_is_there_after_reopening() {
    let temporary = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let vote = Vote { term: 3, node: 1, committed: true };
    let committed = LogId { term: 3, index: 4 };
    let mut records: Vec<Record> = (1..=5).map(|index| entry(3, index, 10)).collect();
    records.insert(0, Record::Vote(vote));
    records.push(Record::Committed(committed));
    {
        let (mut wal, recovered) =
            Wal::open(disk.clone(), temporary.path(), IDENTITY, SMALL).unwrap();
        assert!(recovered.last().is_none());
        write(&mut wal, &records);
    }
    let (wal, recovered) = Wal::open(disk, temporary.path(), IDENTITY, SMALL).unwrap();
    assert_eq!(recovered.vote, Some(vote));
    assert_eq!(recovered.committed, Some(committed));
    assert_eq!(recovered.last(), Some(LogId { term: 3, index: 5 }));
    let places: Vec<_> = (1..=5).map(|index| recovered.index.get(index).unwrap()).collect();
    let read = wal.reader().read(&places).unwrap();
    let read: Vec<Record> = read.into_iter().map(Record::Entry).collect();
    assert_eq!(read, records[1..6]);
}

#[test]
fn truncation_is_a_record() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    write(&mut wal, &[entry(1, 1, 8), entry(1, 2, 8), entry(1, 3, 8)]);
    let keep = Some(LogId { term: 1, index: 1 });
    write(&mut wal, &[Record::Truncate(keep), entry(2, 2, 9)]);
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.last(), Some(LogId { term: 2, index: 2 }));
    assert_eq!(recovered.index.len(), 2);
}

#[test]
fn released_segments_go_and_the_rest_stands_alone() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    let vote = Vote { term: 1, node: 1, committed: false };
    write(&mut wal, &[Record::Vote(vote)]);
    for index in 1..=100 {
        write(&mut wal, &[entry(1, index, 100)]);
    }
    let before = disk.list(&dir()).unwrap().len();
    let purged = LogId { term: 1, index: 80 };
    write(&mut wal, &[Record::Purge(purged)]);
    wal.remove_released().unwrap();
    assert!(disk.list(&dir()).unwrap().len() < before);
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.vote, Some(vote), "a segment's head repeats the vote");
    assert_eq!(recovered.purged, Some(purged));
    assert_eq!(recovered.index.first(), Some(81));
    assert_eq!(recovered.last(), Some(LogId { term: 1, index: 100 }));
    let places: Vec<_> = (81..=100).map(|index| recovered.index.get(index).unwrap()).collect();
    assert_eq!(wal.reader().read(&places).unwrap().len(), 20);
}

#[test]
fn a_missing_segment_is_a_refusal() {
    for missing in [0, 1] {
        let disk = filled(true);
        let names = disk.list(&dir()).unwrap();
        assert!(names.len() > 2);
        disk.remove_file(&dir().join(&names[missing])).unwrap();
        let error = open(&disk).unwrap_err();
        assert!(
            matches!(error, WalError::MissingSegment { .. } | WalError::Damaged { .. }),
            "{error}"
        );
    }
}

#[test]
fn another_members_log_is_a_refusal() {
    let disk = filled(true);
    let other = Identity { cluster_id: 7, node_id: 2 };
    let error = Wal::open(Arc::new(disk), &dir(), other, SMALL).unwrap_err();
    assert!(matches!(error, WalError::WrongIdentity { found_node: 1, .. }), "{error}");
}

#[test]
fn an_unknown_format_is_a_refusal() {
    let disk = filled(true);
    let name = disk.list(&dir()).unwrap().remove(0);
    disk.flip(&dir().join(name), 8, 0x03);
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, WalError::UnknownFormat { found: 2, supported: 1, .. }), "{error}");
}

/// Changes one place of every kind of byte of the log, and looks at what opening makes of it.
fn try_damage(state_synced: bool, damage: impl Fn(&SimulatedDisk, &Path, usize)) {
    let intact = filled(state_synced);
    let summary = walk(&intact, &dir(), &mut |_| Ok(())).unwrap();
    let names = intact.list(&dir()).unwrap();
    let (mut refused, mut cut) = (0, 0);
    for name in &names {
        let path = dir().join(name);
        let base = segment::parse_name(name).unwrap();
        let is_last = name == names.last().unwrap();
        let used =
            if is_last { summary.end - base } else { intact.content(&path).unwrap().len() as u64 };
        for offset in (0..used).step_by(7) {
            let disk = filled(state_synced);
            damage(&disk, &path, usize::try_from(offset).unwrap());
            let stated = base + offset < summary.synced;
            match open(&disk) {
                Err(WalError::Damaged { .. } | WalError::UnknownFormat { .. }) => {
                    assert!(stated, "a tear at {name}:{offset} must be cut");
                    refused += 1;
                }
                Err(error) => panic!("{name}:{offset}: {error}"),
                Ok((_, recovered)) => {
                    assert!(
                        !stated || !is_last || recovered.cut.is_none(),
                        "damage at {name}:{offset} below {} was cut",
                        summary.synced
                    );
                    if recovered.cut.is_some() {
                        cut += 1;
                        // Only the very last batch can be mistaken for a tear.
                        assert!(recovered.last().unwrap().index >= 38, "{name}:{offset}");
                    } else {
                        assert!(recovered.last().unwrap().index >= 38, "{name}:{offset}");
                    }
                }
            }
        }
    }
    assert!(refused > 0);
    assert!(state_synced || cut > 0, "the last batch's window was not met");
}

#[test]
fn a_flipped_bit_below_what_is_stated_synced_is_a_refusal_and_above_it_a_tear() {
    for state_synced in [true, false] {
        try_damage(state_synced, |disk, path, offset| disk.flip(path, offset, 0x10));
    }
}

#[test]
fn a_file_cut_short_is_a_refusal() {
    let intact = filled(true);
    for name in intact.list(&dir()).unwrap() {
        let path = dir().join(&name);
        let content = intact.content(&path).unwrap();
        for length in (0..1024).step_by(5) {
            intact.put(&path, content[..length].to_vec());
            let error = open(&intact).unwrap_err();
            assert!(matches!(error, WalError::Damaged { .. }), "{name}:{length}: {error}");
        }
        intact.put(&path, content);
    }
    assert_eq!(open(&intact).unwrap().1.last(), Some(LogId { term: 1, index: 40 }));
}

#[test]
fn after_a_crash_everything_synced_is_there_and_the_log_goes_on() {
    for seed in 0..60 {
        let random = SeededRandom::new(seed);
        let disk = SimulatedDisk::new();
        let mut synced = 0;
        let mut next = 1;
        for _ in 0..6 {
            let (mut wal, recovered) = open(&disk).unwrap_or_else(|error| {
                panic!("seed {seed}: {error}");
            });
            let last = recovered.last().map_or(0, |last| last.index);
            assert!(last >= synced, "seed {seed}: lost {synced}, has {last}");
            next = last.max(next.min(last)) + 1;
            for _ in 0..5 {
                write(&mut wal, &[entry(1, next, 300), entry(1, next + 1, 40)]);
                next += 2;
                synced = next - 1;
            }
            for _ in 0..3 {
                wal.write([entry(1, next, 700)].iter(), &mut Vec::new()).unwrap();
                next += 1;
            }
            disk.crash(&random);
        }
    }
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    disk.fail_syncs(true);
    wal.write([entry(1, 1, 1)].iter(), &mut Vec::new()).unwrap();
    assert!(matches!(wal.sync(), Err(WalError::Io { .. })));
    disk.fail_syncs(false);
    assert!(matches!(wal.sync(), Err(WalError::Stopped(_))));
}

#[test]
fn the_writer_completes_everything_with_one_sync_and_says_what_is_synced_when_idle() {
    let disk = SimulatedDisk::new();
    let (wal, _) = open(&disk).unwrap();
    let (writer, queue) = WalWriter::new(wal, None);
    let before = disk.syncs();
    let (sender, receiver) = std::sync::mpsc::channel();
    for index in 1..=10 {
        let sender = sender.clone();
        let done = move |result: Result<&[EntryPosition], &str>| {
            sender.send(result.unwrap().len()).unwrap();
        };
        queue.submit(vec![entry(1, index, 5)], Box::new(done));
    }
    queue.committed(LogId { term: 1, index: 9 });
    let thread = std::thread::spawn(move || writer.run());
    let completed: usize = (0..10).map(|_| receiver.recv().unwrap()).sum();
    assert_eq!(completed, 10);
    assert_eq!(disk.syncs() - before, 1);
    queue.stop();
    thread.join().unwrap().unwrap();
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.committed, Some(LogId { term: 1, index: 9 }));
    let summary = walk(&disk, &dir(), &mut |_| Ok(())).unwrap();
    assert!(summary.end - summary.synced <= 2 * batch::BATCH_FRAME as u64 + 64);
}
