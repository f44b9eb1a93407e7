//! Requests: what clients asked of a store and were told, against the log of what happened.
//!
//! The log fixes the order of everything that happened, so no search is needed: each answer must
//! agree with the log, and the log's order with the order in which answers and questions came.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::event::{Event, Stored};
use crate::history::{Action, History, Operation};
use crate::log::Log;

/// What a client asked for. Values are written by one request each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Writes, whatever there is.
    Put(u64),
    /// Writes where nothing is, else reads.
    Create(u64),
    /// Writes over what this revision wrote, else reads.
    Update(u64, i64),
    /// Deletes, whatever there is.
    Delete,
    /// Deletes what this revision wrote, else reads.
    Remove(i64),
    /// Reads, linearizably.
    Read,
}

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is written or deleted, by this revision.
    Done(i64),
    /// Nothing was changed; this is there, at this revision of the store.
    Saw(i64, Option<Stored>),
    /// An error that says that nothing happened.
    Refused,
    /// Nothing, or an error that leaves it open: it may have happened, once.
    Unknown,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub client: u64,
    /// The key.
    pub key: u64,
    /// What for.
    pub wish: Wish,
    /// And was told.
    pub told: Told,
    /// When it was asked for; any clock that orders events.
    pub called: u64,
    /// When it was answered, or given up.
    pub returned: u64,
}

/// A broken promise of the store.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestFlaw {
    /// An acknowledged change is not in the log.
    #[error("{request:?} is acknowledged, and the log has {found:?} there")]
    Lost {
        /// The request.
        request: Request,
        /// What the log has of the key at that revision.
        found: Option<Event>,
    },
    /// A change is in the log more than once.
    #[error("{request:?} happened again: {event:?}")]
    Twice {
        /// The request.
        request: Request,
        /// Its second event.
        event: Event,
    },
    /// The log has a change that nobody asked for, or whose asker was told that it did not happen.
    #[error("{event:?} is by nobody, or by one who was told otherwise: {request:?}")]
    Stray {
        /// The event.
        event: Event,
        /// Who wrote its value.
        request: Option<Request>,
    },
    /// A change happened though its condition did not hold.
    #[error("{request:?} happened without its condition: {event:?}")]
    Condition {
        /// The request.
        request: Request,
        /// Its event.
        event: Event,
    },
    /// Two acknowledged changes have one revision.
    #[error("two acknowledged changes have revision {revision}; one is {request:?}")]
    Shared {
        /// One of them.
        request: Request,
        /// The revision.
        revision: i64,
    },
    /// An answer is older than one that had been given before it was asked for.
    #[error("{request:?} was asked for after revision {floor} had been told to somebody")]
    Back {
        /// The request.
        request: Request,
        /// The revision that had been told.
        floor: i64,
    },
    /// A read saw what was not there, or no more.
    #[error("{request:?} saw what was not there at any revision from {floor} to its own")]
    Stale {
        /// The request.
        request: Request,
        /// The newest revision that had been told before it was asked for.
        floor: i64,
    },
}

/// What a checked history has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged changes.
    pub acknowledged: usize,
    /// Changes of unknown outcome that happened.
    pub unknown_done: usize,
    /// Changes of unknown outcome that did not.
    pub unknown_not_done: usize,
    /// Answered reads, and conditions that did not hold.
    pub reads: usize,
}

/// Checks every request against the log.
pub fn check_requests(log: &Log, requests: &[Request]) -> Result<Counts, RequestFlaw> {
    let floors = floors(requests);
    let mut happened = acknowledged(log, requests)?;
    let mut counts = Counts { acknowledged: happened.len(), ..Counts::default() };
    explain_the_rest(log, requests, &floors, &mut happened)?;
    counts.unknown_done = happened.len() - counts.acknowledged;
    for request in requests {
        match request.told {
            Told::Saw(..) => counts.reads += 1,
            Told::Unknown if request.wish != Wish::Read => counts.unknown_not_done += 1,
            Told::Unknown | Told::Done(_) | Told::Refused => {}
        }
    }
    counts.unknown_not_done -= counts.unknown_done;
    for (&revision, &place) in &happened {
        let (request, floor) = (requests[place], floors[place]);
        if revision <= floor {
            return Err(RequestFlaw::Back { request, floor });
        }
    }
    for (&request, &floor) in requests.iter().zip(&floors) {
        check_seen(log, request, floor)?;
    }
    Ok(counts)
}

