//! Header blocks: names and values, compressed as one stream a connection.

use std::collections::BTreeMap;

use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// A header block may have at most so many bytes once it is inflated.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// The flag of a zlib head that says that a dictionary's checksum follows.
const PRESET_DICTIONARY: u8 = 0x20;

/// Why a header block cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// The compressed stream is damaged.
    #[error("damaged header block")]
    Compression,
    /// More than a port-forward's headers can be.
    #[error("header block of more than {BLOCK_BYTES_MAX} bytes")]
    TooLong,
    /// Lengths that point past the end, or text that is none.
    #[error("malformed header block")]
    Malformed,
}

/// Reads the header blocks of one connection, which must come in order.
pub(super) struct HeaderReader {
    inflate: Decompress,
    begun: bool,
}

impl HeaderReader {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), begun: false }
    }

    /// Names and values of a block.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<BTreeMap<String, String>, HeaderError> {
        let mut block = block;
        if !self.begun {
            block = self.begin(block)?;
        }
        parse(&self.inflate(block)?)
    }

    /// Takes the head of the zlib stream off. What a preset dictionary does, a stored block with the
    /// same bytes does as well: they stand in the window that later blocks refer to.
    fn begin<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], HeaderError> {
        let (head, rest) = block.split_at_checked(2).ok_or(HeaderError::Compression)?;
        self.begun = true;
        if head[1] & PRESET_DICTIONARY == 0 {
            return Ok(rest);
        }
        self.inflate(&stored(&dictionary()))?;
        rest.get(4..).ok_or(HeaderError::Compression)
    }

    fn inflate(&mut self, mut input: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let mut output = Vec::with_capacity(4096);
        loop {
            let before = (self.inflate.total_in(), output.len());
            let status = self
                .inflate
                .decompress_vec(input, &mut output, FlushDecompress::Sync)
                .map_err(|_| HeaderError::Compression)?;
            let used = usize::try_from(self.inflate.total_in() - before.0).unwrap_or(usize::MAX);
            input = input.get(used..).ok_or(HeaderError::Compression)?;
            if output.len() > BLOCK_BYTES_MAX {
                return Err(HeaderError::TooLong);
            }
            let full = output.len() == output.capacity();
            if status == Status::StreamEnd || (input.is_empty() && !full) {
                return Ok(output);
            }
            if full {
                output.reserve(4096);
            } else if used == 0 && output.len() == before.1 {
                return Err(HeaderError::Compression);
            }
        }
    }
}

/// A block of a deflate stream that holds `bytes` as they are; others follow.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut block = vec![0];
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&(!length).to_le_bytes());
    block.extend_from_slice(bytes);
    block
}

/// A header block without headers; `first` says whether the stream of blocks begins with it.
pub(super) fn empty_block(first: bool) -> Vec<u8> {
    // 32 KiB window, no dictionary: a reader that has one need not use it.
    let mut block = if first { vec![0x78, 0x01] } else { Vec::new() };
    block.extend(stored(&0_u32.to_be_bytes()));
    // As a flush ends: readers look for more until an empty block tells them that this was all.
    block.extend(stored(b""));
    block
}

fn parse(mut bytes: &[u8]) -> Result<BTreeMap<String, String>, HeaderError> {
    let count = take_u32(&mut bytes)?;
    let mut headers = BTreeMap::new();
    for _ in 0..count {
        let name = take_text(&mut bytes)?;
        let value = take_text(&mut bytes)?;
        headers.insert(name.to_ascii_lowercase(), value);
    }
    Ok(headers)
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, HeaderError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(HeaderError::Malformed)?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*number))
}

fn take_text(bytes: &mut &[u8]) -> Result<String, HeaderError> {
    let length = take_u32(bytes)?;
    let length = usize::try_from(length).map_err(|_| HeaderError::Malformed)?;
    let (text, rest) = bytes.split_at_checked(length).ok_or(HeaderError::Malformed)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| HeaderError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        let adler = dictionary().iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        assert_eq!(adler.1 << 16 | adler.0, 0xe3c6_a7c2);
    }

    /// Two blocks as zlib writes them with the dictionary.
    #[test]
    fn blocks_are_read_in_order() {
        let mut reader = HeaderReader::new();
        for (block, kind) in [(FIRST, "error"), (SECOND, "data")] {
            let block = hex::decode(block).unwrap();
            let headers = reader.read(&block).unwrap();
            assert_eq!(headers["streamtype"], kind);
            assert_eq!(headers["port"], "8080");
            assert_eq!(headers["requestid"], "0");
        }
    }

    const FIRST: &str = "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff";
    const SECOND: &str = "c2aa19540e2512d60b000000ffff";

    #[test]
    fn what_is_no_header_block_is_refused() {
        let check = |block: &[u8], expected| {
            assert_eq!(HeaderReader::new().read(block), Err(expected));
        };
        check(b"", HeaderError::Compression);
        check(b"\x78\x01\xff\xff\xff", HeaderError::Compression);
        let mut short = vec![0x78, 0x01];
        short.extend(stored(&[0, 0, 0, 1, 0, 0, 0, 9, b'x']));
        check(&short, HeaderError::Malformed);
        assert_eq!(HeaderReader::new().read(&empty_block(true)), Ok(BTreeMap::new()));
    }
}
