//! gRPC's framing and protobuf's wire format, as far as the gateway has to know them.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, decode_key, decode_varint};

/// Flag and length before each message.
const HEAD_BYTES: usize = 5;

/// A message as gRPC sends it.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEAD_BYTES + message.len());
    framed.put_u8(0);
    // Larger ones are refused long before.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The next whole message of what has come so far.
pub(super) fn take_message(received: &mut BytesMut) -> Option<Bytes> {
    let head = received.get(..HEAD_BYTES)?;
    let length = usize::try_from((&head[1..]).get_u32()).ok()?;
    if received.len() < HEAD_BYTES + length {
        return None;
    }
    received.advance(HEAD_BYTES);
    Some(received.split_to(length).freeze())
}

/// What stands in a field on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, as they come; `None` where it is damaged.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<(u32, Wire<'_>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let (number, kind) = decode_key(&mut message).ok()?;
        match kind {
            WireType::Varint => {
                found.push((number, Wire::Varint(decode_varint(&mut message).ok()?)))
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
                let (value, rest) = message.split_at_checked(length)?;
                found.push((number, Wire::Bytes(value)));
                message = rest;
            }
            WireType::SixtyFourBit => message = message.get(8..)?,
            WireType::ThirtyTwoBit => message = message.get(4..)?,
            WireType::StartGroup | WireType::EndGroup => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_or_not_at_all() {
        let mut received = BytesMut::new();
        received.extend_from_slice(&frame(b"abc"));
        received.extend_from_slice(&frame(b"")[..4]);
        assert_eq!(take_message(&mut received).unwrap().as_ref(), b"abc");
        assert_eq!(take_message(&mut received), None);
        received.put_u8(0);
        assert_eq!(take_message(&mut received).unwrap().as_ref(), b"");
        assert_eq!(take_message(&mut received), None);
    }

    #[test]
    fn damaged_messages_are_no_messages() {
        assert_eq!(fields(&[0x0a, 5, 1]), None);
        assert_eq!(fields(&[0x08]), None);
        assert_eq!(fields(&[0x08, 7, 0x12, 1, 9]).unwrap().len(), 2);
    }
}
