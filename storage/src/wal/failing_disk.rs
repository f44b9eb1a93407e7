//! A writer whose disk fails at one step after the other: what it says, and what is there after.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::disk::{Failing, FailingDisk, SeededRandom, SimulatedDisk};

const IDENTITY: Identity = Identity { cluster_id: 7, node_id: 1 };
const SMALL: WalOptions = WalOptions { segment_bytes: 2048, zero_bytes: 1024 };
/// Batches of a run: some segments, and a release.
const BATCHES: u64 = 30;

fn entry(index: u64) -> EntryRecord {
    let size = usize::try_from(index * 37 % 200).unwrap();
    let payload = Bytes::from(vec![index.to_le_bytes()[0] | 1; size]);
    EntryRecord { id: LogId { term: 1, index }, kind: EntryKind::Command, payload }
}

/// What a writer told those who submitted.
#[derive(Default)]
struct Told {
    /// The last entry that was acknowledged.
    acknowledged: u64,
    /// The first refusal, and what was said after it.
    refused: Option<String>,
    acknowledged_after: bool,
}

/// Writes until the end, whatever fails.
fn run(disk: &FailingDisk) -> Option<Told> {
    let opened = Wal::open(Arc::new(disk.clone()), &PathBuf::from("/wal"), IDENTITY, SMALL);
    let (mut writer, queue) = WalWriter::new(opened.ok()?.0, Some(Box::new(|| {})));
    let told = Arc::new(Mutex::new(Told::default()));
    for batch in 0..BATCHES {
        for index in batch * 2 + 1..=batch * 2 + 2 {
            let told = told.clone();
            let done = move |result: Result<&[EntryPosition], &str>| {
                let mut told = told.lock();
                match result {
                    Ok(_) if told.refused.is_some() => told.acknowledged_after = true,
                    Ok(_) => told.acknowledged = index,
                    Err(reason) => {
                        told.refused.get_or_insert(reason.to_owned());
                    }
                }
            };
            queue.submit(vec![Record::Entry(entry(index))], Box::new(done));
        }
        if batch == 20 {
            let release = Record::Purge(LogId { term: 1, index: 25 });
            queue.submit(vec![release], Box::new(|_| {}));
        }
        let turned = writer.turn().map(|_| ());
        let rested = if batch % 5 == 4 { writer.rest() } else { Ok(()) };
        let failed = turned.and(rested).err();
        let mut told = told.lock();
        if let Some(error) = &failed {
            assert!(queue.failure().is_some(), "the queue knows: {error}");
        }
        if let Some(failure) = queue.failure() {
            told.refused.get_or_insert(failure);
        }
    }
    drop((writer, queue));
    Arc::into_inner(told).map(Mutex::into_inner)
}

/// Every entry up to the last acknowledged one is there, as it was, and the log goes on.
fn check_whole(disk: &SimulatedDisk, acknowledged: u64, at: &str) {
    let open = || Wal::open(Arc::new(disk.clone()), &PathBuf::from("/wal"), IDENTITY, SMALL);
    let (mut wal, recovered) = open().unwrap_or_else(|error| panic!("{at}: {error}"));
    let last = recovered.last().map_or(0, |last| last.index);
    assert!(last >= acknowledged, "{at}: lost {acknowledged}, has {last}");
    let first = recovered.index.first().unwrap_or(last + 1);
    let purged = recovered.purged.map_or(0, |purged| purged.index);
    assert!(first <= purged + 1 || purged == 25, "{at}: from {first}, released {purged}");
    let places: Vec<_> = (first..=last).map(|index| recovered.index.get(index).unwrap()).collect();
    let wanted: Vec<_> = (first..=last).map(entry).collect();
    assert_eq!(wal.reader().read(&places).unwrap(), wanted, "{at}");
    for index in last + 1..last + 20 {
        wal.write([Record::Entry(entry(index))].iter(), &mut Vec::new()).unwrap();
        wal.sync().unwrap();
    }
    let (_, recovered) = open().unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(recovered.last().map(|id| id.index), Some(last + 19), "{at}");
}

#[test]
fn after_any_failure_of_the_disk_nothing_is_acknowledged_and_what_was_is_there() {
    let sound = FailingDisk::new(Arc::new(SimulatedDisk::new()));
    assert_eq!(run(&sound).unwrap().acknowledged, BATCHES * 2);
    let steps = sound.steps();
    assert!(steps > BATCHES * 2, "{steps}");
    let failures = [Failing::Full, Failing::Writes, Failing::Syncs, Failing::ReadOnly];
    let (mut refusals, mut reasons) = (0, std::collections::BTreeSet::new());
    for (failing, times) in failures.into_iter().flat_map(|how| [(how, 1), (how, u64::MAX)]) {
        for step in 0..steps {
            let at = format!("{failing:?}, {times} times from step {step}");
            for power_fails in [false, true] {
                let disk = SimulatedDisk::new();
                let broken = FailingDisk::new(Arc::new(disk.clone()));
                broken.fail(step, failing, times);
                let told = run(&broken).unwrap_or_default();
                assert!(!told.acknowledged_after, "{at}: acknowledged after a failure");
                if let Some(reason) = told.refused {
                    refusals += 1;
                    assert!(reason.contains("/wal/") || reason.contains("/wal:"), "{reason}");
                    reasons.insert(reason.split(['/', ':']).next().unwrap().to_owned());
                }
                if power_fails {
                    disk.crash(&SeededRandom::new(step));
                }
                check_whole(&disk, told.acknowledged, &at);
            }
        }
    }
    assert!(refusals > 500, "{refusals}");
    let reasons: Vec<_> = reasons.iter().map(|reason| reason.trim()).collect();
    assert_eq!(reasons, ["begin", "fill", "remove", "sync", "write"]);
}
