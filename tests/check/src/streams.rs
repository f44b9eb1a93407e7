//! The promises of watches in a recorded history: all watchers were told the same, in order, whole,
//! once; and the clients' answers agree with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Event;
use crate::format::{Line, Op, Outcome, Request, TxnStep};
use crate::log::{Log, LogFlaw};
use crate::names::{Followed, Names, reached};
use crate::watched::{WatchFlaw, Watched, check_watcher_until};

/// A broken promise, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFlaw {
    /// What is wrong.
    pub text: String,
    /// When somebody was told so.
    pub at: Option<u64>,
    /// The operations that show it.
    pub ops: Vec<Op>,
}

impl StreamFlaw {
    fn of(text: String) -> Self {
        Self { text, at: None, ops: Vec::new() }
    }
}

/// Checks watchers, and answers with revisions against what watchers were told; how many of each
/// there were.
pub fn check_streams(lines: &[Line]) -> (BTreeMap<&'static str, usize>, Vec<StreamFlaw>) {
    let names = Names::of(lines);
    let mut watchers = names.watchers(lines);
    let mut flaws = Vec::new();
    let merged = merge(&names, &watchers, &mut flaws);
    fill_formers(&merged, &mut watchers);
    let settled = lines.iter().filter_map(|line| match line {
        Line::Settled { revision, .. } => Some(*revision),
        _ => None,
    });
    let settled = settled.max();
    let mut whole = None;
    let mut candidates: Vec<&Followed> =
        watchers.iter().filter(|one| is_whole(&one.watched)).collect();
    // One that was told of a compaction ends early.
    candidates.sort_by_key(|one| std::cmp::Reverse(reached(&one.watched)));
    for followed in candidates {
        if whole.is_none() {
            whole = whole_log(&names, followed, &mut flaws);
        }
    }
    let partial = Log::partial(merged);
    let log = whole.as_ref().unwrap_or(&partial);
    for followed in &watchers {
        let watched = &followed.watched;
        let settled = settled.filter(|_| !followed.ended).unwrap_or(0);
        let until = reached(watched).max(settled);
        if let Err(flaw) = check_watcher_until(&partial, watched, until) {
            flaws.push(StreamFlaw {
                at: when(followed, &flaw),
                ..StreamFlaw::of(tell(&names, flaw))
            });
        }
    }
    let answers = if whole.is_some() { check_answers(&names, log, lines, &mut flaws) } else { 0 };
    let events = watchers.iter().flat_map(|one| &one.watched.answers);
    let events = events.map(|answer| answer.events.len()).sum();
    let counts = BTreeMap::from([
        ("watchers", watchers.len()),
        ("events", events),
        ("answers held against the events", answers),
    ]);
    (counts, flaws)
}

/// Everything that any watcher was told, in the order of revisions.
fn merge(names: &Names, watchers: &[Followed], flaws: &mut Vec<StreamFlaw>) -> Vec<Event> {
    let mut merged: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    let mut told: BTreeMap<(i64, u64), (Event, &str)> = BTreeMap::new();
    // Those that saw most of a revision say in which order its events stand.
    let mut order: Vec<&Followed> = watchers.iter().collect();
    order.sort_by_key(|one| {
        let width = one.watched.keys.1 - one.watched.keys.0;
        (std::cmp::Reverse(one.tells_former), std::cmp::Reverse(width))
    });
    for followed in order {
        for &event in followed.watched.answers.iter().flat_map(|answer| &answer.events) {
            let name = followed.watched.name.as_str();
            match told.get_mut(&(event.revision, event.key)) {
                None => {
                    told.insert((event.revision, event.key), (event, name));
                    merged.entry(event.revision).or_default().push(event);
                }
                Some((known, other)) if known.now != event.now => {
                    flaws.push(StreamFlaw::of(format!(
                        "{name} was told of {}, and {other} of {}",
                        names.tell(&event),
                        names.tell(known)
                    )));
                }
                Some(_) => {}
            }
        }
    }
    merged.into_values().flatten().collect()
}

/// Gives events of watchers that did not ask for it what was before.
fn fill_formers(merged: &[Event], watchers: &mut [Followed]) {
    let known: BTreeMap<(i64, u64), Event> =
        merged.iter().map(|event| ((event.revision, event.key), *event)).collect();
    for followed in watchers.iter_mut().filter(|one| !one.tells_former) {
        for event in followed.watched.answers.iter_mut().flat_map(|answer| &mut answer.events) {
            if let Some(known) = known.get(&(event.revision, event.key)) {
                event.former = known.former;
            }
        }
    }
}

