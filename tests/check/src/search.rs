//! Search: is there an order of the deeds, each between its call and its return, in which everybody
//! was told what was so?
//!
//! Wing and Gong's search with Lowe's memory of what was tried. What keeps it short: a deed that
//! only reads and agrees with the state goes first, at once; what was never answered is tried only
//! where somebody saw what it leaves behind; and a value that somebody has yet to see is not
//! overwritten when nobody can write it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::deed::{Deed, Step};

/// How the search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// There is an order.
    Found,
    /// There is none.
    None {
        /// How many deeds could be put in order at most.
        longest: usize,
        /// The place of one that has none after these.
        stuck: usize,
    },
    /// It was not found within so many steps.
    GaveUp,
}

/// Searches an order of deeds; they may come in any order, and have all their registers to
/// themselves.
pub fn order(deeds: &[Deed], steps_max: u64) -> Order {
    let mut places: Vec<usize> = (0..deeds.len()).collect();
    // Nobody learned anything from it, and nothing is left of it.
    places.retain(|at| deeds[*at].told.is_some() || !deeds[*at].only_reads());
    places.sort_by_key(|at| (deeds[*at].called, deeds[*at].returned));
    let sorted: Vec<&Deed> = places.iter().map(|at| &deeds[*at]).collect();
    match Search::new(&sorted).run(steps_max) {
        Order::None { longest, stuck } => Order::None { longest, stuck: places[stuck] },
        order @ (Order::Found | Order::GaveUp) => order,
    }
}

/// A value of one register, by number.
type Value = usize;

/// Numbers for what registers hold: each register's values are its own.
#[derive(Default)]
struct Values {
    numbers: BTreeMap<(usize, Option<String>), Value>,
    texts: Vec<Option<String>>,
}

impl Values {
    fn number(&mut self, key: usize, text: Option<&str>) -> Value {
        let entry = (key, text.map(str::to_owned));
        if let Some(number) = self.numbers.get(&entry) {
            return *number;
        }
        self.texts.push(entry.1.clone());
        self.numbers.insert(entry, self.texts.len() - 1);
        self.texts.len() - 1
    }
}

/// A step with numbers for names.
enum Act {
    Read(usize),
    Write(usize, Value),
    Append(usize, String),
}

/// A deed with numbers for names.
struct Work {
    called: u64,
    returned: Option<u64>,
    compares: Vec<(usize, Value)>,
    then: Vec<Act>,
    otherwise: Vec<Act>,
    told: Option<(bool, Vec<Value>)>,
    only_reads: bool,
    /// What it can be seen to have written; `None`: that depends on what was there.
    writes: Option<Vec<Value>>,
    /// What it must find; of a deed that was never answered, what it may look for.
    sees: Vec<Value>,
}

/// One place that was taken, to be given back.
struct Taken {
    work: usize,
    undo: Vec<(usize, Value)>,
    /// What else could have been done in its place, the best last.
    others: Vec<usize>,
}

struct Search {
    works: Vec<Work>,
    values: Values,
    state: Vec<Value>,
    /// Answered ones that have no place yet, and the others, by call.
    answered: Chain,
    open: Chain,
    /// How many without a place see each value, and how many can write it.
    seen: Vec<u32>,
    seen_by_answered: Vec<u32>,
    writers: Vec<u32>,
    /// Registers that somebody appends to: their values are not known ahead.
    lists: Vec<bool>,
    /// Somebody was told that a comparison failed, and not why.
    denied: bool,
}

