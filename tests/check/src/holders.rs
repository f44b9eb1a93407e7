//! Leases and what is held by them: no lease ends early, no lock or election has two holders at
//! once, and its tokens only grow.
//!
//! A lease surely lives from when a client was told of it until its seconds after the client last
//! asked for a renewal that was granted.

use std::collections::BTreeMap;

use crate::format::{Line, Op, Outcome, Request};

/// Microseconds of a second: times are in those, leases in these.
const SECOND: u64 = 1_000_000;

/// A broken promise of a lease or lock, with the operations that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderFlaw {
    /// What is wrong.
    pub text: String,
    /// The operations.
    pub ops: Vec<Op>,
}

/// What is known of leases.
struct Leases<'a> {
    /// For each lease: its grant and renewals, with the time until which it surely lived.
    granted: BTreeMap<i64, Vec<(&'a Op, u64)>>,
    /// When somebody first asked to end it.
    revoked: BTreeMap<i64, u64>,
}

/// Checks leases, locks and elections; how many of each there were.
pub fn check_holders(lines: &[Line]) -> (BTreeMap<&'static str, usize>, Vec<HolderFlaw>) {
    let ops: Vec<&Op> = lines
        .iter()
        .filter_map(|line| if let Line::Op(op) = line { Some(op) } else { None })
        .collect();
    let leases = Leases::new(&ops);
    let mut flaws = Vec::new();
    leases.check_denials(&ops, &mut flaws);
    leases.check_keys(lines, &ops, &mut flaws);
    let locks = check_locks(&ops, &leases, &mut flaws);
    let counts = BTreeMap::from([("leases", leases.granted.len()), ("locks taken", locks)]);
    (counts, flaws)
}

impl<'a> Leases<'a> {
    fn new(ops: &[&'a Op]) -> Self {
        let mut granted: BTreeMap<i64, Vec<(&Op, u64)>> = BTreeMap::new();
        let mut revoked: BTreeMap<i64, u64> = BTreeMap::new();
        for op in ops {
            let lease = match op.request {
                Request::Grant { .. } => op.response.lease,
                Request::KeepAlive { lease } => Some(lease),
                Request::Revoke { lease } => {
                    let first = revoked.entry(lease).or_insert(op.call);
                    *first = op.call.min(*first);
                    None
                }
                _ => None,
            };
            let ttl = op.response.ttl.and_then(|ttl| u64::try_from(ttl).ok()).unwrap_or(0);
            if let Some(lease) = lease
                && op.outcome == Outcome::Ok
                && ttl > 0
            {
                granted.entry(lease).or_default().push((op, op.call + ttl * SECOND));
            }
        }
        Self { granted, revoked }
    }

    /// Until when a lease surely lived, and by which renewal, of those asked for before a moment.
    fn lived(&self, lease: i64, before: u64) -> Option<(&'a Op, u64)> {
        let granted = self.granted.get(&lease)?.iter().filter(|(op, _)| op.call < before);
        let (op, until) = granted.max_by_key(|(_, until)| *until)?;
        let revoked = self.revoked.get(&lease).copied().unwrap_or(u64::MAX);
        Some((op, (*until).min(revoked)))
    }

    /// Whoever is told that a lease is gone must not be told so early.
    fn check_denials(&self, ops: &[&Op], flaws: &mut Vec<HolderFlaw>) {
        for op in ops {
            let Request::KeepAlive { lease } = op.request else { continue };
            if op.outcome != Outcome::Ok || op.response.ttl != Some(0) {
                continue;
            }
            if let Some((renewal, until)) = self.lived(lease, op.returned)
                && op.returned < until
            {
                let early = (until - op.returned) / 1000;
                let text = format!("lease {lease:x} was gone {early} ms before its time");
                flaws.push(HolderFlaw { text, ops: vec![renewal.clone(), (*op).clone()] });
            }
        }
    }

    /// Keys must not go before their lease.
    fn check_keys(&self, lines: &[Line], ops: &[&Op], flaws: &mut Vec<HolderFlaw>) {
        let mut attached: BTreeMap<&str, Vec<(&Op, i64)>> = BTreeMap::new();
        let mut touched: Vec<&str> = Vec::new();
        for op in ops {
            match &op.request {
                Request::Write { key, lease: Some(lease), .. } => {
                    attached.entry(key).or_default().push((op, *lease));
                }
                Request::Write { key, lease: None, .. }
                | Request::Delete { key }
                | Request::Swap { key, .. } => touched.push(key),
                _ => {}
            }
        }
        // One that has had other leases, or was changed otherwise, may have gone by those.
        attached.retain(|key, writes| writes.len() == 1 && !touched.contains(key));
        let mut told: BTreeMap<&str, u64> = BTreeMap::new();
        for line in lines {
            let Line::Events { at, events, .. } = line else { continue };
            for event in events.iter().filter(|event| event.value.is_none()) {
                let first = told.entry(&event.key).or_insert(*at);
                *first = (*first).min(*at);
            }
        }
        for (key, writes) in attached {
            let (Some(at), [(write, lease)]) = (told.get(key), writes.as_slice()) else { continue };
            if let Some((renewal, until)) = self.lived(*lease, *at)
                && *at < until
            {
                let early = (until - at) / 1000;
                let text = format!("{key} went {early} ms before the time of its lease {lease:x}");
                flaws.push(HolderFlaw { text, ops: vec![renewal.clone(), (*write).clone()] });
            }
        }
    }
}

/// Who took a lock, with which token, and until when it surely held it.
type Holder<'a> = (&'a Op, i64, u64);