/// Whether a watcher asked for everything from the first revision on.
fn is_whole(watched: &Watched) -> bool {
    watched.from <= 2 && watched.keys == (0, u64::MAX)
}

fn whole_log(names: &Names, followed: &Followed, flaws: &mut Vec<StreamFlaw>) -> Option<Log> {
    let answers = followed.watched.answers.iter();
    let events = answers.flat_map(|answer| &answer.events).copied().collect();
    if !followed.tells_former {
        return Some(Log::partial(events));
    }
    match Log::new(events) {
        Ok(log) => Some(log),
        Err(flaw) => {
            let name = &followed.watched.name;
            let text = match flaw {
                LogFlaw::Gap { wanted, event } => format!(
                    "{name}: revision {wanted} should follow, but {} does",
                    names.tell(&event)
                ),
                LogFlaw::Former { event, before } => {
                    let before = before.map_or("nothing".to_owned(), |it| {
                        format!("what revision {} wrote", it.changed)
                    });
                    format!(
                        "{name}: {} tells of another state before than {before}",
                        names.tell(&event)
                    )
                }
                LogFlaw::Counters { event } => format!("{name}: {} miscounts", names.tell(&event)),
            };
            flaws.push(StreamFlaw::of(text));
            None
        }
    }
}

fn tell(names: &Names, flaw: WatchFlaw) -> String {
    match flaw {
        WatchFlaw::Missing { watcher, missing, instead: None } => {
            format!("{watcher} was never told of {}", names.tell(&missing))
        }
        WatchFlaw::Missing { watcher, missing, instead: Some(instead) } => format!(
            "{watcher} was not told of {}, but then of {}",
            names.tell(&missing),
            names.tell(&instead)
        ),
        WatchFlaw::Again { watcher, event } => {
            format!("{watcher} was told again, or late, of {}", names.tell(&event))
        }
        WatchFlaw::Different { watcher, event, wanted } => format!(
            "{watcher} was told of {}, where others were told of {}",
            names.tell(&event),
            wanted.map_or("nothing".to_owned(), |wanted| names.tell(&wanted))
        ),
        WatchFlaw::Split { watcher, revision } => {
            format!("{watcher} was told of revision {revision} in two answers")
        }
        WatchFlaw::Header { watcher, told, event } => {
            format!(
                "{watcher} was told that revision {told} is reached, and then of {}",
                names.tell(&event)
            )
        }
    }
}

/// When the event came that is wrong.
fn when(followed: &Followed, flaw: &WatchFlaw) -> Option<u64> {
    let event = match flaw {
        WatchFlaw::Missing { instead, .. } => (*instead)?,
        WatchFlaw::Again { event, .. }
        | WatchFlaw::Different { event, .. }
        | WatchFlaw::Header { event, .. } => *event,
        WatchFlaw::Split { .. } => return None,
    };
    let place =
        followed.watched.answers.iter().rposition(|answer| answer.events.contains(&event))?;
    followed.at.get(place).copied()
}

/// Checks every answer that tells a revision against the log; how many there were.
fn check_answers(names: &Names, log: &Log, lines: &[Line], flaws: &mut Vec<StreamFlaw>) -> usize {
    let ops: Vec<&Op> = lines
        .iter()
        .filter_map(|line| if let Line::Op(op) = line { Some(op) } else { None })
        .collect();
    let floors = floors(&ops);
    let mut checked = 0;
    for op in &ops {
        let Some(revision) = op.response.revision.filter(|_| op.outcome == Outcome::Ok) else {
            continue;
        };
        checked += 1;
        let local = matches!(op.request, Request::Read { serializable: true, .. });
        let floor = if local { 0 } else { floor(&floors, op.call) };
        let mut flaw = |text: String| {
            flaws.push(StreamFlaw { text, at: Some(op.returned), ops: vec![(*op).clone()] });
        };
        if !local && is_linear(&op.request) && revision < floor {
            flaw(format!(
                "an answer of revision {revision}, asked for after revision {floor} had been told"
            ));
            continue;
        }
        if revision > log.last() {
            continue;
        }
        let succeeded = op.response.succeeded.unwrap_or(true);
        if let Request::Read { key, .. } = &op.request
            && let Some(value) = &op.response.value
        {
            let from = if local { revision } else { floor };
            if !was(names, log, key, value.as_deref(), from, revision) {
                flaw(format!(
                    "{key} was read as {value:?}, which it was not at any revision from {from} to {revision}"
                ));
            }
        }
        for (key, value) in written(&op.request, succeeded) {
            let event = names.key(key).and_then(|key| log.at(key, revision));
            let there = event.map(|event| event.now.map(|now| now.value));
            let wanted = value.map(|value| names.value(value).unwrap_or(u64::MAX - 1));
            // Who deletes what is not there is told so with no event.
            if there != Some(wanted) && (value.is_some() || op.response.succeeded == Some(true)) {
                let value = value.unwrap_or("nothing");
                flaw(format!(
                    "{key} = {value} was acknowledged as revision {revision}, which is something else"
                ));
            }
        }
    }
    check_once(names, log, &ops, flaws);
    checked
}