impl Search {
    fn new(deeds: &[&Deed]) -> Self {
        let mut keys: BTreeMap<&str, usize> = BTreeMap::new();
        for key in deeds.iter().flat_map(|deed| deed.keys()) {
            let next = keys.len();
            keys.entry(key).or_insert(next);
        }
        let mut values = Values::default();
        let state = (0..keys.len()).map(|key| values.number(key, None)).collect();
        let works: Vec<Work> =
            deeds.iter().map(|deed| Work::new(deed, &keys, &mut values)).collect();
        let mut lists = vec![false; keys.len()];
        for work in &works {
            for act in work.then.iter().chain(&work.otherwise) {
                if let Act::Append(key, _) = act {
                    lists[*key] = true;
                }
            }
        }
        let denied = deeds.iter().any(|deed| {
            let told = deed.told.as_ref().is_some_and(|told| !told.succeeded);
            told && deed.compares.len() > deed.saw().len()
        });
        let count = values.texts.len();
        let of = |answered: bool| {
            let places = (0..works.len()).filter(|at| works[*at].returned.is_some() == answered);
            Chain::new(works.len(), places)
        };
        let (answered, open) = (of(true), of(false));
        let mut search = Self {
            works,
            values,
            state,
            answered,
            open,
            seen: vec![0; count],
            seen_by_answered: vec![0; count],
            writers: vec![0; count],
            lists,
            denied,
        };
        for at in 0..search.works.len() {
            search.count(at, true);
        }
        search
    }

    fn run(&mut self, steps_max: u64) -> Order {
        let mut taken: Vec<Taken> = Vec::new();
        let mut tried: BTreeSet<u128> = BTreeSet::new();
        let mut hash = 0;
        let mut longest = (0, 0);
        let mut next: Option<Vec<usize>> = None;
        for _ in 0..steps_max {
            let Some((deadline, first)) = self.first_return() else { return Order::Found };
            if taken.len() >= longest.0 {
                longest = (taken.len(), first);
            }
            let mut choices = next.take().unwrap_or_else(|| self.choices(deadline));
            let mut done = None;
            while let Some(at) = choices.pop() {
                let Some(undo) = self.apply(at) else { continue };
                self.leave(at);
                let after = hash ^ mix(at as u64);
                if !self.is_dead(&undo) && tried.insert(after ^ self.state_hash()) {
                    done = Some((at, undo, after));
                    break;
                }
                self.back(at);
                self.undo(&undo);
            }
            if let Some((work, undo, after)) = done {
                hash = after;
                taken.push(Taken { work, undo, others: choices });
                continue;
            }
            let Some(last) = taken.pop() else {
                return Order::None { longest: longest.0, stuck: longest.1 };
            };
            hash ^= mix(last.work as u64);
            self.back(last.work);
            self.undo(&last.undo);
            next = Some(last.others);
        }
        Order::GaveUp
    }

    /// The first return among what has no place, and whose it is.
    fn first_return(&self) -> Option<(u64, usize)> {
        let mut first: Option<(u64, usize)> = None;
        for at in self.answered.iter() {
            let work = &self.works[at];
            // They stand in the order of their calls: whoever is called after a return returns later.
            if first.is_some_and(|(returned, _)| work.called > returned) {
                break;
            }
            let returned = work.returned.unwrap_or(u64::MAX);
            first = Some(first.unwrap_or((returned, at)).min((returned, at)));
        }
        first
    }

    /// What may come next, the best last.
    fn choices(&self, deadline: u64) -> Vec<usize> {
        let soon = |at: &usize| self.works[*at].called <= deadline;
        let mut choices: Vec<usize> = Vec::new();
        for at in self.answered.iter().take_while(soon) {
            if self.works[at].only_reads && self.agrees(at) {
                return vec![at];
            }
            choices.push(at);
        }
        choices.sort_by_key(|at| std::cmp::Reverse(self.works[*at].returned));
        let open = self.open.iter().take_while(soon).filter(|at| self.is_wanted(*at));
        let mut all: Vec<usize> = open.collect();
        all.append(&mut choices);
        all
    }

    /// Whether somebody may have seen what this one, never answered, leaves behind.
    fn is_wanted(&self, at: usize) -> bool {
        match &self.works[at].writes {
            None => true,
            Some(_) if self.denied => true,
            Some(writes) => writes.iter().any(|value| self.seen[*value] > 0),
        }
    }