fn check_locks(ops: &[&Op], leases: &Leases<'_>, flaws: &mut Vec<HolderFlaw>) -> usize {
    let mut given_back: BTreeMap<(&str, i64), u64> = BTreeMap::new();
    for op in ops {
        if let Request::Unlock { name, token } = &op.request {
            let first = given_back.entry((name, *token)).or_insert(op.call);
            *first = op.call.min(*first);
        }
    }
    let mut taken: BTreeMap<&str, Vec<Holder<'_>>> = BTreeMap::new();
    for op in ops {
        let Request::Lock { name, lease } = &op.request else { continue };
        let (Outcome::Ok, Some(token)) = (op.outcome, op.response.token) else { continue };
        let until = given_back.get(&(name.as_str(), token)).copied().unwrap_or(u64::MAX);
        // Renewals after it was taken count too.
        let lived = leases.lived(*lease, u64::MAX).map_or(0, |(_, until)| until);
        taken.entry(name).or_default().push((op, token, until.min(lived)));
    }
    let count = taken.values().map(Vec::len).sum();
    for (name, mut holders) in taken {
        holders.sort_by_key(|(op, ..)| op.returned);
        // Who came last of all before, and the one who surely holds it longest.
        let mut newest: Option<Holder<'_>> = None;
        let mut longest: Option<Holder<'_>> = None;
        for holder in holders {
            let (op, token, until) = holder;
            let mut flaw = |other: &Op, text: String| {
                flaws.push(HolderFlaw { text, ops: vec![other.clone(), op.clone()] });
            };
            if let Some((other, held, _)) = newest
                && held >= token
                && (held == token || other.returned < op.call)
            {
                flaw(other, format!("{name}: token {token} follows token {held}"));
            }
            if let Some((other, held, end)) = longest
                && op.returned < end.min(until)
            {
                let text = format!("{name} has two holders at once, tokens {held} and {token}");
                flaw(other, text);
            }
            if newest.is_none_or(|(_, held, _)| held < token) {
                newest = Some(holder);
            }
            if longest.is_none_or(|(.., end)| end < until) {
                longest = Some(holder);
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Response;

    fn op(call: u64, returned: u64, request: Request, response: Response) -> Line {
        let (member, error) = (None, String::new());
        let (client, outcome) = ("c".to_owned(), Outcome::Ok);
        Line::Op(Op { client, member, call, returned, request, outcome, response, error })
    }

    fn grant(at: u64, lease: i64, ttl: i64) -> Line {
        let response = Response { lease: Some(lease), ttl: Some(ttl), ..Response::default() };
        op(at, at + 1, Request::Grant { ttl }, response)
    }

    fn renewal(at: u64, lease: i64, ttl: i64) -> Line {
        let response = Response { ttl: Some(ttl), ..Response::default() };
        op(at, at + 1, Request::KeepAlive { lease }, response)
    }

    fn lock(call: u64, returned: u64, lease: i64, token: i64) -> Line {
        let request = Request::Lock { name: "l".to_owned(), lease };
        op(call, returned, request, Response { token: Some(token), ..Response::default() })
    }

    fn unlock(at: u64, token: i64) -> Line {
        op(at, at + 1, Request::Unlock { name: "l".to_owned(), token }, Response::default())
    }

    fn flaws(lines: &[Line]) -> Vec<String> {
        check_holders(lines).1.into_iter().map(|flaw| flaw.text).collect()
    }

    #[test]
    fn a_lease_that_ends_early_is_found() {
        let honest = [grant(0, 7, 2), renewal(1_000_000, 7, 2), renewal(3_000_000, 7, 0)];
        assert_eq!(flaws(&honest), Vec::<String>::new());
        let early = [grant(0, 7, 2), renewal(1_000_000, 7, 2), renewal(2_900_000, 7, 0)];
        assert_eq!(flaws(&early), ["lease 7 was gone 99 ms before its time"]);
        let revoked = op(2_000_000, 2_000_001, Request::Revoke { lease: 7 }, Response::default());
        assert_eq!(flaws(&[early.as_slice(), &[revoked]].concat()), Vec::<String>::new());
    }

    #[test]
    fn two_holders_and_tokens_that_go_back_are_found() {
        let leases = [grant(0, 1, 9), grant(0, 2, 9)];
        let with = |more: &[Line]| [leases.as_slice(), more].concat();
        let turns = [lock(10, 20, 1, 5), unlock(30, 5), lock(15, 40, 2, 6)];
        assert_eq!(flaws(&with(&turns)), Vec::<String>::new());
        let both = [lock(10, 20, 1, 5), lock(15, 25, 2, 6)];
        assert_eq!(flaws(&with(&both)), ["l has two holders at once, tokens 5 and 6"]);
        let back = [lock(10, 20, 1, 5), unlock(30, 5), lock(35, 40, 2, 4)];
        assert_eq!(flaws(&with(&back)), ["l: token 4 follows token 5"]);
        // A lease that ran out frees the lock.
        let later = [lock(10, 20, 1, 5), lock(15, 9_000_001, 2, 6)];
        assert_eq!(flaws(&with(&later)), Vec::<String>::new());
    }

    #[test]
    fn a_key_that_goes_before_its_lease_is_found() {
        let write = Request::Write { key: "k".to_owned(), value: "v".to_owned(), lease: Some(7) };
        let event = crate::format::Change {
            key: "k".to_owned(),
            value: None,
            revision: 9,
            created: 0,
            version: 0,
            former: None,
        };
        let deleted = |at| Line::Events {
            watcher: "w".to_owned(),
            at,
            revision: 9,
            events: vec![event.clone()],
        };
        let lines = [grant(0, 7, 2), op(5, 6, write, Response::default())];
        let with = |at| [lines.as_slice(), &[deleted(at)]].concat();
        assert_eq!(flaws(&with(1_999_000)), ["k went 1 ms before the time of its lease 7"]);
        assert_eq!(flaws(&with(2_000_000)), Vec::<String>::new());
    }
}
