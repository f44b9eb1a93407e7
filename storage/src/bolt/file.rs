//! A whole file: its meta pages, its buckets, and a walk through one.

use std::sync::Arc;

use super::BoltError;
use super::page::{HEAD_BYTES, Head, Kind, Page, u32_at, u64_at};
use crate::disk::DiskFile;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// A meta page's content, after its head.
const META_BYTES: usize = 64;
/// What its checksum covers.
const META_SUMMED_BYTES: usize = 56;
const PAGE_BYTES_MIN: u32 = 512;
const PAGE_BYTES_MAX: u32 = 1 << 20;
/// Root page and sequence, before an inline page.
const BUCKET_BYTES: usize = 16;
/// No tree is deeper: a branch has two children, and numbers of pages 64 bits.
const DEPTH_MAX: usize = 64;

/// Called with each key and value.
pub type Visit<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), E>;
/// The same, and whether the value is a bucket.
type VisitLeaf<'a, E> = &'a mut dyn FnMut(&[u8], &[u8], bool) -> Result<(), E>;

/// A bbolt database that nobody writes to.
#[derive(Debug)]
pub struct BoltFile {
    file: Arc<dyn DiskFile>,
    page_bytes: u64,
    /// Pages in use; those after them are not read.
    pages: u64,
    root: u64,
}

/// Where a bucket begins.
enum Root {
    Page(u64),
    /// A small one lies in its own record.
    Inline(Vec<u8>),
}

struct Meta {
    page_bytes: u32,
    root: u64,
    pages: u64,
    transaction: u64,
}

impl BoltFile {
    /// Looks for the newer of the two meta pages; `length` is how much of the file is the database.
    pub fn open(file: Arc<dyn DiskFile>, length: u64) -> Result<Self, BoltError> {
        let meta = newest_meta(&*file, length)?;
        let page_bytes = u64::from(meta.page_bytes);
        let needed = meta.pages.saturating_mul(page_bytes);
        if needed > length {
            return Err(BoltError::Truncated { pages: meta.pages, needed, length });
        }
        Ok(Self { file, page_bytes, pages: meta.pages, root: meta.root })
    }

    /// Visits the keys and values of a top-level bucket, in order; `false`: there is none of that
    /// name. Buckets within are left out.
    pub fn walk<E: From<BoltError>>(
        &self,
        bucket: impl AsRef<[u8]>,
        visit: Visit<'_, E>,
    ) -> Result<bool, E> {
        let Some(root) = self.find(bucket.as_ref())? else { return Ok(false) };
        self.walk_tree(root, &mut |key, value, is_bucket| match is_bucket {
            true => Ok(()),
            false => visit(key, value),
        })?;
        Ok(true)
    }

    /// Bytes of the pages in use.
    pub fn size(&self) -> u64 {
        self.pages * self.page_bytes
    }

    /// The names of the top-level buckets, in order.
    pub fn buckets(&self) -> Result<Vec<Vec<u8>>, BoltError> {
        let mut names = Vec::new();
        self.walk_tree(Root::Page(self.root), &mut |key, _, is_bucket| {
            if is_bucket {
                names.push(key.to_vec());
            }
            Ok::<_, BoltError>(())
        })?;
        Ok(names)
    }

    fn find(&self, bucket: &[u8]) -> Result<Option<Root>, BoltError> {
        let mut found = None;
        self.walk_tree(Root::Page(self.root), &mut |key, value, is_bucket| {
            if is_bucket && key == bucket {
                let name = || String::from_utf8_lossy(bucket).into_owned();
                let damaged = || BoltError::Bucket(name());
                found = Some(match u64_at(value, 0).ok_or_else(damaged)? {
                    0 => Root::Inline(value.get(BUCKET_BYTES..).ok_or_else(damaged)?.to_vec()),
                    page => Root::Page(page),
                });
            }
            Ok::<_, BoltError>(())
        })?;
        Ok(found)
    }

