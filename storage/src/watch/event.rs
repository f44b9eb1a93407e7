//! One change as all watchers share it: its bytes on the wire are made once for all of them.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use keelson_proto::mvccpb;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::WatchSpec;
use crate::mvcc::check::contains;
use crate::mvcc::{Change, ChangeKind};

const FIELD_TYPE: u32 = 1;
const FIELD_KV: u32 = 2;
const FIELD_PREV_KV: u32 = 3;

/// A change, and its forms on the wire.
#[derive(Debug)]
pub struct SharedEvent {
    change: Change,
    plain: OnceLock<Bytes>,
    with_prev_kv: OnceLock<Bytes>,
}

impl SharedEvent {
    pub(crate) fn new(change: Change) -> Self {
        Self { change, plain: OnceLock::new(), with_prev_kv: OnceLock::new() }
    }

    /// What happened.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The encoded `mvccpb.Event`.
    pub fn encoded(&self, prev_kv: bool) -> &Bytes {
        match (&self.change.prev_kv, prev_kv) {
            (Some(before), true) => self.with_prev_kv.get_or_init(|| self.encode(Some(before))),
            _ => self.plain.get_or_init(|| self.encode(None)),
        }
    }

    /// The event as a message; `None` where its own bytes cannot be read.
    pub fn decoded(&self, prev_kv: bool) -> Option<mvccpb::Event> {
        let kv = |encoded: &Bytes| mvccpb::KeyValue::decode(encoded.clone()).ok();
        let mut event = mvccpb::Event { kv: Some(kv(&self.change.kv)?), ..Default::default() };
        if self.change.kind == ChangeKind::Delete {
            event.set_type(mvccpb::event::EventType::Delete);
        }
        if let (true, Some(before)) = (prev_kv, &self.change.prev_kv) {
            event.prev_kv = Some(kv(before)?);
        }
        Some(event)
    }

    /// Roughly the memory it takes, the key's former value included.
    pub fn size(&self) -> usize {
        let change = &self.change;
        64 + change.kv.len() + change.prev_kv.as_ref().map_or(0, Bytes::len)
    }

    fn encode(&self, before: Option<&Bytes>) -> Bytes {
        let field = |number: u32, bytes: &Bytes| {
            key_len(number) + encoded_len_varint(bytes.len() as u64) + bytes.len()
        };
        let kv = &self.change.kv;
        let length = 2 + field(FIELD_KV, kv) + before.map_or(0, |kv| field(FIELD_PREV_KV, kv));
        let mut out = BytesMut::with_capacity(length);
        if self.change.kind == ChangeKind::Delete {
            encode_key(FIELD_TYPE, WireType::Varint, &mut out);
            out.put_u8(1);
        }
        for (number, bytes) in [(FIELD_KV, Some(kv)), (FIELD_PREV_KV, before)] {
            let Some(bytes) = bytes else { continue };
            encode_key(number, WireType::LengthDelimited, &mut out);
            encode_varint(bytes.len() as u64, &mut out);
            out.put_slice(bytes);
        }
        out.freeze()
    }
}

impl WatchSpec {
    /// Whether the watcher wants this change, whatever its revision.
    pub(super) fn wants(&self, kind: ChangeKind, key: &[u8]) -> bool {
        let filtered = match kind {
            ChangeKind::Put => self.no_put,
            ChangeKind::Delete => self.no_delete,
        };
        !filtered && contains(&self.key, &self.range_end, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::Revision;

    #[test]
    fn the_bytes_are_those_of_the_message() {
        let kv = |version| mvccpb::KeyValue {
            key: "k".into(),
            value: vec![7; 300].into(),
            version,
            mod_revision: 5,
            ..Default::default()
        };
        for kind in [ChangeKind::Put, ChangeKind::Delete] {
            let event = SharedEvent::new(Change {
                kind,
                revision: Revision { main: 5, sub: 0 },
                key: "k".into(),
                kv: kv(2).encode_to_vec().into(),
                prev_kv: Some(kv(1).encode_to_vec().into()),
            });
            for prev_kv in [true, false] {
                let message = event.decoded(prev_kv).expect("own bytes");
                assert_eq!(event.encoded(prev_kv).as_ref(), message.encode_to_vec());
                assert_eq!(message.prev_kv.is_some(), prev_kv);
            }
        }
    }
}
