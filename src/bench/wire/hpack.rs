//! Headers as HTTP/2 packs them (RFC 7541): ours, always the same, and what of answers matters here.

use std::collections::VecDeque;

use keelson_http2::hpack::{STATIC, number, string};

/// Values of `:status` in the static table, from index 8 on.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
/// Size of the dynamic table that both sides begin with, and that we leave so.
pub(super) const TABLE_SIZE: usize = 4096;
/// What an entry of it counts beyond its text.
const ENTRY_OVERHEAD: usize = 32;

/// Packs the headers of calls. From the second call on a path they are a byte each.
pub(super) struct Encoder {
    https: bool,
    authority: String,
    /// Paths in the peer's table, each with how many entries came before it.
    paths: Vec<(&'static str, usize)>,
    /// Entries in the peer's table.
    count: usize,
    table: Table,
}

#[derive(PartialEq, Eq)]
enum Table {
    Kept,
    /// To be told that it is not used, as the peer does not want one of the usual size.
    Refused,
    Without,
}

/// Headers of every call, and their names' indexes in the static table, if there.
const CONSTANT: [(u8, &str, &str); 3] = [
    (31, "content-type", "application/grpc"),
    (0, "te", "trailers"),
    (58, "user-agent", "keelson-bench"),
];
/// Entries that the first call puts into the table before those: authority and path.
const CONSTANT_AFTER: usize = 2;

impl Encoder {
    pub(super) fn new(https: bool, authority: &str) -> Self {
        let authority = authority.to_owned();
        Self { https, authority, paths: Vec::new(), count: 0, table: Table::Kept }
    }

    /// The peer's limit for its table.
    pub(super) fn limit(&mut self, size: usize) {
        if size < TABLE_SIZE && self.table == Table::Kept {
            self.table = Table::Refused;
        }
    }

    pub(super) fn encode(&mut self, path: &'static str, out: &mut Vec<u8>) {
        if self.table != Table::Kept {
            return self.literals(path, out);
        }
        let first = self.count == 0;
        out.extend([0x83, self.scheme()]);
        if first {
            out.push(0x41);
            text(&self.authority, out);
            self.count += 1;
        } else {
            out.push(self.entry(0));
        }
        match self.paths.iter().find(|(known, _)| *known == path) {
            Some((_, ordinal)) => out.push(self.entry(*ordinal)),
            None => {
                out.push(0x44);
                text(path, out);
                self.paths.push((path, self.count));
                self.count += 1;
            }
        }
        if first {
            for (index, name, value) in CONSTANT {
                field(0x40 | index, index == 0, name, value, out);
            }
            self.count += CONSTANT.len();
        } else {
            out.extend((0..CONSTANT.len()).map(|ordinal| self.entry(CONSTANT_AFTER + ordinal)));
        }
    }

    /// All of them in full, for a peer without a table.
    fn literals(&mut self, path: &str, out: &mut Vec<u8>) {
        if self.table == Table::Refused {
            out.push(0x20);
            self.table = Table::Without;
        }
        out.extend([0x83, self.scheme(), 4]);
        text(path, out);
        out.push(1);
        text(&self.authority, out);
        for (_, name, value) in CONSTANT {
            field(0, true, name, value, out);
        }
    }

    fn scheme(&self) -> u8 {
        if self.https { 0x87 } else { 0x86 }
    }

    /// The byte of the entry that came `ordinal`th into the table.
    fn entry(&self, ordinal: usize) -> u8 {
        let index = STATIC.len() + self.count - ordinal;
        // A few paths beside the constants: one byte holds up to 126.
        0x80 | u8::try_from(index).expect("fewer paths than a byte can count")
    }
}

fn field(kind: u8, named: bool, name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(kind);
    if named {
        text(name, out);
    }
    text(value, out);
}

fn text(text: &str, out: &mut Vec<u8>) {
    // Of seven bits, the largest number says that more bytes follow.
    match text.len() {
        short @ ..127 => out.push(short as u8),
        long => {
            out.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                out.push(rest as u8 | 128);
                rest >>= 7;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// What matters of an answer's headers and trailers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) http: Option<u16>,
    pub(super) grpc: Option<u32>,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Http,
    Grpc,
    Message,
    Other,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        match name {
            b":status" => Self::Http,
            b"grpc-status" => Self::Grpc,
            b"grpc-message" => Self::Message,
            _ => Self::Other,
        }
    }
}

struct Entry {
    name: Name,
    name_length: usize,
    value: Vec<u8>,
}

impl Entry {
    fn size(&self) -> usize {
        self.name_length + self.value.len() + ENTRY_OVERHEAD
    }
}

/// Unpacks what one peer sends, in order.
#[derive(Default)]
pub(super) struct Decoder {
    /// The newest first.
    table: VecDeque<Entry>,
    size: usize,
    limit: Option<usize>,
}

impl Decoder {
    /// Adds a block to `answered`; none if it is malformed.
    pub(super) fn decode(&mut self, block: &[u8], answered: &mut Answered) -> Option<()> {
        let mut rest = block;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = number(&mut rest, 7).ok()?;
                self.indexed(index, answered)?;
            } else if first & 0xe0 == 0x20 {
                let limit = number(&mut rest, 5).ok()?;
                self.limit = Some(limit).filter(|limit| *limit <= TABLE_SIZE);
                self.limit?;
                self.evict(0);
            } else {
                let keep = first & 0x40 != 0;
                let index = number(&mut rest, if keep { 6 } else { 4 }).ok()?;
                let (name, name_length) = match index {
                    0 => {
                        let name = taken(&mut rest)?;
                        (Name::of(&name), name.len())
                    }
                    index => self.name(index)?,
                };
                let value = taken(&mut rest)?;
                note(name, &value, answered);
                if keep {
                    let entry = Entry { name, name_length, value };
                    self.evict(entry.size());
                    if entry.size() <= self.limit.unwrap_or(TABLE_SIZE) {
                        self.size += entry.size();
                        self.table.push_front(entry);
                    }
                }
            }
        }
        Some(())
    }

