//! The Huffman code of HPACK strings (RFC 7541, appendix B), for reading.

/// Bits of each byte's code, and of the end mark's. The code is canonical: shorter codes come first,
/// and among equals the smaller byte, so that the lengths say it all.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const BITS_MAX: usize = 30;
const CODES: Codes = Codes::of(&LENGTHS);

/// Where the codes of each length begin.
struct Codes {
    first: [u32; BITS_MAX + 1],
    count: [u32; BITS_MAX + 1],
    index: [u32; BITS_MAX + 1],
    symbols: [u16; 257],
}

impl Codes {
    const fn of(lengths: &[u8; 257]) -> Self {
        let (mut first, mut count, mut index) =
            ([0; BITS_MAX + 1], [0; BITS_MAX + 1], [0; BITS_MAX + 1]);
        let mut symbols = [0; 257];
        let (mut code, mut taken, mut bits) = (0, 0, 1);
        while bits <= BITS_MAX {
            code <<= 1;
            first[bits] = code;
            index[bits] = taken;
            let mut symbol = 0;
            while symbol < lengths.len() {
                if lengths[symbol] as usize == bits {
                    symbols[taken as usize] = symbol as u16;
                    taken += 1;
                    code += 1;
                    count[bits] += 1;
                }
                symbol += 1;
            }
            bits += 1;
        }
        Self { first, count, index, symbols }
    }
}

/// The text; none where it is not one.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(coded.len() * 2);
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            if bits > BITS_MAX {
                return None;
            }
            let offset = code.wrapping_sub(CODES.first[bits]);
            if offset < CODES.count[bits] {
                let symbol = CODES.symbols[(CODES.index[bits] + offset) as usize];
                text.push(u8::try_from(symbol).ok()?);
                (code, bits) = (0, 0);
            }
        }
    }
    // What is left is padding: less than a byte of ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_examples_of_the_standard() {
        // RFC 7541, C.4.1 and C.6.1.
        let cases: [(&[u8], &str); 3] = [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
                "www.example.com",
            ),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
        ];
        for (coded, text) in cases {
            assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(decode(&[0x00]), None, "padding is ones");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None, "the end mark is no text");
    }
}