/// For each request: the newest revision that anybody had been told before it was asked for.
fn floors(requests: &[Request]) -> Vec<i64> {
    let told = requests.iter().filter_map(|one| Some((one.returned, one.revision()?)));
    let mut told: Vec<(u64, i64)> = told.collect();
    told.sort_unstable();
    let mut newest = 0;
    for (_, revision) in &mut told {
        newest = newest.max(*revision);
        *revision = newest;
    }
    let floor = |request: &Request| {
        let before = told.partition_point(|(returned, _)| *returned < request.called);
        before.checked_sub(1).map_or(0, |last| told[last].1)
    };
    requests.iter().map(floor).collect()
}

/// For each revision that a request made: the place of the request.
type Happened = BTreeMap<i64, usize>;

/// Finds each acknowledged change in the log.
fn acknowledged(log: &Log, requests: &[Request]) -> Result<Happened, RequestFlaw> {
    let mut happened = Happened::new();
    for (place, &request) in requests.iter().enumerate() {
        let Told::Done(revision) = request.told else { continue };
        let found = log.at(request.key, revision).copied();
        let Some(event) = found.filter(|event| event.now.map(|now| now.value) == request.value())
        else {
            return Err(RequestFlaw::Lost { request, found });
        };
        if !request.may_follow(event.former) {
            return Err(RequestFlaw::Condition { request, event });
        }
        if happened.insert(revision, place).is_some() {
            return Err(RequestFlaw::Shared { request, revision });
        }
    }
    Ok(happened)
}

/// Finds a request of unknown outcome for each change that nobody acknowledged, one for each.
fn explain_the_rest(
    log: &Log,
    requests: &[Request],
    floors: &[i64],
    happened: &mut Happened,
) -> Result<(), RequestFlaw> {
    let writers = writers(requests);
    let mut deleters = Deleters::new(requests);
    let mut seen = BTreeSet::new();
    for &event in log.events() {
        let place = match event.now {
            Some(now) => {
                let place = writers.get(&now.value).copied();
                if let Some(place) = place
                    && !seen.insert(now.value)
                {
                    return Err(RequestFlaw::Twice { request: requests[place], event });
                }
                place
            }
            None => None,
        };
        if happened.contains_key(&event.revision) {
            continue;
        }
        let place = match event.now {
            Some(_) => place,
            None => deleters.take(event, floors),
        };
        let Some((place, request)) = place.map(|place| (place, requests[place])) else {
            return Err(RequestFlaw::Stray { event, request: None });
        };
        match request.told {
            Told::Done(_) => return Err(RequestFlaw::Twice { request, event }),
            Told::Unknown if request.key == event.key => {}
            Told::Unknown | Told::Saw(..) | Told::Refused => {
                return Err(RequestFlaw::Stray { event, request: Some(request) });
            }
        }
        if !request.may_follow(event.former) {
            return Err(RequestFlaw::Condition { request, event });
        }
        happened.insert(event.revision, place);
    }
    Ok(())
}

/// Who writes each value.
fn writers(requests: &[Request]) -> BTreeMap<u64, usize> {
    let mut writers = BTreeMap::new();
    for (place, request) in requests.iter().enumerate() {
        if let Some(value) = request.value() {
            assert!(writers.insert(value, place).is_none(), "{request:?}: value used twice");
        }
    }
    writers
}

/// Who may have deleted a key without being told so, by the key and the revision that the deletion
/// asks for; of those alike, the one that asked first is last.
struct Deleters(BTreeMap<(u64, Option<i64>), Vec<usize>>);

impl Deleters {
    fn new(requests: &[Request]) -> Self {
        let mut deleters: BTreeMap<(u64, Option<i64>), Vec<usize>> = BTreeMap::new();
        for (place, request) in requests.iter().enumerate() {
            let changed = match request.wish {
                Wish::Delete => None,
                Wish::Remove(changed) => Some(changed),
                Wish::Put(_) | Wish::Create(_) | Wish::Update(..) | Wish::Read => continue,
            };
            if request.told == Told::Unknown {
                deleters.entry((request.key, changed)).or_default().push(place);
            }
        }
        for places in deleters.values_mut() {
            places.sort_by_key(|place| std::cmp::Reverse(requests[*place].called));
        }
        Self(deleters)
    }

    /// Who can have made this event: asked for before anybody was told of a later revision. Who
    /// can have made no other comes first.
    fn take(&mut self, event: Event, floors: &[i64]) -> Option<usize> {
        let changed = event.former.map(|former| former.changed);
        [changed, None].into_iter().find_map(|changed| {
            self.0.get_mut(&(event.key, changed))?.pop_if(|place| floors[*place] < event.revision)
        })
    }
}

/// Checks that what a request saw was there at a revision since it was asked for.
fn check_seen(log: &Log, request: Request, floor: i64) -> Result<(), RequestFlaw> {
    let Told::Saw(revision, found) = request.told else { return Ok(()) };
    if revision < floor {
        return Err(RequestFlaw::Back { request, floor });
    }
    // What saw its condition hold should have changed the key.
    if !log.was(request.key, found, floor, revision) || request.may_follow(found) {
        return Err(RequestFlaw::Stale { request, floor });
    }
    Ok(())
}

