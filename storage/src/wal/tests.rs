//! What a log promises, tried on a disk that tears, loses and flips.

use std::path::PathBuf;
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
fn filled() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    for number in 0..20 {
        write(&mut wal, &[entry(1, number * 2 + 1, 100), entry(1, number * 2 + 2, 50)]);
    }
    wal.state_synced().unwrap();
    wal.sync().unwrap();
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
fn segments_are_released_again_and_again_and_what_is_left_is_opened() {
    let disk = SimulatedDisk::new();
    let (mut wal, _) = open(&disk).unwrap();
    for index in 1..=200 {
        write(&mut wal, &[entry(1, index, 100)]);
        if index % 20 == 0 {
            write(&mut wal, &[Record::Purge(LogId { term: 1, index: index - 5 })]);
            wal.remove_released().unwrap();
            let (_, recovered) = open(&disk).unwrap_or_else(|error| panic!("{index}: {error}"));
            assert_eq!(recovered.purged, Some(LogId { term: 1, index: index - 5 }));
            assert_eq!(recovered.last(), Some(LogId { term: 1, index }));
        }
    }
}

#[test]
fn a_missing_segment_is_a_refusal() {
    for missing in [0, 1] {
        let disk = filled();
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
    let disk = filled();
    let other = Identity { cluster_id: 7, node_id: 2 };
    let error = Wal::open(Arc::new(disk), &dir(), other, SMALL).unwrap_err();
    assert!(matches!(error, WalError::WrongIdentity { found_node: 1, .. }), "{error}");
}

#[test]
fn an_unknown_format_is_a_refusal() {
    let disk = filled();
    let name = disk.list(&dir()).unwrap().remove(0);
    disk.flip(&dir().join(name), 8, 0x03);
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, WalError::UnknownFormat { found: 2, supported: 1, .. }), "{error}");
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
