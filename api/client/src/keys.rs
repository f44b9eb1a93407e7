//! Ranges of keys, by etcd's convention.

use bytes::Bytes;

/// The end of the range of all keys that begin with `prefix`; `"\0"` (no end) where there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            return Bytes::from(end);
        }
        end.pop();
    }
    Bytes::from_static(b"\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_next_key_that_lacks_the_prefix() {
        for (prefix, end) in [
            (&b"/registry/pods/"[..], &b"/registry/pods0"[..]),
            (b"a\xff", b"b"),
            (b"\xff\xff", b"\0"),
            (b"", b"\0"),
        ] {
            assert_eq!(prefix_end(prefix), end);
        }
    }
}
