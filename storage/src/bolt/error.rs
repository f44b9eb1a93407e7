//! What can be wrong with a bbolt file.

use std::io;

use thiserror::Error;

/// Why a file cannot be read as bbolt's.
#[derive(Debug, Error)]
pub enum BoltError {
    /// The system failed to read.
    #[error("read the database: {0}")]
    Io(#[from] io::Error),
    /// Neither meta page begins as one.
    #[error("not a bbolt database: neither meta page has its magic number")]
    NotBolt,
    /// Of a format that is not known.
    #[error("bbolt database of version {found}, version {expected} is understood")]
    Version {
        /// What stands there.
        found: u32,
        /// What is understood.
        expected: u32,
    },
    /// Both meta pages are damaged.
    #[error("bbolt database is damaged: no meta page agrees with its checksum")]
    Checksum,
    /// A meta page's page size is no power of two, or absurd.
    #[error("bbolt database is damaged: pages of {0} bytes")]
    PageSize(u32),
    /// Pages are missing at its end.
    #[error("bbolt database is cut: {pages} pages need {needed} bytes, there are {length}")]
    Truncated {
        /// Pages in use, by the meta page.
        pages: u64,
        /// Bytes they take.
        needed: u64,
        /// Bytes there are.
        length: u64,
    },
    /// A page points outside.
    #[error("bbolt database is damaged: page {page} is not among its {pages} pages")]
    Range {
        /// The page's number.
        page: u64,
        /// How many there are.
        pages: u64,
    },
    /// A page says to be another.
    #[error("bbolt database is damaged: page {page} says to be page {found}")]
    Number {
        /// The page's number.
        page: u64,
        /// What stands in it.
        found: u64,
    },
    /// A page is neither branch nor leaf.
    #[error("bbolt database is damaged: page {page} has kind {flags:#x}")]
    Kind {
        /// The page's number.
        page: u64,
        /// Its flags.
        flags: u16,
    },
    /// An element reaches out of its page.
    #[error("bbolt database is damaged: element {element} of page {page}")]
    Element {
        /// The page's number.
        page: u64,
        /// The element's.
        element: usize,
    },
    /// A page below a branch without any element.
    #[error("bbolt database is damaged: page {page} is empty")]
    Empty {
        /// The page's number.
        page: u64,
    },
    /// Keys do not ascend: also where a page is met twice.
    #[error("bbolt database is damaged: keys of page {page} are out of order")]
    Order {
        /// The page's number.
        page: u64,
    },
    /// Branches below branches without end.
    #[error("bbolt database is damaged: page {page} lies deeper than any tree is")]
    Depth {
        /// The page's number.
        page: u64,
    },
    /// A bucket's own record is too short.
    #[error("bbolt database is damaged: bucket {0:?}")]
    Bucket(String),
}