    /// Whether a deed that only reads could be done now.
    fn agrees(&self, at: usize) -> bool {
        let work = &self.works[at];
        let Some((succeeded, reads)) = &work.told else { return true };
        let holds = work.compares.iter().all(|(key, value)| self.state[*key] == *value);
        let acts = if holds { &work.then } else { &work.otherwise };
        let found = acts.iter().filter_map(|act| match act {
            Act::Read(key) => Some(self.state[*key]),
            Act::Write(..) | Act::Append(..) => None,
        });
        holds == *succeeded && found.zip(reads).all(|(found, told)| found == *told)
    }

    /// Does it: what was there before; `None` when the client was told otherwise.
    fn apply(&mut self, at: usize) -> Option<Vec<(usize, Value)>> {
        let work = &self.works[at];
        let holds = work.compares.iter().all(|(key, value)| self.state[*key] == *value);
        if work.told.as_ref().is_some_and(|(succeeded, _)| *succeeded != holds) {
            return None;
        }
        let acts = if holds { &work.then } else { &work.otherwise };
        let mut reads = work.told.iter().flat_map(|(_, reads)| reads);
        let mut undo = Vec::new();
        let mut agrees = true;
        for act in acts {
            let (key, value) = match act {
                Act::Read(key) => {
                    agrees &= reads.next().is_none_or(|told| *told == self.state[*key]);
                    continue;
                }
                Act::Write(key, value) => (*key, *value),
                Act::Append(key, element) => {
                    let list = self.values.texts[self.state[*key]].as_deref();
                    let longer = list.map_or(element.clone(), |list| format!("{list},{element}"));
                    (*key, self.values.number(*key, Some(&longer)))
                }
            };
            undo.push((key, self.state[key]));
            self.state[key] = value;
        }
        let count = self.values.texts.len();
        for counts in [&mut self.seen, &mut self.seen_by_answered, &mut self.writers] {
            counts.resize(count, 0);
        }
        if !agrees {
            self.undo(&undo);
            return None;
        }
        Some(undo)
    }

    fn undo(&mut self, undo: &[(usize, Value)]) {
        for (key, value) in undo.iter().rev() {
            self.state[*key] = *value;
        }
    }

    /// Whether a value is gone that somebody has yet to see.
    fn is_dead(&self, undo: &[(usize, Value)]) -> bool {
        undo.iter().any(|(key, before)| {
            self.state[*key] != *before
                && !self.lists[*key]
                && self.seen_by_answered[*before] > 0
                && self.writers[*before] == 0
        })
    }

    fn leave(&mut self, at: usize) {
        self.chain(at).remove(at);
        self.count(at, false);
    }

    fn back(&mut self, at: usize) {
        self.chain(at).put_back(at);
        self.count(at, true);
    }

    fn chain(&mut self, at: usize) -> &mut Chain {
        if self.works[at].returned.is_some() { &mut self.answered } else { &mut self.open }
    }

    fn count(&mut self, at: usize, waits: bool) {
        let work = &self.works[at];
        let change = |count: &mut u32| {
            *count = if waits { *count + 1 } else { *count - 1 };
        };
        for value in &work.sees {
            change(&mut self.seen[*value]);
            if work.told.is_some() && work.returned.is_some() {
                change(&mut self.seen_by_answered[*value]);
            }
        }
        for value in work.writes.iter().flatten() {
            change(&mut self.writers[*value]);
        }
    }

    fn state_hash(&self) -> u128 {
        let each = self.state.iter().enumerate();
        each.fold(0, |hash, (key, value)| hash ^ mix(((key as u64) << 40 | *value as u64) ^ STATES))
    }
}

