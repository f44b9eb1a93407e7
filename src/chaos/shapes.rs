//! The shapes of partitions: which links a fault disturbs, and how.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::cluster::name;
use super::network::{Link, Links, good};
use super::scenario::{Fault, Step};

/// What a fault does to links; `None`: nothing.
pub fn links(step: &Step, size: usize, members: &[usize], random: &mut SmallRng) -> Option<Links> {
    let one = members.first().copied().unwrap_or(0);
    let mut others: Vec<usize> = (0..size).filter(|at| *at != one).collect();
    others.shuffle(random);
    let cut = Link { cut: true, ..Link::default() };
    let ms = step.ms.and_then(|ms| u64::try_from(ms).ok());
    let bad = match step.fault {
        Fault::Delay => Link { delay: Duration::from_millis(ms.unwrap_or(200)), ..Link::default() },
        Fault::Loss => Link { loss_percent: step.percent.unwrap_or(20), ..Link::default() },
        _ => cut,
    };
    let in_small = |at: usize| others.iter().take((size - 1) / 2).any(|other| *other == at);
    let is_bad = |from: usize, to: usize| -> bool {
        let hit = |at: usize| members.contains(&at);
        match step.fault {
            Fault::Isolate | Fault::Flap | Fault::Delay | Fault::Loss => hit(from) || hit(to),
            Fault::Deaf => hit(to),
            Fault::Mute => hit(from),
            Fault::HalfOpen => from == one && others.first() == Some(&to),
            Fault::Halves => {
                let small = (size - 1) / 2;
                let group = |at: usize| {
                    at == one || others.iter().take(small.saturating_sub(1)).any(|it| *it == at)
                };
                group(from) != group(to)
            }
            Fault::Bridge => from != one && to != one && in_small(from) != in_small(to),
            Fault::Ring => {
                let apart = from.abs_diff(to);
                apart.min(size - apart) > 1
            }
            _ => false,
        }
    };
    let mut links = good(size);
    let mut any = false;
    for (from, row) in links.iter_mut().enumerate() {
        for (to, link) in row.iter_mut().enumerate() {
            if from != to && is_bad(from, to) {
                *link = bad;
                any = true;
            }
        }
    }
    any.then_some(links)
}

/// The disturbed links, each from one member to another.
pub fn named(links: &Links) -> Vec<(String, String)> {
    let mut named = Vec::new();
    for (from, row) in links.iter().enumerate() {
        let bad = row.iter().enumerate().filter(|(_, link)| !link.is_good());
        named.extend(bad.map(|(to, _)| (name(from), name(to))));
    }
    named
}
