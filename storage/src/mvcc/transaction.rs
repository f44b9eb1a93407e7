//! The writes of one transaction: one main revision, its changes numbered from 0.

use bytes::Bytes;
use keelson_proto::mvccpb::KeyValue;
use prost::Message;

use super::keys::{self, IsTombstone};
use super::{ReadError, Revision, Space};
use crate::engine::{Overlay, Reader};

/// What a change did to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Set it.
    Put,
    /// Deleted it.
    Delete,
}

/// One change, as watchers get to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub kind: ChangeKind,
    /// When.
    pub revision: Revision,
    /// The key.
    pub key: Bytes,
    /// The encoded `KeyValue` of the event: of a deletion key and `mod_revision` alone.
    pub kv: Bytes,
    /// The encoded `KeyValue` before, if the key existed.
    pub prev_kv: Option<Bytes>,
}

/// Changes made since the last revision, in an overlay of the engine.
pub struct Transaction<'a, 'b> {
    overlay: &'a mut Overlay<'b>,
    /// The revision before.
    begin: i64,
    changes: Vec<Change>,
    growth: Growth,
}

/// What a transaction adds to the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Growth {
    /// Bytes of all revisions.
    pub size: i64,
    /// Keys that exist.
    pub keys: i64,
    /// Keys set.
    pub puts: u64,
    /// Bytes of their keys and values.
    pub put_bytes: u64,
}

impl<'a, 'b> Transaction<'a, 'b> {
    /// Begins on the state at revision `begin`.
    pub fn new(overlay: &'a mut Overlay<'b>, begin: i64) -> Self {
        Self { overlay, begin, changes: Vec::new(), growth: Growth::default() }
    }

    /// Its own revision if it has changed something, else the one it began on.
    pub fn revision(&self) -> i64 {
        self.begin + i64::from(!self.changes.is_empty())
    }

    /// The keys as they are now, its own changes included.
    pub fn space(&self) -> Space<'_> {
        Space { reader: self.overlay, at: None }
    }

    /// The keys at an earlier revision.
    pub fn space_at(&self, at: i64) -> Space<'_> {
        Space { reader: self.overlay, at: Some(at) }
    }

    /// Sets a key. The caller has checked the lease; `before` is the key as it was, if it existed.
    pub fn put(&mut self, key: &Bytes, value: Bytes, lease: i64, before: Option<Before>) {
        let revision = self.next();
        let prev_kv = before.as_ref().and_then(|before| self.before_all(before));
        let (create_revision, version, old_lease) = match before {
            Some(Before { kv, .. }) => (kv.create_revision, kv.version + 1, kv.lease),
            None => (revision.main, 1, 0),
        };
        self.growth.puts += 1;
        self.growth.put_bytes += (key.len() + value.len()) as u64;
        self.growth.keys += i64::from(version == 1);
        let kv = KeyValue {
            key: key.clone(),
            create_revision,
            mod_revision: revision.main,
            version,
            value,
            lease,
        };
        let kv = Bytes::from(kv.encode_to_vec());
        self.growth.size += (kv.len() + keys::REVISION_KEY_LEN) as i64;
        let batch = &mut self.overlay.batch;
        batch.put(keys::revision(revision, IsTombstone::No), kv.clone());
        batch.put(keys::newest(key), kv.clone());
        batch.put(keys::history(key, revision), Bytes::from_static(keys::PUT_MARK));
        if old_lease != lease {
            if old_lease != 0 {
                batch.delete(keys::attached(old_lease, key));
            }
            if lease != 0 {
                batch.put(keys::attached(lease, key), Bytes::new());
            }
        }
        let kind = ChangeKind::Put;
        self.changes.push(Change { kind, revision, key: key.clone(), kv, prev_kv });
    }

    /// Deletes the keys of a range and returns them as they were, in key order.
    pub fn delete_range(
        &mut self,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<Vec<KeyValue>, ReadError> {
        let mut found = Vec::new();
        self.space().walk(key, range_end, 0, &mut |encoded| {
            found.push(Before::decode(encoded)?);
            Ok(())
        })?;
        Ok(found.into_iter().map(|before| self.delete(before)).collect())
    }

    /// A key as it is now, to be handed to [`Transaction::put`].
    pub fn before(&self, key: &[u8]) -> Result<Option<Before>, ReadError> {
        self.space().get_encoded(key)?.map(Before::decode).transpose()
    }

    /// What reading sees.
    pub fn reader(&self) -> &dyn Reader {
        self.overlay
    }

    /// Ends it: the changes in order, and by how much the data grew.
    pub fn finish(self) -> (Vec<Change>, Growth) {
        (self.changes, self.growth)
    }

    fn delete(&mut self, before: Before) -> KeyValue {
        let revision = self.next();
        let prev_kv = self.before_all(&before);
        let old = before.kv;
        let key = old.key.clone();
        let tombstone = KeyValue { key: key.clone(), ..Default::default() };
        let stored = Bytes::from(tombstone.encode_to_vec());
        self.growth.keys -= 1;
        self.growth.size += (stored.len() + keys::REVISION_KEY_LEN + 1) as i64;
        let batch = &mut self.overlay.batch;
        batch.put(keys::revision(revision, IsTombstone::Yes), stored);
        batch.delete(keys::newest(&key));
        batch.put(keys::history(&key, revision), Bytes::from_static(keys::TOMBSTONE_MARK));
        if old.lease != 0 {
            batch.delete(keys::attached(old.lease, &key));
        }
        let event = KeyValue { mod_revision: revision.main, ..tombstone };
        self.changes.push(Change {
            kind: ChangeKind::Delete,
            revision,
            key,
            kv: Bytes::from(event.encode_to_vec()),
            prev_kv,
        });
        old
    }

    /// A key that exists, as it was at the revision before, whatever the transaction has done to it.
    fn before_all(&self, before: &Before) -> Option<Bytes> {
        if before.kv.mod_revision <= self.begin {
            return Some(before.encoded.clone());
        }
        let first = self.changes.iter().find(|change| change.key == before.kv.key);
        first.and_then(|first| first.prev_kv.clone())
    }

    fn next(&self) -> Revision {
        Revision { main: self.begin + 1, sub: self.changes.len() as i64 }
    }
}

/// A key before a change, decoded and as it lay there.
#[derive(Debug, Clone)]
pub struct Before {
    /// The key.
    pub kv: KeyValue,
    encoded: Bytes,
}

impl Before {
    fn decode(encoded: Bytes) -> Result<Self, ReadError> {
        let kv =
            KeyValue::decode(encoded.clone()).map_err(|_| ReadError::Damaged("a key's value"))?;
        Ok(Self { kv, encoded })
    }
}
