//! The multi-version key space: pure rules over an engine.
//!
//! Three views of the same data lie in the engine (see [`keys`]): what each revision did (the
//! truth), the newest value of each key (one scan answers a range at the newest revision), and
//! which revisions each key has (ranges in the past). Reads go through [`Reader`]; writes go into
//! an overlay and leave as one batch.
//!
//! [`Reader`]: crate::engine::Reader

pub mod check;
pub mod compaction;
mod compare;
mod hash;
pub mod keys;
mod range;
mod revision;
mod transaction;
mod txn;

pub use hash::{HashKv, hash_kv};
pub use range::{ReadError, Space, part, range};
pub use revision::Revision;
pub use transaction::{Before, Change, ChangeKind, Growth, Transaction};
pub use txn::{
    Limits, TxnError, check_put, header, is_read_only, is_serializable, read_txn, run_delete_range,
    run_put, txn,
};
