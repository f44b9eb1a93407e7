//! The table of engine keys: a first byte for each family, never reused.
//!
//! | first byte | then | value |
//! |---|---|---|
//! | `a` | lease id, key | empty: the key is attached to the lease |
//! | `i` | key (escaped), revision | `p` or `t`: what the revision did to the key |
//! | `k` | key | its newest `KeyValue`; no entry for a deleted key |
//! | `l` | lease id | `StoredLease` |
//! | `m` | name | see the constants |
//! | `n` | member id | `MemberAttributes` |
//! | `o` | role name | `authpb.Role` |
//! | `r` | etcd's 17 bytes of a revision, `t` after a deletion's | `KeyValue`; of a deletion the key alone |
//! | `u` | user name | `authpb.User` |
//! | `w` | alarm, member id | empty: the alarm is raised |

use bytes::Bytes;

use super::Revision;

/// Version of this table.
pub const FORMAT: &[u8] = b"1";
/// Version of the format.
pub const META_FORMAT: &[u8] = b"mformat";
/// `StoredApplied`.
pub const META_APPLIED: &[u8] = b"mapplied";
/// Current revision, 8 bytes big-endian.
pub const META_REVISION: &[u8] = b"mrevision";
/// Compaction that is agreed, 8 bytes big-endian.
pub const META_COMPACTED: &[u8] = b"mcompacted";
/// Compaction that is carried out, 8 bytes big-endian.
pub const META_COMPACTION_DONE: &[u8] = b"mcompaction-done";
/// Logical size of all data ever written, 8 bytes big-endian.
pub const META_SIZE: &[u8] = b"msize";

/// Keys that exist, 8 bytes big-endian; where it is missing they are counted.
pub const META_KEYS: &[u8] = b"mkeys";
/// What compactions have freed of it on this member, 8 bytes big-endian.
pub const META_FREED: &[u8] = b"mfreed";
/// The version that a downgrade leads to; none is under way where this is missing.
pub const META_DOWNGRADE: &[u8] = b"mdowngrade";
/// `StoredAuth`.
pub const META_AUTH: &[u8] = b"mauth";

/// First byte of the revisions.
pub const REVISION: u8 = b'r';
const ATTACHED: u8 = b'a';
const HISTORY: u8 = b'i';
const NEWEST: u8 = b'k';
const LEASE: u8 = b'l';
const MEMBER: u8 = b'n';
const ROLE: u8 = b'o';
const USER: u8 = b'u';
const ALARM: u8 = b'w';

/// In the history: the revision set the key.
pub const PUT_MARK: &[u8] = b"p";
/// In the history: the revision deleted the key.
pub const TOMBSTONE_MARK: &[u8] = b"t";

/// Length of a revision's key.
pub const REVISION_KEY_LEN: usize = 1 + Revision::LEN;

/// What a revision did.
pub fn revision(revision: Revision, is_tombstone: IsTombstone) -> Vec<u8> {
    let mut key = Vec::with_capacity(REVISION_KEY_LEN + 1);
    key.push(REVISION);
    key.extend_from_slice(&revision.encode());
    if is_tombstone == IsTombstone::Yes {
        key.push(b't');
    }
    key
}

/// The first key a revision of this main number can have.
pub fn revision_start(main: i64) -> Vec<u8> {
    revision(Revision { main, sub: 0 }, IsTombstone::No)
}

/// Whether a revision deleted its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsTombstone {
    /// It did.
    Yes,
    /// It set the key.
    No,
}

/// The inverse of [`revision`].
pub fn parse_revision(key: &[u8]) -> Option<(Revision, IsTombstone)> {
    let (first, rest) = key.split_first()?;
    if *first != REVISION {
        return None;
    }
    let is_tombstone = match rest.get(Revision::LEN..)? {
        [] => IsTombstone::No,
        [b't'] => IsTombstone::Yes,
        _ => return None,
    };
    Some((Revision::decode(rest)?, is_tombstone))
}

/// The newest value of a key.
pub fn newest(key: &[u8]) -> Vec<u8> {
    prefixed(NEWEST, key)
}

/// The user's key in a key of [`newest`].
pub fn parse_newest(key: &[u8]) -> &[u8] {
    &key[1..]
}

/// The bounds of a range, by etcd's convention, among the newest values.
pub fn newest_bounds(key: &[u8], range_end: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let end = match range_end {
        b"" => {
            let mut end = newest(key);
            end.push(0);
            end
        }
        b"\0" => vec![NEWEST + 1],
        end => newest(end),
    };
    (newest(key), end)
}

/// One revision of one key.
pub fn history(key: &[u8], revision: Revision) -> Vec<u8> {
    let mut bytes = history_key(key);
    bytes.extend_from_slice(&revision.main.to_be_bytes());
    bytes.extend_from_slice(&revision.sub.to_be_bytes());
    bytes
}

/// The bounds of one key's revisions from `first` to `last`, both included.
pub fn history_of(key: &[u8], first: i64, last: i64) -> (Vec<u8>, Vec<u8>) {
    let start = history(key, Revision { main: first, sub: 0 });
    let end = match last.checked_add(1) {
        Some(next) => history(key, Revision { main: next, sub: 0 }),
        None => history(key, Revision { main: i64::MAX, sub: i64::MAX }),
    };
    (start, end)
}

/// The bounds of a range, by etcd's convention, in the history.
pub fn history_bounds(key: &[u8], range_end: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match range_end {
        b"" => history_of(key, 0, i64::MAX),
        b"\0" => (escaped(key), vec![HISTORY + 1]),
        end => (escaped(key), escaped(end)),
    }
}

