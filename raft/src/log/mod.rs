//! The replicated log on the WAL: what the consensus library appends, votes and reads back.

mod cache;
mod driver;
mod reader;
mod records;
mod store;
#[cfg(test)]
mod suite;

pub use store::{LogOptions, LogStore, OpenLogError};

pub(crate) use records::{
    decode_membership, encode_membership, entry_from_record, entry_record, membership_message,
    peer_member, peer_message, stored_membership,
};
