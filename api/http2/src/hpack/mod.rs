//! Header compression: reading what the other side sends. The pieces that say nothing of requests
//! serve its clients too.
// upstream: RFC 7541

mod decoder;
mod field;
mod huffman;
mod table;

pub(crate) use decoder::Decoder;
pub use decoder::{HpackError, number, string};
pub(crate) use field::{Field, Pseudo};
pub use table::STATIC;