    fn indexed(&self, index: usize, answered: &mut Answered) -> Option<()> {
        match index {
            0 => return None,
            8..=14 => answered.http = Some(STATUSES[index - 8]),
            index if index <= STATIC.len() => {}
            index => {
                let entry = self.table.get(index - STATIC.len() - 1)?;
                note(entry.name, &entry.value, answered);
            }
        }
        Some(())
    }

    fn name(&self, index: usize) -> Option<(Name, usize)> {
        match STATIC.get(index - 1) {
            Some((name, _)) => Some((Name::of(name.as_bytes()), name.len())),
            None => {
                let entry = self.table.get(index - STATIC.len() - 1)?;
                Some((entry.name, entry.name_length))
            }
        }
    }

    fn evict(&mut self, wanted: usize) {
        while self.size + wanted > self.limit.unwrap_or(TABLE_SIZE) {
            let Some(entry) = self.table.pop_back() else { return };
            self.size -= entry.size();
        }
    }
}

fn note(name: Name, value: &[u8], answered: &mut Answered) {
    let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    match name {
        Name::Http => answered.http = number().and_then(|number| u16::try_from(number).ok()),
        Name::Grpc => answered.grpc = number(),
        Name::Message => answered.message = message(value),
        Name::Other => {}
    }
}

/// gRPC's messages have bytes that a header cannot hold as `%` and two digits.
fn message(value: &[u8]) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value);
    while let Some((&first, tail)) = rest.split_first() {
        let coded = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let coded = coded.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match coded {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The string at the front of a block.
fn taken(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    string(rest, &mut text).ok().map(|()| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decoder: &mut Decoder, block: &[u8]) -> Option<Answered> {
        let mut answered = Answered::default();
        decoder.decode(block, &mut answered).map(|()| answered)
    }

    #[test]
    fn a_status_is_known_again_from_the_table() {
        let mut decoder = Decoder::default();
        let mut first = vec![0x88, 0x40];
        text("grpc-status", &mut first);
        text("0", &mut first);
        first.push(0x40);
        text("x-other", &mut first);
        text("y", &mut first);
        let ok = Answered { http: Some(200), grpc: Some(0), message: String::new() };
        assert_eq!(read(&mut decoder, &first), Some(ok));
        let again = read(&mut decoder, &[0x80 | 63]).expect("the older entry");
        assert_eq!(again.grpc, Some(0));
        // Its name with another value, not kept.
        let mut refused = vec![0x0f, 63 - 15];
        text("8", &mut refused);
        assert_eq!(read(&mut decoder, &refused).expect("a literal").grpc, Some(8));
        assert_eq!(read(&mut decoder, &[0x80 | 64]), None, "no such entry");
        // A smaller table drops what is in it.
        assert_eq!(read(&mut decoder, &[0x20, 0x80 | 62]), None);
    }

    #[test]
    fn what_the_encoder_packs_stays_a_byte_a_header() {
        let mut encoder = Encoder::new(false, "127.0.0.1:2379");
        let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
        encoder.encode("/etcdserverpb.KV/Put", &mut first);
        encoder.encode("/etcdserverpb.KV/Range", &mut second);
        encoder.encode("/etcdserverpb.KV/Put", &mut third);
        assert!(first.len() > 80);
        // Five entries before the new path: the authority came first and is last in the table.
        assert_eq!(second[..4], [0x83, 0x86, 0x80 | 66, 0x44]);
        assert_eq!(second[second.len() - 3..], [0x80 | 65, 0x80 | 64, 0x80 | 63]);
        assert_eq!(third, [0x83, 0x86, 0x80 | 67, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63]);
        let mut decoder = Decoder::default();
        for block in [first, second, third] {
            read(&mut decoder, &block).expect("well formed");
        }
    }

    #[test]
    fn messages_are_read_as_they_were_meant() {
        assert_eq!(
            message(b"no%20such%20key: 5%25, %zz %e2%82%ac"),
            "no such key: 5%, %zz \u{20ac}"
        );
    }

    #[test]
    fn rubbish_is_refused() {
        for block in [&[0x40_u8][..], &[0x80], &[0x40, 0x7f], &[0x3f, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(read(&mut Decoder::default(), block), None, "{block:x?}");
        }
    }
}
