//! A request encoded once, whose key's number is written anew for each use.

use bytes::Bytes;
use prost::Message;

/// Digits of a key's number.
const DIGITS: usize = 20;
/// What stands for them until they are known.
const HOLE: [u8; DIGITS] = [b'#'; DIGITS];

/// Encoded bytes and where the key's number stands in them.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    holes: Vec<usize>,
}

impl Template {
    /// Of a request made for the key that it is handed.
    pub(crate) fn new<M: Message>(prefix: &str, make: impl FnOnce(Bytes) -> M) -> Self {
        let mut key = prefix.as_bytes().to_vec();
        key.extend_from_slice(&HOLE);
        let bytes = make(key.into()).encode_to_vec();
        let holes = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&HOLE)).collect();
        Self { bytes, holes }
    }

    /// The request for key `number`.
    pub(crate) fn of(&mut self, number: u64) -> &[u8] {
        let digits = digits(number);
        for hole in &self.holes {
            self.bytes[*hole..hole + DIGITS].copy_from_slice(&digits);
        }
        &self.bytes
    }
}

/// A number as keys have it: all digits, so that their order is the numbers'.
pub(crate) fn digits(mut number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use keelson_proto::etcdserverpb as pb;

    use super::*;

    #[test]
    fn every_use_has_its_own_key() {
        let put =
            |key| pb::PutRequest { key, value: Bytes::from_static(b"v"), ..Default::default() };
        let mut template = Template::new("/bench/", put);
        for number in [7, u64::MAX] {
            let key = Bytes::from(format!("/bench/{number:020}"));
            assert_eq!(template.of(number), put(key).encode_to_vec());
        }
    }
}