impl Work {
    fn new(deed: &Deed, keys: &BTreeMap<&str, usize>, values: &mut Values) -> Self {
        let acts = |steps: &[Step], values: &mut Values| -> Vec<Act> {
            let act = |step: &Step| match step {
                Step::Read(key) => Act::Read(keys[key.as_str()]),
                Step::Write(key, value) => {
                    let key = keys[key.as_str()];
                    Act::Write(key, values.number(key, value.as_deref()))
                }
                Step::Append(key, element) => Act::Append(keys[key.as_str()], element.clone()),
            };
            steps.iter().map(act).collect()
        };
        let then = acts(&deed.then, values);
        let otherwise = acts(&deed.otherwise, values);
        let number = |(key, value): &(String, Option<String>), values: &mut Values| {
            let key = keys[key.as_str()];
            (key, values.number(key, value.as_deref()))
        };
        let compares: Vec<_> = deed.compares.iter().map(|one| number(one, values)).collect();
        let told = deed.told.as_ref().map(|told| {
            let branch = if told.succeeded { &then } else { &otherwise };
            let read = branch.iter().filter_map(|act| match act {
                Act::Read(key) => Some(*key),
                Act::Write(..) | Act::Append(..) => None,
            });
            let reads = read.zip(&told.reads);
            let reads = reads.map(|(key, value)| values.number(key, value.as_deref()));
            (told.succeeded, reads.collect::<Vec<_>>())
        });
        let sees = match &told {
            None => compares.iter().map(|(_, value)| *value).collect(),
            Some((succeeded, reads)) => {
                let branch = if *succeeded { &then } else { &otherwise };
                let held = compares.iter().filter(|_| *succeeded).map(|(_, value)| *value);
                held.chain(read_of_others(branch, reads)).collect()
            }
        };
        let all = || then.iter().chain(&otherwise);
        let appends = all().any(|act| matches!(act, Act::Append(..)));
        let writes = all().filter_map(|act| match act {
            Act::Write(_, value) => Some(*value),
            Act::Read(_) | Act::Append(..) => None,
        });
        let writes = if appends { None } else { Some(writes.collect()) };
        Self {
            called: deed.called,
            returned: deed.returned,
            told,
            only_reads: deed.only_reads(),
            writes,
            sees,
            compares,
            then,
            otherwise,
        }
    }
}

/// What these steps read that stood there before them: not what they wrote themselves.
fn read_of_others(acts: &[Act], reads: &[Value]) -> Vec<Value> {
    let mut reads = reads.iter();
    let mut written = BTreeSet::new();
    let mut seen = Vec::new();
    for act in acts {
        match act {
            Act::Write(key, _) | Act::Append(key, _) => {
                written.insert(*key);
            }
            Act::Read(key) => {
                let read = reads.next().filter(|_| !written.contains(key));
                seen.extend(read);
            }
        }
    }
    seen
}

/// A list from which places are taken and put back in the opposite order.
struct Chain {
    next: Vec<usize>,
    former: Vec<usize>,
}

impl Chain {
    /// Of these places, in order, out of so many.
    fn new(size: usize, places: impl Iterator<Item = usize>) -> Self {
        let mut chain = Self { next: vec![size; size + 1], former: vec![size; size + 1] };
        let mut last = size;
        for at in places {
            chain.next[last] = at;
            chain.former[at] = last;
            last = at;
        }
        chain.next[last] = size;
        chain.former[size] = last;
        chain
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let end = self.next.len() - 1;
        let first = Some(self.next[end]).filter(|at| *at != end);
        std::iter::successors(first, move |at| Some(self.next[*at]).filter(|at| *at != end))
    }

    fn remove(&mut self, at: usize) {
        let (former, next) = (self.former[at], self.next[at]);
        self.next[former] = next;
        self.former[next] = former;
    }

    fn put_back(&mut self, at: usize) {
        let (former, next) = (self.former[at], self.next[at]);
        self.next[former] = at;
        self.former[next] = at;
    }
}

/// Keeps states apart from places.
const STATES: u64 = 0x5bd1_e995_0000_0000;

/// 128 bits for a number, wide enough that two sets of places never share their sum (splitmix).
fn mix(number: u64) -> u128 {
    let half = |seed: u64| {
        let mut z = number.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    u128::from(half(0x1234_5678_9abc_def1)) << 64 | u128::from(half(0x0fed_cba9_8765_4321))
}
