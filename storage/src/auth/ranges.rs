//! Sets of keys as merged ranges: two that touch are one.

use bytes::Bytes;

/// `None` stands for no end.
type End = Option<Bytes>;

/// A set of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Disjoint, in order, with a gap between any two.
    merged: Vec<(Bytes, End)>,
}

impl Ranges {
    /// The union of ranges by etcd's convention.
    pub(super) fn union<'a>(ranges: impl Iterator<Item = (&'a Bytes, &'a Bytes)>) -> Self {
        let mut all: Vec<(Bytes, End)> =
            ranges.map(|(key, range_end)| (key.clone(), end(key, range_end))).collect();
        all.sort();
        let mut merged: Vec<(Bytes, End)> = Vec::with_capacity(all.len());
        for (start, end) in all {
            match merged.last_mut() {
                Some((_, last)) if last.as_ref().is_none_or(|last| *last >= start) => {
                    if let Some(known) = last
                        && end.as_ref().is_none_or(|end| end > known)
                    {
                        *last = end;
                    }
                }
                _ => merged.push((start, end)),
            }
        }
        Self { merged }
    }

    /// Whether every key of a range, by etcd's convention, is in it.
    pub(super) fn cover(&self, key: &[u8], range_end: &[u8]) -> bool {
        let wanted = end(key, range_end);
        let before = self.merged.partition_point(|(start, _)| start.as_ref() <= key);
        let Some((_, end)) = before.checked_sub(1).map(|at| &self.merged[at]) else { return false };
        match (end, wanted) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(wanted)) => wanted <= *end,
        }
    }
}

/// Where a range ends; one that is empty is its first key.
fn end(key: &[u8], range_end: &[u8]) -> End {
    match range_end {
        b"\0" => None,
        end if end > key => Some(Bytes::copy_from_slice(end)),
        _ => Some([key, b"\0"].concat().into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(all: &[(&'static str, &'static str)]) -> Ranges {
        let all: Vec<(Bytes, Bytes)> =
            all.iter().map(|(key, end)| ((*key).into(), (*end).into())).collect();
        Ranges::union(all.iter().map(|(key, end)| (key, end)))
    }

    // upstream: etcd v3 API, "Auth": ranges of all roles are merged
    #[test]
    fn ranges_that_touch_are_one() {
        let set = ranges(&[("a", "c"), ("c", "f"), ("x", "")]);
        assert!(set.cover(b"a", b"f"));
        assert!(set.cover(b"b", b""));
        assert!(!set.cover(b"b", b"g"));
        assert!(!set.cover(b"f", b""));
        assert!(set.cover(b"x", b""));
        assert!(!set.cover(b"x", b"y"));
        assert!(!set.cover(b"a", b"\0"));
    }

    #[test]
    fn a_range_without_an_end_covers_all_above() {
        let set = ranges(&[("k", "\0")]);
        assert!(set.cover(b"k", b"\0"));
        assert!(set.cover(b"zz", b""));
        assert!(!set.cover(b"j", b"\0"));
    }

    fn small() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(1u8..4, 1..3)
    }

    proptest! {
        #[test]
        fn covering_a_key_is_being_in_one_of_the_ranges(
            all in proptest::collection::vec((small(), small()), 0..5), key in small(),
        ) {
            let all: Vec<(Bytes, Bytes)> =
                all.into_iter().map(|(key, end)| (key.into(), end.into())).collect();
            let set = Ranges::union(all.iter().map(|(key, end)| (key, end)));
            let inside = all.iter().any(|(start, end)| {
                key == *start || (start.as_ref() <= key.as_slice() && key.as_slice() < end.as_ref())
            });
            prop_assert_eq!(set.cover(&key, b""), inside);
        }
    }
}
