//! KV: ranges, writes, transactions, compaction.

mod compact;
mod delete_range;
mod put;
mod range;
mod range_cursor;
mod range_part;
mod range_stream;
mod txn;

pub(crate) use compact::compact;
pub(crate) use delete_range::delete_range;
pub(crate) use put::put;
pub(crate) use range::range;
pub(crate) use range_stream::range_stream;
pub(crate) use txn::txn;