/// The revisions that had been told to anybody, by when.
fn floors(ops: &[&Op]) -> Vec<(u64, i64)> {
    let told = ops.iter().filter(|op| op.outcome == Outcome::Ok && is_linear(&op.request));
    let told = told.filter_map(|op| Some((op.returned, op.response.revision?)));
    let mut told: Vec<(u64, i64)> = told.collect();
    told.sort_unstable();
    let mut newest = 0;
    for (_, revision) in &mut told {
        newest = newest.max(*revision);
        *revision = newest;
    }
    told
}

fn floor(floors: &[(u64, i64)], called: u64) -> i64 {
    let before = floors.partition_point(|(returned, _)| *returned < called);
    before.checked_sub(1).map_or(0, |last| floors[last].1)
}

fn is_linear(request: &Request) -> bool {
    matches!(
        request,
        Request::Read { serializable: false, .. }
            | Request::Write { .. }
            | Request::Delete { .. }
            | Request::Swap { .. }
            | Request::Txn { .. }
    )
}

/// Whether a key had this value at a revision of this span.
fn was(names: &Names, log: &Log, key: &str, value: Option<&str>, from: i64, to: i64) -> bool {
    // A key that no watcher was told of was never there.
    let Some(key) = names.key(key) else { return value.is_none() };
    let wanted = value.map(|value| names.value(value).unwrap_or(u64::MAX - 1));
    let holds = |state: Option<crate::Stored>| state.map(|state| state.value) == wanted;
    if holds(log.state(key, from)) {
        return true;
    }
    log.changes(key, from + 1, to).any(|event| holds(event.now))
}

/// What an acknowledged operation says that it has written.
fn written(request: &Request, succeeded: bool) -> Vec<(&str, Option<&str>)> {
    match request {
        Request::Write { key, value, .. } => vec![(key, Some(value))],
        Request::Delete { key } if succeeded => vec![(key, None)],
        Request::Swap { key, to, .. } if succeeded => vec![(key, to.as_deref())],
        Request::Txn { then, otherwise, .. } => {
            let steps = if succeeded { then } else { otherwise };
            let write = |step: &'_ TxnStep| matches!(step, TxnStep::Write { value: Some(_), .. });
            let writes = steps.iter().filter(|step| write(step));
            writes
                .filter_map(|step| match step {
                    TxnStep::Write { key, value } => Some((key.as_str(), value.as_deref())),
                    TxnStep::Read { .. } | TxnStep::Append { .. } => None,
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A value that one operation wrote comes into being once, and not if it was refused.
fn check_once(names: &Names, log: &Log, ops: &[&Op], flaws: &mut Vec<StreamFlaw>) {
    let mut writers: BTreeMap<(u64, u64), Vec<&Op>> = BTreeMap::new();
    for op in ops {
        let both = written(&op.request, true).into_iter().chain(written(&op.request, false));
        let mut once = BTreeSet::new();
        for (key, value) in both {
            if let (Some(key), Some(value)) = (names.key(key), value.and_then(|v| names.value(v)))
                && once.insert((key, value))
            {
                writers.entry((key, value)).or_default().push(op);
            }
        }
    }
    let mut seen: BTreeMap<(u64, u64), i64> = BTreeMap::new();
    for event in log.events() {
        let Some(now) = event.now else { continue };
        let Some([op]) = writers.get(&(event.key, now.value)).map(Vec::as_slice) else { continue };
        let mut flaw = |text: String| {
            flaws.push(StreamFlaw { text, at: Some(op.returned), ops: vec![(*op).clone()] });
        };
        if let Some(first) = seen.insert((event.key, now.value), event.revision) {
            flaw(format!("{} happened before, at revision {first}", names.tell(event)));
        } else if op.outcome == Outcome::Fail {
            flaw(format!("{} was refused, and happened", names.tell(event)));
        }
    }
}
