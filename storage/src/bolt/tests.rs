//! A small file made by hand, whole, then with every byte flipped and cut at every length.

use std::io;
use std::sync::Arc;

use super::file::fnv_1a;
use super::{BoltError, BoltFile};
use crate::disk::DiskFile;

const PAGE: usize = 512;

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl DiskFile for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let length = from.len().min(buffer.len());
        buffer[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

fn head(number: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let mut page = number.to_le_bytes().to_vec();
    page.extend(flags.to_le_bytes());
    page.extend(u16::try_from(count).unwrap().to_le_bytes());
    page.extend(overflow.to_le_bytes());
    page
}

fn leaf(number: u64, overflow: u32, elements: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let mut page = head(number, 2, elements.len(), overflow);
    let mut content = Vec::new();
    for (index, (flags, key, value)) in elements.iter().enumerate() {
        let place = (elements.len() - index) * 16 + content.len();
        for number in [*flags as usize, place, key.len(), value.len()] {
            page.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        content.extend_from_slice(key);
        content.extend_from_slice(value);
    }
    page.extend(content);
    page
}

fn branch(number: u64, children: &[(&[u8], u64)]) -> Vec<u8> {
    let mut page = head(number, 1, children.len(), 0);
    let mut content = Vec::new();
    for (index, (key, child)) in children.iter().enumerate() {
        let place = (children.len() - index) * 16 + content.len();
        page.extend(u32::try_from(place).unwrap().to_le_bytes());
        page.extend(u32::try_from(key.len()).unwrap().to_le_bytes());
        page.extend(child.to_le_bytes());
        content.extend_from_slice(key);
    }
    page.extend(content);
    page
}

fn meta(number: u64, root: u64, pages: u64) -> Vec<u8> {
    let mut meta = Vec::new();
    for short in [0xED0C_DAED_u32, 2, u32::try_from(PAGE).unwrap(), 0] {
        meta.extend(short.to_le_bytes());
    }
    // Root, sequence, free list, pages, transaction.
    for long in [root, 0, u64::MAX, pages, number] {
        meta.extend(long.to_le_bytes());
    }
    meta.extend(fnv_1a(&meta).to_le_bytes());
    [head(number, 4, 0, 0), meta].concat()
}

fn file(pages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for page in pages {
        bytes.extend_from_slice(page);
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    }
    bytes
}

/// Two leaves below a branch, the second flows over; a small bucket in its own record.
fn example() -> Vec<u8> {
    let big = vec![7; 900];
    let inline = [vec![0; 16], leaf(0, 0, &[(0, b"a", b"1"), (0, b"b", b"")])].concat();
    let bucket = [3_u64.to_le_bytes(), [0; 8]].concat();
    file(&[
        // The older one names another root.
        meta(0, 5, 8),
        meta(1, 2, 8),
        leaf(2, 0, &[(1, b"large", &bucket), (1, b"small", &inline), (0, b"stray", b"")]),
        branch(3, &[(b"a", 4), (b"m", 5)]),
        leaf(4, 0, &[(0, b"a", b"first"), (0, b"c", b"second")]),
        leaf(5, 1, &[(0, b"m", &big), (1, b"n", b"bucket within"), (0, b"z", b"last")]),
        head(7, 0x10, 0, 0),
    ])
}

type Found = Vec<(Vec<u8>, Vec<u8>)>;

fn read(bytes: Vec<u8>, bucket: &str) -> Result<Option<Found>, BoltError> {
    let length = bytes.len() as u64;
    let file = BoltFile::open(Arc::new(Bytes(bytes)), length)?;
    let mut found = Vec::new();
    let is_there = file.walk(bucket, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok::<_, BoltError>(())
    })?;
    Ok(is_there.then_some(found))
}

#[test]
fn buckets_are_read_in_order() {
    let large = read(example(), "large").unwrap().unwrap();
    let keys: Vec<&[u8]> = large.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(keys, [b"a", b"c", b"m", b"z"]);
    assert_eq!(large[2].1, vec![7; 900]);
    let small = read(example(), "small").unwrap().unwrap();
    assert_eq!(small, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())]);
    assert_eq!(read(example(), "stray").unwrap(), None);
    assert_eq!(read(example(), "none").unwrap(), None);
}

#[test]
fn the_other_meta_page_serves_where_one_is_damaged() {
    let mut first = example();
    first[20] ^= 1;
    assert!(read(first, "large").unwrap().is_some());
    let mut second = example();
    second[PAGE + HEAD + 30] ^= 1;
    // Its root is a leaf with one bucket's content: there is no bucket of that name.
    assert!(read(second, "large").unwrap().is_none());
}

const HEAD: usize = 16;

#[test]
fn damage_has_its_name() {
    let check = |change: &dyn Fn(&mut Vec<u8>), wanted: &str| {
        let mut bytes = example();
        change(&mut bytes);
        let error = read(bytes, "large").unwrap_err().to_string();
        assert!(error.contains(wanted), "{error:?} is not {wanted:?}");
    };
    check(&|bytes| bytes.fill(0), "not a bbolt database");
    check(&|bytes| bytes.truncate(20), "not a bbolt database");
    check(&|bytes| bytes.truncate(7 * PAGE), "is cut: 8 pages need 4096 bytes, there are 3584");
    for at in [HEAD + 20, PAGE + HEAD + 20] {
        // One flip in each: neither agrees with its checksum.
        check(
            &|bytes| {
                bytes[at] ^= 1;
                bytes[(at + PAGE) % (2 * PAGE)] ^= 1;
            },
            "agrees with its checksum",
        );
    }
    let both = |at: usize, value: u8| {
        move |bytes: &mut Vec<u8>| {
            bytes[HEAD + at] = value;
            bytes[PAGE + HEAD + at] = value;
        }
    };
    check(&both(4, 3), "version 3, version 2 is understood");
    check(&|bytes| bytes[2 * PAGE] = 9, "page 2 says to be page 9");
    check(&|bytes| bytes[2 * PAGE + 8] = 4, "page 2 has kind 0x4");
    check(&|bytes| bytes[5 * PAGE + 12] = 3, "page 8 is not among its 8 pages");
    check(&|bytes| bytes[3 * PAGE + HEAD + 8] = 200, "page 200 is not among its 8 pages");
    check(&|bytes| bytes[3 * PAGE + HEAD + 16 + 8] = 4, "keys of page 4 are out of order");
    check(&|bytes| bytes[3 * PAGE + HEAD + 8] = 3, "page 3 lies deeper than any tree is");
    check(&|bytes| bytes[4 * PAGE + 10] = 0, "page 4 is empty");
    check(&|bytes| bytes[4 * PAGE + HEAD + 14] = 1, "element 0 of page 4");
}

#[test]
fn no_flipped_byte_and_no_cut_does_worse_than_an_error() {
    let whole = example();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            for bucket in ["large", "small"] {
                let _may_fail = read(bytes.clone(), bucket);
            }
        }
    }
    for length in 0..whole.len() {
        let cut = read(whole[..length].to_vec(), "large");
        assert!(cut.is_err(), "{length} bytes are taken for a whole file");
    }
}
