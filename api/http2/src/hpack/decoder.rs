//! Decoder: blocks of headers to fields, with the table that both sides keep.

use std::collections::VecDeque;

use super::field::Field;
use super::huffman;
use super::table::{STATIC, STATIC_FIELDS};

/// Size of the table that clients may fill: the standard's default.
const TABLE_SIZE: usize = 4096;
/// Longest number that is taken: lengths and places are far below.
const NUMBER_SHIFT_MAX: u32 = 21;

/// The block cannot be decoded, and nothing after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("headers that cannot be decoded")]
pub struct HpackError;

/// A field in the table.
#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    field: Field,
    size: usize,
}

/// The table of one connection.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// Changes of the table so far: while it is the same, a block means the same.
    changes: u64,
    scratch: (Vec<u8>, Vec<u8>),
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: TABLE_SIZE,
            changes: 0,
            scratch: Default::default(),
        }
    }

    /// Number of changes of the table.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Gives each field of a block, with its size, to `take`.
    pub(crate) fn decode(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(Field, usize),
    ) -> Result<(), HpackError> {
        let mut begins = true;
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let (field, size) = self.at(number(&mut block, 7)?)?;
                    take(field, size);
                }
                0x40.. => {
                    let (field, size) = self.literal(&mut block, 6, true)?;
                    take(field, size);
                }
                0x20.. => {
                    let limit = number(&mut block, 5)?;
                    if !begins || limit > TABLE_SIZE {
                        return Err(HpackError);
                    }
                    self.limit = limit;
                    self.changes += 1;
                    self.evict(0);
                    continue;
                }
                _ => {
                    let (field, size) = self.literal(&mut block, 4, false)?;
                    take(field, size);
                }
            }
            begins = false;
        }
        Ok(())
    }

    /// The field at a place of both tables.
    fn at(&self, place: usize) -> Result<(Field, usize), HpackError> {
        let place = place.checked_sub(1).ok_or(HpackError)?;
        if let Some((name, value)) = STATIC.get(place) {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            return Ok((Field::parse(name, value), Field::size(name, value)));
        }
        let entry = self.entries.get(place - STATIC_FIELDS).ok_or(HpackError)?;
        Ok((entry.field.clone(), entry.size))
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        bits: u32,
        keep: bool,
    ) -> Result<(Field, usize), HpackError> {
        let (mut name, mut value) = std::mem::take(&mut self.scratch);
        name.clear();
        value.clear();
        match number(block, bits)? {
            0 => string(block, &mut name)?,
            place => {
                let known = match STATIC.get(place - 1) {
                    Some((name, _)) => name.as_bytes(),
                    None => {
                        let entry = self.entries.get(place - 1 - STATIC_FIELDS);
                        &entry.ok_or(HpackError)?.name
                    }
                };
                name.extend_from_slice(known);
            }
        }
        string(block, &mut value)?;
        let (field, size) = (Field::parse(&name, &value), Field::size(&name, &value));
        if keep {
            self.changes += 1;
            self.evict(size);
            if size <= self.limit {
                self.size += size;
                let name = name.as_slice().into();
                self.entries.push_front(Entry { name, field: field.clone(), size });
            }
        }
        self.scratch = (name, value);
        Ok((field, size))
    }

    /// Makes room for so much.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size;
        }
    }
}

/// Takes a number with a prefix of so many bits from the front of a block.
pub fn number(block: &mut &[u8], bits: u32) -> Result<usize, HpackError> {
    let mask = (1u8 << bits) - 1;
    let first = take_byte(block)? & mask;
    if first < mask {
        return Ok(first.into());
    }
    let (mut number, mut shift) = (usize::from(mask), 0);
    loop {
        let byte = take_byte(block)?;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
        shift += 7;
        if shift > NUMBER_SHIFT_MAX {
            return Err(HpackError);
        }
    }
}

fn take_byte(block: &mut &[u8]) -> Result<u8, HpackError> {
    let (first, rest) = block.split_first().ok_or(HpackError)?;
    *block = rest;
    Ok(*first)
}

/// Takes a string from the front of a block and appends it to `out`.
pub fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let coded = block.first().ok_or(HpackError)? & 0x80 != 0;
    let length = number(block, 7)?;
    let (own, rest) = block.split_at_checked(length).ok_or(HpackError)?;
    *block = rest;
    if !coded {
        out.extend_from_slice(own);
    } else if !huffman::decode(own, out) {
        return Err(HpackError);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::field::Pseudo;
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn fields(decoder: &mut Decoder, hex: &str) -> Result<Vec<String>, HpackError> {
        let mut fields = Vec::new();
        decoder.decode(&bytes(hex), |field, _| {
            fields.push(match field {
                Field::Pseudo(Pseudo::Authority, value) => format!("{value:?}"),
                Field::Pseudo(pseudo, value) => format!("{pseudo:?} {value:?}"),
                Field::Regular(name, value) => format!("{name}: {}", value.to_str().unwrap()),
                Field::Malformed => "?".to_owned(),
            });
        })?;
        Ok(fields)
    }

    // upstream: RFC 7541, C.4
    #[test]
    fn the_standards_requests() {
        let mut decoder = Decoder::new();
        let first = fields(&mut decoder, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff").unwrap();
        let common = ["Method b\"GET\"", "Scheme b\"http\"", "Path b\"/\"", "b\"www.example.com\""];
        assert_eq!(first, common);
        let second = fields(&mut decoder, "8286 84be 5886 a8eb 1064 9cbf").unwrap();
        assert_eq!(second[..4], common);
        assert_eq!(second[4], "cache-control: no-cache");
        let third = "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf";
        let third = fields(&mut decoder, third).unwrap();
        assert_eq!(
            third[2..],
            ["Path b\"/index.html\"", "b\"www.example.com\"", "custom-key: custom-value"]
        );
        assert_eq!(decoder.size, 164);
        assert_eq!(decoder.changes(), 3);
    }

    #[test]
    fn the_table_is_bounded_and_can_be_made_smaller() {
        let mut decoder = Decoder::new();
        // `a`: 100 bytes, as often as it takes to push the first out.
        let literal = format!("40 01 61 64 {}", "62".repeat(100));
        for _ in 0..100 {
            fields(&mut decoder, &literal).unwrap();
        }
        assert_eq!(decoder.entries.len(), TABLE_SIZE / 133);
        assert!(fields(&mut decoder, "be").is_ok());
        fields(&mut decoder, "20").unwrap();
        assert_eq!(decoder.entries.len(), 0);
        assert_eq!(fields(&mut decoder, "be"), Err(HpackError));
        // Larger than allowed; not at the beginning.
        assert_eq!(fields(&mut decoder, "3fe2 ff7f"), Err(HpackError));
        assert_eq!(fields(&mut decoder, "82 20"), Err(HpackError));
    }

    #[test]
    fn rubbish_is_refused() {
        for rubbish in ["80", "ff ffff ffff ffff", "40", "41 05 61", "00 85 ff", "7f 80"] {
            assert_eq!(fields(&mut Decoder::new(), rubbish), Err(HpackError), "{rubbish}");
        }
    }
}
