//! Header compression: decoding what clients send. What is sent is in [`crate::block`].
// upstream: RFC 7541

mod decoder;
mod field;
mod huffman;
mod table;

pub(crate) use decoder::Decoder;
pub(crate) use field::{Field, Pseudo};
