//! Strings in HPACK's Huffman code, decoded.
// upstream: RFC 7541, appendix B

use std::sync::LazyLock;

/// The code is canonical: lengths and the order of the symbols say it all. The end-of-string symbol
/// is the last of 30 bits.
const SYMBOLS: [(u32, &[u8]); 21] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\x00$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, b"\\\xc3\xd0"),
    (20, b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2"),
    (21, b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6"),
    (
        22,
        b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\
          \xc6\xe4\xe8\xe9",
    ),
    (
        23,
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\
          \xb6\xb7\xbc\xbf\xc5\xe7\xef",
    ),
    (24, b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed"),
    (25, b"\xc7\xcf\xea\xeb"),
    (26, b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff"),
    (27, b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe"),
    (
        28,
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\
          \x1c\x1d\x1e\x1f\x7f\xdc\xf9",
    ),
    (30, b"\x0a\x0d\x16"),
];

/// Codes of one length.
struct Length {
    bits: u32,
    /// The first code that is longer, shifted to the top of 32 bits; all below are of this length
    /// or shorter.
    end: u64,
    first: u32,
    symbols: &'static [u8],
}

static LENGTHS: LazyLock<Vec<Length>> = LazyLock::new(|| {
    let (mut code, mut last) = (0u32, 0);
    let lengths = SYMBOLS.iter().map(|(bits, symbols)| {
        code <<= bits - last;
        last = *bits;
        let first = code;
        code += u32::try_from(symbols.len()).unwrap_or(0);
        Length { bits: *bits, end: u64::from(code) << (32 - bits), first, symbols }
    });
    lengths.collect()
});

/// Appends the string to `out`; false: it is not well formed.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let lengths = &*LENGTHS;
    let (mut held, mut bits, mut at) = (0u64, 0u32, 0);
    loop {
        while bits <= 56 && at < coded.len() {
            held |= u64::from(coded[at]) << (56 - bits);
            bits += 8;
            at += 1;
        }
        let top = held >> 32;
        let Some(length) = lengths.iter().find(|length| top < length.end) else {
            // Ones alone: padding, or the end-of-string symbol, which must not be there.
            return is_padding(held, bits);
        };
        if length.bits > bits {
            return is_padding(held, bits);
        }
        let code = u32::try_from(top >> (32 - length.bits)).unwrap_or(u32::MAX);
        let Some(symbol) = length.symbols.get((code - length.first) as usize) else { return false };
        out.push(*symbol);
        held <<= length.bits;
        bits -= length.bits;
    }
}

/// Fewer than eight ones.
fn is_padding(held: u64, bits: u32) -> bool {
    bits < 8 && (bits == 0 || held >> (64 - bits) == (1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hex: &str) -> Option<Vec<u8>> {
        let coded: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let mut out = Vec::new();
        decode(&coded, &mut out).then_some(out)
    }

    #[test]
    fn the_standards_examples() {
        assert_eq!(decoded("f1e3c2e5f23a6ba0ab90f4ff").unwrap(), b"www.example.com");
        assert_eq!(decoded("a8eb10649cbf").unwrap(), b"no-cache");
        assert_eq!(decoded("25a849e95ba97d7f").unwrap(), b"custom-key");
        assert_eq!(
            decoded("d07abe941054d444a8200595040b8166e082a62d1bff").unwrap(),
            b"Mon, 21 Oct 2013 20:13:21 GMT"
        );
        assert_eq!(decoded("6402").unwrap(), b"302");
        assert_eq!(decoded("aec3771a4b").unwrap(), b"private");
        assert_eq!(decoded("").unwrap(), b"");
    }

    #[test]
    fn every_symbol_has_one_code_and_comes_back() {
        let mut seen = std::collections::BTreeSet::new();
        for length in &*LENGTHS {
            for (offset, symbol) in length.symbols.iter().enumerate() {
                assert!(seen.insert(*symbol));
                let code = u64::from(length.first) + offset as u64;
                let padded = (code << (40 - length.bits)) | ((1 << (40 - length.bits)) - 1);
                let bytes = padded.to_be_bytes();
                let whole = length.bits.div_ceil(8) as usize;
                let mut out = Vec::new();
                assert!(decode(&bytes[3..3 + whole], &mut out), "{symbol}");
                assert_eq!(out, [*symbol]);
            }
        }
        assert_eq!(seen.len(), 256);
    }

    #[test]
    fn wrong_padding_and_the_end_symbol_are_refused() {
        assert_eq!(decoded("f1e3c2e5f23a6ba0ab90f400"), None);
        assert_eq!(decoded("ff"), None);
        assert_eq!(decoded("00"), None);
        assert_eq!(decoded("ffffffff"), None);
        assert_eq!(decoded("3fffffff"), None);
    }
}
