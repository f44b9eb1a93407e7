//! One page: its head, and the elements of branches and leaves.

use super::BoltError;

/// Bytes of a page's head: number (8), flags (2), count (2), overflow (4).
pub(super) const HEAD_BYTES: usize = 16;
const ELEMENT_BYTES: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
/// Flag of a leaf's element: its value is a bucket.
const BUCKET: u32 = 0x01;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
}

/// A page's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) flags: u16,
    pub(super) count: u16,
    pub(super) overflow: u32,
}

impl Head {
    pub(super) fn parse(bytes: &[u8; HEAD_BYTES]) -> Self {
        Self {
            number: u64_at(bytes, 0).unwrap_or_default(),
            flags: u16::from_le_bytes([bytes[8], bytes[9]]),
            count: u16::from_le_bytes([bytes[10], bytes[11]]),
            overflow: u32_at(bytes, 12).unwrap_or_default(),
        }
    }
}

/// A branch or a leaf, with the pages it flows over into.
#[derive(Debug)]
pub(super) struct Page {
    /// As errors name it; 0 inside of a bucket's record.
    number: u64,
    pub(super) kind: Kind,
    pub(super) count: usize,
    bytes: Vec<u8>,
}

/// What a leaf holds under a key.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) is_bucket: bool,
}

impl Page {
    pub(super) fn new(number: u64, bytes: Vec<u8>) -> Result<Self, BoltError> {
        let head = bytes.first_chunk().ok_or(BoltError::Element { page: number, element: 0 })?;
        let head = Head::parse(head);
        let kind = match head.flags {
            BRANCH => Kind::Branch,
            LEAF => Kind::Leaf,
            flags => return Err(BoltError::Kind { page: number, flags }),
        };
        Ok(Self { number, kind, count: head.count.into(), bytes })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The page below a branch's element.
    pub(super) fn child(&self, element: usize) -> Result<u64, BoltError> {
        let at = HEAD_BYTES + element * ELEMENT_BYTES;
        u64_at(&self.bytes, at + 8).ok_or(self.damaged(element))
    }

    /// A leaf's element.
    pub(super) fn leaf(&self, element: usize) -> Result<Leaf<'_>, BoltError> {
        let at = HEAD_BYTES + element * ELEMENT_BYTES;
        let number = |offset: usize| u32_at(&self.bytes, at + offset);
        let parts = (number(0), number(4), number(8), number(12));
        let (Some(flags), Some(place), Some(key), Some(value)) = parts else {
            return Err(self.damaged(element));
        };
        // Offsets count from the element. Three 32-bit numbers and an offset do not overflow 64.
        let start = at as u64 + u64::from(place);
        let middle = start + u64::from(key);
        let end = middle + u64::from(value);
        let part = |from: u64, to: u64| {
            self.bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
        };
        match (part(start, middle), part(middle, end)) {
            (Some(key), Some(value)) => Ok(Leaf { key, value, is_bucket: flags & BUCKET != 0 }),
            _ => Err(self.damaged(element)),
        }
    }

    fn damaged(&self, element: usize) -> BoltError {
        BoltError::Element { page: self.number, element }
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
