//! Just enough of an answer's protobuf to check it without building it.

/// One field's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number of any width.
    Number(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message in their order; ends early where it is malformed.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).ok()?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => Value::Number(u64::from_le_bytes(take(&mut self.0, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                Value::Bytes(take(&mut self.0, length)?)
            }
            5 => {
                Value::Number(u64::from(u32::from_le_bytes(take(&mut self.0, 4)?.try_into().ok()?)))
            }
            _ => return None,
        };
        Some((number, value))
    }
}

/// The revision in the header that every answer of etcd has as its first field; 0 without one.
pub(crate) fn revision(message: &[u8]) -> i64 {
    let Some((1, Value::Bytes(header))) = Fields(message).next() else { return 0 };
    Fields(header)
        .find_map(|field| match field {
            (3, Value::Number(revision)) => Some(revision as i64),
            _ => None,
        })
        .unwrap_or(0)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use keelson_proto::etcdserverpb as pb;
    use prost::Message as _;

    use super::*;

    #[test]
    fn finds_the_revision_that_the_library_wrote() {
        for wanted in [1, 300, i64::MAX] {
            let header =
                pb::ResponseHeader { revision: wanted, raft_term: 7, ..Default::default() };
            let answer = pb::PutResponse { header: Some(header), ..Default::default() };
            assert_eq!(revision(&answer.encode_to_vec()), wanted);
        }
        assert_eq!(revision(&[]), 0);
        assert_eq!(revision(&[0x0a, 0x7f, 0x18]), 0, "cut off");
    }
}
