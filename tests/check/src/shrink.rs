//! The smallest part of a history that still fails.
//!
//! A part is taken only where its failing means that the whole fails: whoever saw a value whose
//! writer is left out is left out too, or, where it wrote something itself, no longer depends on
//! what it saw.

use std::collections::BTreeSet;

use crate::deed::{Deed, Step};
use crate::search::{Order, order};

/// The most parts that are tried.
const TRIES_MAX: usize = 2000;
/// Steps of the search for one part; what takes longer counts as in order.
const STEPS_MAX: u64 = 200_000;
/// The first part that is tried, in deeds.
const FIRST: usize = 4;

/// The smallest part of these deeds, which fail, that was found to fail; `stuck` is where the
/// search ended. By call.
pub fn smallest(deeds: &[Deed], stuck: usize) -> Vec<Deed> {
    let end = deeds[stuck].returned.unwrap_or(u64::MAX);
    let mut pool: Vec<Deed> = until(deeds, end);
    if !fails(&pool) {
        pool = deeds.to_vec();
    }
    pool.sort_by_key(|deed| deed.called);
    let stuck = pool.iter().position(|deed| *deed == deeds[stuck]).unwrap_or(0);
    let mut part = window(&pool, stuck);
    let mut tries = 0;
    let mut size = part.len().div_ceil(2);
    while size > 0 && tries < TRIES_MAX {
        let mut smaller = false;
        let mut from = 0;
        while from < part.len() && tries < TRIES_MAX {
            tries += 1;
            let mut rest = part.clone();
            rest.drain(from..(from + size).min(rest.len()));
            if closed(&pool, &rest).is_some_and(|deeds| fails(&deeds)) {
                part = rest;
                smaller = true;
            } else {
                from += size;
            }
        }
        if !smaller || size > 1 {
            size /= 2;
        }
    }
    closed(&pool, &part).unwrap_or(pool)
}

/// What had happened until a moment; what was not answered by then is open.
fn until(deeds: &[Deed], end: u64) -> Vec<Deed> {
    let asked = deeds.iter().filter(|deed| deed.called <= end).cloned();
    let cut = asked.map(|deed| match deed.returned {
        Some(returned) if returned > end => Deed { returned: None, told: None, ..deed },
        _ => deed,
    });
    cut.collect()
}

fn fails(deeds: &[Deed]) -> bool {
    matches!(order(deeds, STEPS_MAX), Order::None { .. })
}

/// The places of a failing part around one that is stuck, or of all.
fn window(pool: &[Deed], stuck: usize) -> Vec<usize> {
    let mut near: Vec<usize> = (0..pool.len()).collect();
    near.sort_by_key(|at| at.abs_diff(stuck));
    let saw = pool[stuck].saw();
    let wrote = |deed: &Deed| {
        deed.writes().any(|step| match step {
            Step::Write(key, value) => saw.contains(&(key.as_str(), value.as_deref())),
            Step::Append(..) => true,
            Step::Read(_) => false,
        })
    };
    let sources: Vec<usize> = (0..pool.len()).filter(|at| wrote(&pool[*at])).collect();
    let mut size = FIRST;
    while size < pool.len() {
        let part: BTreeSet<usize> = near.iter().take(size).chain(&sources).copied().collect();
        let part: Vec<usize> = part.into_iter().collect();
        if closed(pool, &part).is_some_and(|deeds| fails(&deeds)) {
            return part;
        }
        size *= 2;
    }
    (0..pool.len()).collect()
}

/// The deeds at these places, as far as nothing that is left out was seen; `None` where that cannot
/// be told.
fn closed(pool: &[Deed], part: &[usize]) -> Option<Vec<Deed>> {
    let inside: BTreeSet<usize> = part.iter().copied().collect();
    let mut missing = BTreeSet::new();
    let mut lists = BTreeSet::new();
    for (at, deed) in pool.iter().enumerate() {
        if inside.contains(&at) {
            continue;
        }
        for step in deed.writes() {
            match step {
                Step::Write(key, value) => {
                    missing.insert((key.as_str(), value.as_deref()));
                }
                Step::Append(key, _) => {
                    lists.insert(key.as_str());
                }
                Step::Read(_) => {}
            }
        }
    }
    let unexplained = |deed: &Deed| {
        // Of a comparison that failed it is not known which values made it fail.
        let denied = deed.told.as_ref().is_none_or(|told| !told.succeeded)
            && deed.compares.iter().any(|(key, _)| {
                lists.contains(key.as_str()) || missing.iter().any(|(name, _)| name == key)
            });
        let saw = deed.saw();
        denied || saw.iter().any(|one| missing.contains(one) || lists.contains(one.0))
    };
    let mut deeds = Vec::new();
    for &at in part {
        let deed = &pool[at];
        if !unexplained(deed) {
            deeds.push(deed.clone());
        } else if let Some(weakened) = deed.weakened() {
            deeds.push(weakened);
        } else if !deed.only_reads() {
            return None;
        }
    }
    Some(deeds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deed::Told;

    fn deed(called: u64, then: Step, reads: Vec<Option<String>>) -> Deed {
        Deed {
            called,
            returned: Some(called + 1),
            then: vec![then],
            told: Some(Told { succeeded: true, reads }),
            ..Deed::default()
        }
    }

    fn write(called: u64, value: u64) -> Deed {
        deed(called, Step::Write("k".to_owned(), Some(value.to_string())), Vec::new())
    }

    fn read(called: u64, value: u64) -> Deed {
        deed(called, Step::Read("k".to_owned()), vec![Some(value.to_string())])
    }

    fn swap(called: u64, from: u64, to: u64) -> Deed {
        Deed { compares: vec![("k".to_owned(), Some(from.to_string()))], ..write(called, to) }
    }

    fn smallest_of(deeds: &[Deed]) -> Vec<Deed> {
        let Order::None { stuck, .. } = order(deeds, u64::MAX) else { panic!("they are in order") };
        smallest(deeds, stuck)
    }

    #[test]
    fn a_stale_read_is_three_operations() {
        let mut deeds = Vec::new();
        for number in 0..500 {
            deeds.extend([write(number * 10, number), read(number * 10 + 4, number)]);
        }
        deeds.push(read(4002, 399));
        let small = smallest_of(&deeds);
        assert_eq!(small, [write(3990, 399), write(4000, 400), read(4002, 399)].to_vec());
    }

    #[test]
    fn a_chain_of_swaps_is_cut() {
        let mut deeds = vec![write(0, 0)];
        deeds.extend((1..300).map(|number| swap(number * 10, number - 1, number)));
        deeds.push(swap(5000, 150, 1000));
        let small = smallest_of(&deeds);
        assert!(small.len() <= 3, "{small:#?}");
        assert!(small.contains(&deeds[300]));
    }

    #[test]
    fn a_part_never_fails_where_the_whole_does_not() {
        // What is read from a deletion that is left out would look like a lost write.
        let gone = deed(10, Step::Write("k".to_owned(), None), Vec::new());
        let nothing = deed(20, Step::Read("k".to_owned()), vec![None]);
        let deeds = [write(0, 1), gone, nothing];
        assert_eq!(order(&deeds, u64::MAX), Order::Found);
        let part = closed(&deeds, &[0, 2]).unwrap();
        assert_eq!(part, [deeds[0].clone()]);
    }
}