    /// Depth first. A page that is met again breaks the order of keys, or the depth.
    fn walk_tree<E: From<BoltError>>(&self, root: Root, visit: VisitLeaf<'_, E>) -> Result<(), E> {
        let root = match root {
            Root::Page(number) => self.page(number)?,
            Root::Inline(bytes) => Page::new(0, bytes)?,
        };
        let mut last: Option<Vec<u8>> = None;
        let mut path = vec![(root, 0)];
        while let Some((page, next)) = path.last_mut() {
            let (element, number) = (*next, page.number());
            if element == page.count {
                path.pop();
                continue;
            }
            *next += 1;
            match page.kind {
                Kind::Branch => {
                    let child = self.page(page.child(element)?)?;
                    if child.count == 0 {
                        return Err(BoltError::Empty { page: child.number() }.into());
                    }
                    if path.len() == DEPTH_MAX {
                        return Err(BoltError::Depth { page: child.number() }.into());
                    }
                    path.push((child, 0));
                }
                Kind::Leaf => {
                    let leaf = page.leaf(element)?;
                    if last.as_ref().is_some_and(|last| last.as_slice() >= leaf.key) {
                        return Err(BoltError::Order { page: number }.into());
                    }
                    let last = last.get_or_insert_default();
                    last.clear();
                    last.extend_from_slice(leaf.key);
                    visit(leaf.key, leaf.value, leaf.is_bucket)?;
                }
            }
        }
        Ok(())
    }

    fn page(&self, number: u64) -> Result<Page, BoltError> {
        let range = |page: u64| BoltError::Range { page, pages: self.pages };
        // The first two are the meta pages.
        if number < 2 || number >= self.pages {
            return Err(range(number));
        }
        let mut head = [0; HEAD_BYTES];
        self.read(&mut head, number * self.page_bytes)?;
        let head = Head::parse(&head);
        if head.number != number {
            return Err(BoltError::Number { page: number, found: head.number });
        }
        let last = number + u64::from(head.overflow);
        if last >= self.pages {
            return Err(range(last));
        }
        let bytes = (u64::from(head.overflow) + 1) * self.page_bytes;
        let mut content = vec![0; usize::try_from(bytes).map_err(|_| range(last))?];
        self.read(&mut content, number * self.page_bytes)?;
        Page::new(number, content)
    }

    fn read(&self, into: &mut [u8], offset: u64) -> Result<(), BoltError> {
        match self.file.read_at(into, offset)? == into.len() {
            true => Ok(()),
            false => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

/// The second meta page lies one page after the first: where, only the first says, if it is whole.
fn newest_meta(file: &dyn DiskFile, length: u64) -> Result<Meta, BoltError> {
    let (first, places) = match meta_at(file, 0, length) {
        Ok(meta) => {
            let second = u64::from(meta.page_bytes);
            (Ok(meta), vec![second])
        }
        Err(BoltError::Io(error)) => return Err(error.into()),
        Err(other) => {
            let sizes = std::iter::successors(Some(PAGE_BYTES_MIN), |size| size.checked_mul(2));
            let sizes = sizes.take_while(|size| *size <= PAGE_BYTES_MAX);
            (Err(other), sizes.map(u64::from).collect())
        }
    };
    let second = places.into_iter().find_map(|place| {
        let meta = meta_at(file, place, length).ok()?;
        (u64::from(meta.page_bytes) == place).then_some(meta)
    });
    match (first, second) {
        (Ok(first), Some(second)) if second.transaction > first.transaction => Ok(second),
        (Err(_), Some(second)) => Ok(second),
        (first, _) => first,
    }
}

fn meta_at(file: &dyn DiskFile, offset: u64, length: u64) -> Result<Meta, BoltError> {
    let mut page = [0; HEAD_BYTES + META_BYTES];
    if offset + page.len() as u64 > length || file.read_at(&mut page, offset)? < page.len() {
        return Err(BoltError::NotBolt);
    }
    let meta = &page[HEAD_BYTES..];
    let (short, long) = (
        |at: usize| u32_at(meta, at).unwrap_or_default(),
        |at: usize| u64_at(meta, at).unwrap_or_default(),
    );
    if short(0) != MAGIC {
        return Err(BoltError::NotBolt);
    }
    if short(4) != VERSION {
        return Err(BoltError::Version { found: short(4), expected: VERSION });
    }
    if fnv_1a(&meta[..META_SUMMED_BYTES]) != long(META_SUMMED_BYTES) {
        return Err(BoltError::Checksum);
    }
    let page_bytes = short(8);
    if !page_bytes.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes) {
        return Err(BoltError::PageSize(page_bytes));
    }
    Ok(Meta { page_bytes, root: long(16), pages: long(40), transaction: long(48) })
}

/// 64 bits of FNV-1a.
pub(super) fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