/// The same requests as a history of registers, for the check that knows of no revisions. What did
/// not happen is left out.
pub fn registers(log: &Log, requests: &[Request]) -> History {
    let written: BTreeSet<u64> =
        log.events().iter().filter_map(|event| event.now).map(|now| now.value).collect();
    let text = |value: u64| value.to_string();
    let before = |request: &Request, changed| {
        let stored = log.at(request.key, changed).and_then(|event| event.now);
        stored.map(|stored| text(stored.value))
    };
    let operation = |request: &Request| {
        let action = match (request.told, request.wish) {
            (Told::Saw(_, found), _) => Action::Read(found.map(|found| text(found.value))),
            (Told::Refused, _) | (Told::Unknown, Wish::Read) => return None,
            (Told::Done(_) | Told::Unknown, wish) => match wish {
                Wish::Put(value) => Action::Write(text(value)),
                Wish::Create(value) => Action::Swap { from: None, to: Some(text(value)) },
                Wish::Update(value, changed) => {
                    Action::Swap { from: before(request, changed), to: Some(text(value)) }
                }
                Wish::Remove(changed) => Action::Swap { from: before(request, changed), to: None },
                Wish::Delete => Action::Delete,
                Wish::Read => return None,
            },
        };
        let known = request.told != Told::Unknown;
        if !known && request.value().is_some_and(|value| !written.contains(&value)) {
            return None;
        }
        Some(Operation {
            client: request.client,
            key: text(request.key),
            action,
            called: request.called,
            returned: known.then_some(request.returned),
        })
    };
    History { operations: requests.iter().filter_map(operation).collect() }
}

impl Request {
    /// What it leaves behind.
    pub(crate) fn value(&self) -> Option<u64> {
        match self.wish {
            Wish::Put(value) | Wish::Create(value) | Wish::Update(value, _) => Some(value),
            Wish::Delete | Wish::Remove(_) | Wish::Read => None,
        }
    }

    /// The store's revision, as it was told.
    fn revision(&self) -> Option<i64> {
        match self.told {
            Told::Done(revision) | Told::Saw(revision, _) => Some(revision),
            Told::Refused | Told::Unknown => None,
        }
    }

