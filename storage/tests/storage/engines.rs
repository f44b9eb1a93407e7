//! The two engines are one: the same batches and reads, the same answers.

use std::ops::ControlFlow;

use bytes::Bytes;
use keelson_storage::engine::{
    Direction, Engine, Overlay, Reader, RocksDb, RocksOptions, SortedMap, WriteBatch,
};
use proptest::prelude::*;

const SMALL: RocksOptions =
    RocksOptions { block_cache_bytes: 1 << 20, write_buffer_bytes: 1 << 16 };

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Walk(Vec<u8>, Vec<u8>, bool, usize),
    Flush,
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(255)], 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    let change = (key(), proptest::option::weighted(0.7, proptest::collection::vec(0u8..9, 0..5)));
    prop_oneof![
        6 => proptest::collection::vec(change, 0..8).prop_map(Step::Write),
        4 => (key(), key(), any::<bool>(), 1usize..9).prop_map(|(a, b, c, d)| Step::Walk(a, b, c, d)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

fn walk(reader: &dyn Reader, start: &[u8], end: &[u8], forward: bool, limit: usize) -> Entries {
    let direction = if forward { Direction::Forward } else { Direction::Reverse };
    let mut found = Vec::new();
    reader
        .walk(start, end, direction, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    found
}

fn batch(changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(key.clone(), Bytes::copy_from_slice(value)),
            None => batch.delete(key.clone()),
        }
    }
    batch
}

fn all(reader: &dyn Reader) -> Entries {
    walk(reader, &[], &[255; 9], true, usize::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn rocksdb_and_the_sorted_map_agree(steps in proptest::collection::vec(step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let mut rocks = RocksDb::open(folder.path(), SMALL).unwrap();
        let sorted = SortedMap::new();
        for step in steps {
            match step {
                Step::Write(changes) => {
                    // Before it is written, the overlay shows what will be.
                    let mut overlay = Overlay::new(&sorted);
                    overlay.batch = batch(&changes);
                    let foreseen = all(&overlay);
                    let mut backwards = walk(&overlay, &[], &[255; 9], false, usize::MAX);
                    backwards.reverse();
                    prop_assert_eq!(&foreseen, &backwards);
                    rocks.write(&overlay.batch).unwrap();
                    sorted.write(&batch(&changes)).unwrap();
                    prop_assert_eq!(foreseen, all(&sorted));
                    for (key, _) in &changes {
                        prop_assert_eq!(rocks.get(key).unwrap(), sorted.get(key).unwrap());
                    }
                }
                Step::Walk(start, end, forward, limit) => {
                    prop_assert_eq!(
                        walk(&rocks, &start, &end, forward, limit),
                        walk(&sorted, &start, &end, forward, limit)
                    );
                }
                Step::Flush => {
                    rocks.flush().unwrap();
                    sorted.flush().unwrap();
                }
                // Closing flushes, as far as RocksDB is concerned: no crash.
                Step::Reopen => {
                    rocks.flush().unwrap();
                    drop(rocks);
                    rocks = RocksDb::open(folder.path(), SMALL).unwrap();
                }
            }
        }
        prop_assert_eq!(all(&rocks), all(&sorted));
    }
}

#[test]
fn a_crash_leaves_what_was_flushed() {
    let sorted = SortedMap::new();
    sorted.write(&batch(&[(vec![1], Some(vec![1]))])).unwrap();
    sorted.flush().unwrap();
    sorted.write(&batch(&[(vec![1], None), (vec![2], Some(vec![2]))])).unwrap();
    sorted.crash();
    assert_eq!(all(&sorted), vec![(vec![1], vec![1])]);
}

#[test]
fn content_is_exported_as_of_one_moment_and_replaced_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let rocks = RocksDb::open(folder.path(), SMALL).unwrap();
    let sorted = SortedMap::new();
    let engines: [&dyn Engine; 2] = [&rocks, &sorted];
    for engine in engines {
        let many: Vec<_> =
            (0..1000u32).map(|n| (n.to_be_bytes().to_vec(), Some(vec![7]))).collect();
        engine.write(&batch(&many)).unwrap();
        let export = engine.export().unwrap();
        let none: Vec<_> = many.iter().map(|(key, _)| (key.clone(), None)).collect();
        engine.write(&batch(&none)).unwrap();
        engine.write(&batch(&[(vec![9], Some(vec![9]))])).unwrap();
        assert_eq!(all(engine), vec![(vec![9], vec![9])]);
        let mut entries = export;
        let staged = engine.stage(&mut entries).unwrap();
        assert_eq!(all(engine), vec![(vec![9], vec![9])]);
        staged().unwrap();
        let expected: Entries = many.into_iter().map(|(k, v)| (k, v.unwrap())).collect();
        assert_eq!(all(engine), expected);
    }
    drop(rocks);
    let rocks = RocksDb::open(folder.path(), SMALL).unwrap();
    assert_eq!(all(&rocks), all(&sorted), "a replacement is durable");
}

#[test]
fn a_folder_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("CURRENT-DB"), "keelson-engine 2\ndb-1\n").unwrap();
    let error = RocksDb::open(folder.path(), SMALL).unwrap_err().to_string();
    assert!(error.contains("CURRENT-DB"), "{error}");
}

#[test]
fn what_was_deleted_takes_no_room_once_it_is_defragmented() {
    let folder = tempfile::tempdir().unwrap();
    let engine = RocksDb::open(folder.path(), SMALL).unwrap();
    // Numbers that do not compress.
    let mut state = 1u64;
    let mut noise = |length: usize| -> Vec<u8> {
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    };
    for key in 0..64u8 {
        engine.write(&batch(&[(vec![key], Some(noise(16 << 10)))])).unwrap();
    }
    engine.flush().unwrap();
    let full = engine.approximate_size();
    for key in 1..64u8 {
        engine.write(&batch(&[(vec![key], None)])).unwrap();
    }
    engine.defragment().unwrap();
    let left = engine.approximate_size();
    assert!(full > 900 << 10 && left < full / 8, "{full} bytes, then {left}");
    assert_eq!(walk(&engine, &[0], &[255], true, 99).len(), 1);
}

#[test]
fn what_the_engine_is_busy_with_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rocks = RocksDb::open(folder.path(), RocksOptions::default()).unwrap();
    let mut batch = WriteBatch::default();
    batch.put(b"key".to_vec(), Bytes::from(vec![1; 100_000]));
    rocks.write(&batch).unwrap();
    let load = rocks.load();
    assert!(load.buffer_bytes > 100_000, "{load:?}");
    assert_eq!((load.level0_files, load.stops, load.is_stopped), (0, 0, false), "{load:?}");
    rocks.flush().unwrap();
    let load = rocks.load();
    assert_eq!((load.level0_files, load.background_errors), (1, 0), "{load:?}");
    assert!(load.buffer_bytes < 100_000, "{load:?}");
}

#[test]
fn writers_that_are_stopped_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let rocks = RocksDb::open(folder.path(), SMALL).unwrap();
    // Buffers fill faster than they reach the disk.
    let mut written: u64 = 0;
    while rocks.load().stops + rocks.load().delays == 0 {
        let mut batch = WriteBatch::default();
        for _ in 0..64 {
            written += 1;
            batch.put(written.to_be_bytes().to_vec(), Bytes::from(vec![1; 4096]));
        }
        rocks.write(&batch).unwrap();
        assert!(written < 1_000_000, "{:?}", rocks.load());
    }
}
