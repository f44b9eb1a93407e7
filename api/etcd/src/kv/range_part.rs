//! A part of a range as it is sent: keys stay encoded as they lie in the store.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint};
use prost::{DecodeError, Message};

/// The field of a stream's answer that has the part.
const PART: u32 = 1;
/// The field of a part that has one key.
const KVS: u32 = 2;

/// Wire-identical twin of `etcdserverpb.RangeStreamResponse`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Part {
    /// Keys, each with its field's tag and length.
    kvs: Bytes,
    /// What the last part has: header, whether there are more keys, and their number.
    last: Option<(pb::ResponseHeader, bool, i64)>,
}

impl Part {
    /// The last one of a range of `count` keys.
    pub(super) fn last(keys: Keys, header: pb::ResponseHeader, more: bool, count: i64) -> Self {
        Self { kvs: keys.encoded.freeze(), last: Some((header, more, count)) }
    }

    /// What stands before the keys and what behind them.
    fn around(&self) -> (pb::RangeResponse, pb::RangeResponse) {
        let Some((header, more, count)) = self.last else { return Default::default() };
        let before = pb::RangeResponse { header: Some(header), ..Default::default() };
        (before, pb::RangeResponse { more, count, ..Default::default() })
    }
}

impl Message for Part {
    fn encode_raw(&self, into: &mut impl BufMut) {
        let (before, after) = self.around();
        encode_key(PART, WireType::LengthDelimited, into);
        encode_varint((before.encoded_len() + self.kvs.len() + after.encoded_len()) as u64, into);
        before.encode_raw(into);
        into.put_slice(&self.kvs);
        after.encode_raw(into);
    }

    fn encoded_len(&self) -> usize {
        let (before, after) = self.around();
        let length = before.encoded_len() + self.kvs.len() + after.encoded_len();
        1 + encoded_len_varint(length as u64) + length
    }

    /// Only ever sent.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        from: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        prost::encoding::skip_field(wire_type, tag, from, context)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The keys of a part that is being made.
#[derive(Debug, Default)]
pub(super) struct Keys {
    encoded: BytesMut,
    /// How many they are.
    pub(super) count: i64,
}

impl Keys {
    /// With room for so many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self { encoded: BytesMut::with_capacity(bytes), count: 0 }
    }

    /// Adds a `KeyValue`, encoded.
    pub(super) fn push(&mut self, kv: &[u8]) {
        encode_key(KVS, WireType::LengthDelimited, &mut self.encoded);
        encode_varint(kv.len() as u64, &mut self.encoded);
        self.encoded.put_slice(kv);
        self.count += 1;
    }

    /// Adds many.
    pub(super) fn extend(&mut self, kvs: &[KeyValue]) {
        for kv in kvs {
            encode_key(KVS, WireType::LengthDelimited, &mut self.encoded);
            encode_varint(kv.encoded_len() as u64, &mut self.encoded);
            kv.encode_raw(&mut self.encoded);
            self.count += 1;
        }
    }

    /// Their bytes.
    pub(super) fn size(&self) -> usize {
        self.encoded.len()
    }
}

impl From<Keys> for Part {
    /// One that others follow.
    fn from(keys: Keys) -> Self {
        Self { kvs: keys.encoded.freeze(), last: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twin_is_the_same_on_the_wire() {
        let kvs = [("a", 1), ("bc", i64::MAX)].map(|(key, mod_revision)| KeyValue {
            key: key.into(),
            value: vec![7; 300].into(),
            mod_revision,
            ..Default::default()
        });
        let header = pb::ResponseHeader { revision: 9, ..Default::default() };
        let keys = || {
            let mut keys = Keys::with_room(0);
            keys.push(&kvs[0].encode_to_vec());
            keys.extend(&kvs[1..]);
            assert_eq!(keys.count, 2);
            keys
        };
        let encoded = |header, more, count| {
            let part = pb::RangeResponse { header, kvs: kvs.to_vec(), more, count };
            pb::RangeStreamResponse { range_response: Some(part) }.encode_to_vec()
        };
        let part = Part::from(keys());
        assert_eq!(part.encode_to_vec(), encoded(None, false, 0));
        let last = Part::last(keys(), header, true, 77);
        assert_eq!(last.encode_to_vec(), encoded(Some(header), true, 77));
        let empty = pb::RangeStreamResponse { range_response: Some(Default::default()) };
        assert_eq!(Part::default().encode_to_vec(), empty.encode_to_vec());
    }
}