    /// Whether it may change a key that is so.
    fn may_follow(&self, former: Option<Stored>) -> bool {
        match self.wish {
            Wish::Put(_) => true,
            Wish::Create(_) => former.is_none(),
            Wish::Update(_, changed) | Wish::Remove(changed) => {
                former.is_some_and(|former| former.changed == changed)
            }
            Wish::Delete => former.is_some(),
            Wish::Read => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linearizable::check_registers;
    use crate::log::tests::{events, log};

    const CHANGES: [(u64, Option<u64>); 6] =
        [(1, Some(10)), (2, Some(11)), (1, Some(12)), (1, None), (1, Some(13)), (1, None)];

    /// One request after the other, each of a client of its own.
    fn requests(asked: &[(u64, Wish, Told)]) -> Vec<Request> {
        let request = |(number, &(key, wish, told)): (u64, _)| Request {
            client: number,
            key,
            wish,
            told,
            called: number * 10,
            returned: number * 10 + 5,
        };
        (0..).zip(asked).map(request).collect()
    }

    /// What the log of [`CHANGES`] is an outcome of; the fifth was never answered.
    fn honest() -> Vec<Request> {
        let there = log(&CHANGES).events()[2].now;
        requests(&[
            (1, Wish::Put(10), Told::Done(2)),
            (2, Wish::Create(11), Told::Done(3)),
            (1, Wish::Update(12, 2), Told::Done(4)),
            (1, Wish::Read, Told::Saw(4, there)),
            (1, Wish::Remove(4), Told::Unknown),
            (1, Wish::Put(99), Told::Unknown),
            (1, Wish::Create(13), Told::Done(6)),
            (1, Wish::Delete, Told::Done(7)),
            (1, Wish::Delete, Told::Saw(7, None)),
        ])
    }

    fn check(asked: &[Request]) -> Result<Counts, RequestFlaw> {
        check_requests(&log(&CHANGES), asked)
    }

    #[test]
    fn what_happened_passes() {
        let counts = Counts { acknowledged: 5, unknown_done: 1, unknown_not_done: 1, reads: 2 };
        assert_eq!(check(&honest()), Ok(counts));
        let history = registers(&log(&CHANGES), &honest());
        assert_eq!(history.operations.len(), 8, "what did not happen is left out");
        check_registers(&history).unwrap();
    }

    #[test]
    fn a_lost_write_is_found() {
        let mut asked = honest();
        asked.push(Request { told: Told::Done(8), ..asked[5] });
        asked.remove(5);
        assert!(matches!(check(&asked), Err(RequestFlaw::Lost { found: None, .. })));
        let mut moved = honest();
        moved[6].told = Told::Done(4);
        assert!(matches!(check(&moved), Err(RequestFlaw::Lost { found: Some(_), .. })));
    }

    #[test]
    fn a_write_that_happened_twice_is_found() {
        let twice = [(1, Some(10)), (1, Some(11)), (1, Some(10))];
        let log = log(&twice);
        for told in [Told::Done(2), Told::Unknown] {
            let asked = requests(&[(1, Wish::Put(10), told), (1, Wish::Put(11), Told::Done(3))]);
            let event = log.events()[2];
            let found = check_requests(&log, &asked);
            assert_eq!(found, Err(RequestFlaw::Twice { request: asked[0], event }));
        }
    }

    #[test]
    fn a_deletion_that_happened_twice_is_found() {
        let mut asked = honest();
        asked.remove(4);
        assert!(matches!(check(&asked), Err(RequestFlaw::Stray { request: None, .. })));
        asked[6].told = Told::Done(5);
        assert!(matches!(check(&asked), Err(RequestFlaw::Stray { .. })));
    }

    #[test]
    fn a_change_whose_asker_was_told_otherwise_is_found() {
        for told in [Told::Refused, Told::Saw(5, None)] {
            let mut asked = honest();
            asked[6].told = told;
            assert!(matches!(check(&asked), Err(RequestFlaw::Stray { request: Some(_), .. })));
        }
    }

    #[test]
    fn a_condition_that_did_not_hold_is_found() {
        for wish in [Wish::Create(12), Wish::Update(12, 3)] {
            let mut asked = honest();
            asked[2].wish = wish;
            assert!(matches!(check(&asked), Err(RequestFlaw::Condition { .. })));
            asked[2].told = Told::Unknown;
            assert!(matches!(check(&asked), Err(RequestFlaw::Condition { .. })));
        }
    }

    #[test]
    fn one_revision_for_two_writes_is_found() {
        let mut asked = honest();
        let again = Request { wish: Wish::Delete, told: Told::Done(7), ..asked[7] };
        asked.push(again);
        assert!(matches!(check(&asked), Err(RequestFlaw::Shared { revision: 7, .. })));
    }

    #[test]
    fn a_stale_read_is_found() {
        let log = log(&CHANGES);
        for found in [log.events()[0].now, None] {
            let mut asked = honest();
            asked[3].told = Told::Saw(4, found);
            assert!(matches!(check(&asked), Err(RequestFlaw::Stale { floor: 4, .. })));
            let history = registers(&log, &asked);
            assert!(check_registers(&history).is_err(), "found without revisions too");
        }
        let mut asked = honest();
        asked[3].told = Told::Saw(3, log.events()[0].now);
        assert!(matches!(check(&asked), Err(RequestFlaw::Back { floor: 4, .. })));
    }

    #[test]
    fn a_condition_that_held_and_was_denied_is_found() {
        let mut asked = honest();
        asked[3].wish = Wish::Update(77, 4);
        assert!(matches!(check(&asked), Err(RequestFlaw::Stale { .. })));
    }

    #[test]
    fn a_revision_that_goes_back_is_found() {
        let log = log(&[(1, Some(10)), (2, Some(11))]);
        let asked =
            requests(&[(2, Wish::Put(11), Told::Done(3)), (1, Wish::Put(10), Told::Done(2))]);
        let flaw = RequestFlaw::Back { request: asked[1], floor: 3 };
        assert_eq!(check_requests(&log, &asked), Err(flaw));
        let mut unknown = asked;
        unknown[1].told = Told::Unknown;
        assert!(matches!(check_requests(&log, &unknown), Err(RequestFlaw::Back { .. })));
    }

    #[test]
    fn a_deletion_is_not_explained_by_one_who_asked_later() {
        let log = Log::new(events(&[(1, Some(10)), (1, None), (1, Some(12))])).unwrap();
        let asked = requests(&[
            (1, Wish::Put(10), Told::Done(2)),
            (1, Wish::Delete, Told::Unknown),
            (1, Wish::Put(12), Told::Done(4)),
            (1, Wish::Remove(2), Told::Unknown),
        ]);
        let counts = Counts { acknowledged: 2, unknown_done: 1, unknown_not_done: 1, reads: 0 };
        assert_eq!(check_requests(&log, &asked), Ok(counts));
        assert!(check_requests(&log, &[asked[0], asked[2], asked[3]]).is_err());
    }
}
