//! A revision: which transaction, and which change of it.

/// A transaction's main revision and the number of the change within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The transaction.
    pub main: i64,
    /// The change, from 0.
    pub sub: i64,
}

impl Revision {
    /// Bytes of [`Revision::encode`].
    pub const LEN: usize = 17;

    /// etcd's form: both parts big-endian with `_` between. Orders as the revision does, since
    /// neither part is negative.
    // upstream: etcd v3, the key of a revision in the backend
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [b'_'; Self::LEN];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[9..].copy_from_slice(&self.sub.to_be_bytes());
        bytes
    }

    /// The inverse of [`Revision::encode`]; bytes after it are not looked at.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let main = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let sub = i64::from_be_bytes(bytes.get(9..Self::LEN)?.try_into().ok()?);
        (bytes[8] == b'_').then_some(Self { main, sub })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_order_as_revisions_do() {
        let revisions = [(1, 0), (1, 1), (2, 0), (255, 3), (256, 0), (i64::MAX, 9)];
        let revisions = revisions.map(|(main, sub)| Revision { main, sub });
        for pair in revisions.windows(2) {
            assert!(pair[0].encode() < pair[1].encode());
        }
        for revision in revisions {
            assert_eq!(Revision::decode(&revision.encode()), Some(revision));
        }
        assert_eq!(Revision::decode(b"short"), None);
    }
}