/// The key, escaped as it stands in the history, and the revision.
pub fn parse_history(bytes: &[u8]) -> Option<(&[u8], Revision)> {
    let split = bytes.len().checked_sub(16)?;
    let (key, revision) = bytes.split_at(split);
    let main = i64::from_be_bytes(revision[..8].try_into().ok()?);
    let sub = i64::from_be_bytes(revision[8..].try_into().ok()?);
    Some((key, Revision { main, sub }))
}

/// A zero in the key becomes `00 ff` and `00 00` ends it: so keys order as they do bare, and none
/// is the beginning of another.
fn history_key(key: &[u8]) -> Vec<u8> {
    let mut bytes = escaped(key);
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

fn escaped(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 20);
    bytes.push(HISTORY);
    for byte in key {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes
}

/// A lease.
pub fn lease(id: i64) -> Vec<u8> {
    prefixed(LEASE, &id.to_be_bytes())
}

/// The bounds of all leases.
pub fn leases() -> (Vec<u8>, Vec<u8>) {
    (vec![LEASE], vec![LEASE + 1])
}

/// A key of a lease.
pub fn attached(lease: i64, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + key.len());
    bytes.push(ATTACHED);
    bytes.extend_from_slice(&lease.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

/// The bounds of all keys of a lease.
pub fn attached_to(lease: i64) -> (Vec<u8>, Vec<u8>) {
    let end = match lease.checked_add(1) {
        // From -1 the next is 0, which orders before it: negative ids are the upper half.
        Some(next) if lease != -1 => attached(next, b""),
        _ => vec![ATTACHED + u8::from(lease == -1), if lease == -1 { 0 } else { 0x80 }],
    };
    (attached(lease, b""), end)
}

/// The user's key in a key of [`attached`].
pub fn parse_attached(bytes: &[u8]) -> &[u8] {
    bytes.get(9..).unwrap_or_default()
}

/// What a member says of itself.
pub fn member(id: u64) -> Vec<u8> {
    prefixed(MEMBER, &id.to_be_bytes())
}

/// The bounds of all members.
pub fn members() -> (Vec<u8>, Vec<u8>) {
    (vec![MEMBER], vec![MEMBER + 1])
}

/// An alarm that is raised.
pub fn alarm(alarm: i32, member: u64) -> Vec<u8> {
    let mut bytes = vec![ALARM];
    bytes.extend_from_slice(&alarm.to_be_bytes());
    bytes.extend_from_slice(&member.to_be_bytes());
    bytes
}

/// The inverse of [`alarm`].
pub fn parse_alarm(bytes: &[u8]) -> Option<(i32, u64)> {
    let alarm = i32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
    let member = u64::from_be_bytes(bytes.get(5..13)?.try_into().ok()?);
    Some((alarm, member))
}

/// The bounds of all alarms.
pub fn alarms() -> (Vec<u8>, Vec<u8>) {
    (vec![ALARM], vec![ALARM + 1])
}

/// A user.
pub fn user(name: &str) -> Vec<u8> {
    prefixed(USER, name.as_bytes())
}

/// The bounds of all users.
pub fn users() -> (Vec<u8>, Vec<u8>) {
    (vec![USER], vec![USER + 1])
}

/// A role.
pub fn role(name: &str) -> Vec<u8> {
    prefixed(ROLE, name.as_bytes())
}

/// The bounds of all roles.
pub fn roles() -> (Vec<u8>, Vec<u8>) {
    (vec![ROLE], vec![ROLE + 1])
}

/// A number as a value.
pub fn number(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// The inverse of [`number`].
pub fn parse_number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

/// The key in an encoded `KeyValue`, which every writer puts first.
pub fn key_of(kv: &Bytes) -> Option<Bytes> {
    if kv.first() != Some(&0x0a) {
        return None;
    }
    let mut rest = &kv[1..];
    let before = rest.len();
    let length = usize::try_from(prost::decode_length_delimiter(&mut rest).ok()? as u64).ok()?;
    let start = 1 + before - rest.len();
    (kv.len() >= start + length).then(|| kv.slice(start..start + length))
}

fn prefixed(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + rest.len());
    bytes.push(first);
    bytes.extend_from_slice(rest);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn history_orders_by_key_then_revision(
            a in proptest::collection::vec(0u8..4, 1..5), ar in 0i64..3,
            b in proptest::collection::vec(0u8..4, 1..5), br in 0i64..3,
        ) {
            let (ar, br) = (Revision { main: ar, sub: 0 }, Revision { main: br, sub: 0 });
            prop_assert_eq!((&a, ar).cmp(&(&b, br)), history(&a, ar).cmp(&history(&b, br)));
            let (start, end) = history_bounds(&a, &b);
            if b != [0] {
                let inside = start <= history(&a, ar) && history(&a, ar) < end;
                prop_assert_eq!(inside, a < b);
            }
            let (start, end) = history_bounds(&a, b"");
            let inside = start <= history(&b, br) && history(&b, br) < end;
            prop_assert_eq!(inside, a == b);
        }

        #[test]
        fn attached_keys_belong_to_one_lease(a in -2i64..3, b in -2i64..3, key in any::<Vec<u8>>()) {
            for a in [a, i64::MAX, i64::MIN] {
                let (start, end) = attached_to(a);
                let key = attached(b, &key);
                prop_assert_eq!(start <= key && key < end, a == b);
            }
        }
    }

    #[test]
    fn revisions_and_alarms_read_back() {
        let at = Revision { main: 7, sub: 2 };
        for mark in [IsTombstone::Yes, IsTombstone::No] {
            assert_eq!(parse_revision(&revision(at, mark)), Some((at, mark)));
        }
        assert_eq!(parse_alarm(&alarm(1, 99)), Some((1, 99)));
    }
}
