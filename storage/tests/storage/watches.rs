//! The watch promises: ordered, unique, reliable, atomic, resumable, bookmarkable.

use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::Op;
use keelson_storage::watch::{CreateError, Output, WatchSpec, WatchStream};
use pb::request_op::Request;
use proptest::prelude::*;

use crate::cluster::{Member, delete, op, put};

pub(crate) fn spec(key: &'static str, end: &'static str, start_revision: i64) -> WatchSpec {
    let (key, range_end) = (key.into(), end.into());
    WatchSpec { key, range_end, start_revision, prev_kv: true, ..WatchSpec::default() }
}

/// All there is: `id: rev key[<before]`, progress and ends.
pub(crate) fn drain(stream: &mut WatchStream) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let mut outputs = stream.take();
        if outputs.is_empty() && stream.is_behind() {
            outputs = stream.catch_up().unwrap();
            said.extend(outputs.iter().flat_map(show));
            continue;
        }
        if outputs.is_empty() {
            return said;
        }
        said.extend(outputs.iter().flat_map(show));
    }
}

fn show(output: &Output) -> Vec<String> {
    match output {
        Output::Events { watch_id, prev_kv, revision, events } => {
            let last = events.last().unwrap().change().revision.main;
            assert_eq!(*revision, last);
            let line = |event: &std::sync::Arc<keelson_storage::watch::SharedEvent>| {
                let message = event.decoded(*prev_kv).unwrap();
                let kv = message.kv.clone().unwrap();
                let sign = if message.r#type == 1 { "-" } else { "+" };
                let before =
                    message.prev_kv.map_or(String::new(), |kv| format!("<{}", text(&kv.value)));
                format!(
                    "{watch_id}: {} {sign}{}={}{before}",
                    kv.mod_revision,
                    text(&kv.key),
                    text(&kv.value)
                )
            };
            events.iter().map(line).collect()
        }
        Output::Progress { watch_id, revision } => vec![format!("{watch_id:?} at {revision}")],
        Output::Compacted { watch_id, compacted } => {
            vec![format!("{watch_id}: compacted {compacted}")]
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn from_now_and_from_the_past_are_the_same_events() {
    let mut member = Member::new();
    let mut live = member.machine.hub().stream();
    let created = live.create(spec("a", "c", 0), 0).unwrap();
    assert_eq!((created.watch_id, created.revision), (0, 1));
    member.put("a", "1");
    member.put("c", "not in the range");
    member.put("a", "2");
    member.delete("a", "");
    member.put("a", "3");
    let expected =
        ["0: 2 +a=1", "0: 4 +a=2<1", "0: 5 -a=<2", "0: 6 +a=3"].map(str::to_owned).to_vec();
    assert_eq!(drain(&mut live), expected);
    for start in [1, 2] {
        let mut late = member.machine.hub().stream();
        assert_eq!(late.create(spec("a", "c", start), 0).unwrap().revision, 6);
        assert_eq!(drain(&mut late), expected);
    }
    let mut late = member.machine.hub().stream();
    late.create(spec("a", "c", 5), 0).unwrap();
    assert_eq!(drain(&mut late), expected[2..]);
    member.put("b", "4");
    assert_eq!(drain(&mut late), ["0: 7 +b=4"]);
    assert_eq!(drain(&mut live), ["0: 7 +b=4"]);
}

// upstream: etcd v3: a delete with an open end may go with a put of a key that it deletes
#[test]
fn a_key_that_changes_twice_in_a_revision_has_one_past() {
    let mut member = Member::new();
    member.put("a", "1");
    let mut live = member.machine.hub().stream();
    live.create(spec("a", "", 0), 0).unwrap();
    let success = vec![
        op(Request::RequestDeleteRange(delete("a", "\0"))),
        op(Request::RequestPut(put("a", "2"))),
    ];
    member.txn(pb::TxnRequest { success, ..Default::default() }).unwrap();
    let mut late = member.machine.hub().stream();
    late.create(spec("a", "", 3), 0).unwrap();
    for stream in [&mut live, &mut late] {
        assert_eq!(drain(stream), ["0: 3 -a=<1", "0: 3 +a=2"]);
    }
    assert_eq!(member.keys("a", "", 3).0, ["a=2"]);
}

#[test]
fn filters_and_single_keys() {
    let mut member = Member::new();
    let mut stream = member.machine.hub().stream();
    stream.create(WatchSpec { no_put: true, ..spec("a", "", 0) }, 5).unwrap();
    stream.create(WatchSpec { no_delete: true, prev_kv: false, ..spec("a", "", 0) }, 0).unwrap();
    member.put("a", "1");
    member.put("aa", "1");
    member.put("a", "2");
    member.delete("a", "");
    assert_eq!(drain(&mut stream), ["0: 2 +a=1", "0: 4 +a=2", "5: 5 -a=<2"]);
    assert!(stream.cancel(0));
    assert!(!stream.cancel(0));
    member.put("a", "3");
    member.delete("a", "");
    assert_eq!(drain(&mut stream), ["5: 7 -a=<3"]);
}

#[test]
fn ids_are_chosen_and_checked() {
    let member = Member::new();
    let mut stream = member.machine.hub().stream();
    let mut id = |wanted, key, end, start| {
        stream.create(spec(key, end, start), wanted).map(|created| created.watch_id)
    };
    assert_eq!(id(1, "a", "", 0), Ok(1));
    assert_eq!(id(0, "a", "", 0), Ok(0));
    assert_eq!(id(0, "a", "", 0), Ok(2), "1 is in use");
    assert_eq!(id(2, "a", "", 0), Err(CreateError::DuplicateId));
    assert_eq!(id(0, "b", "a", 0), Err(CreateError::EmptyRange));
    assert_eq!(id(0, "b", "b", 0), Err(CreateError::EmptyRange));
    assert_eq!(id(0, "a", "", -1), Err(CreateError::NegativeStart));
    assert_eq!(id(0, "", "", 0), Ok(3));
}

#[test]
fn progress_comes_after_the_events_it_covers() {
    let mut member = Member::new();
    let mut stream = member.machine.hub().stream();
    stream.request_progress();
    assert_eq!(drain(&mut stream), [""; 0], "no watcher, no answer");
    stream.create(spec("a", "", 0), 0).unwrap();
    member.put("a", "1");
    stream.request_progress();
    member.put("a", "2");
    assert_eq!(drain(&mut stream), ["0: 2 +a=1", "None at 2", "0: 3 +a=2<1"]);
    // One that reads the past: not before it has read it.
    stream.create(spec("a", "", 1), 0).unwrap();
    stream.request_progress();
    assert_eq!(drain(&mut stream), ["1: 2 +a=1", "1: 3 +a=2<1", "None at 3"]);
    // One whose start is not reached: no answer.
    stream.create(spec("a", "", 9), 0).unwrap();
    stream.request_progress();
    assert_eq!(drain(&mut stream), [""; 0]);
}

#[test]
fn a_quiet_watcher_is_told_how_far_it_is() {
    let mut member = Member::new();
    let mut stream = member.machine.hub().stream();
    stream.create(WatchSpec { progress_notify: true, ..spec("a", "", 0) }, 0).unwrap();
    stream.create(spec("a", "", 0), 0).unwrap();
    member.put("b", "");
    stream.tick();
    assert_eq!(drain(&mut stream), ["Some(0) at 2"]);
    member.put("a", "");
    assert_eq!(drain(&mut stream), ["0: 3 +a=", "1: 3 +a="]);
    stream.tick();
    assert_eq!(drain(&mut stream), [""; 0], "it had something to say");
    stream.tick();
    assert_eq!(drain(&mut stream), ["Some(0) at 3"]);
}

// upstream: etcd v3 API, "Watch": start revisions and compaction
#[test]
fn compaction_ends_a_watcher_that_missed_something() {
    let mut member = Member::new();
    for n in 0..3 {
        member.put("a", &n.to_string());
    }
    member.delete("a", ""); // 5
    member.put("a", "9");
    member.compact(5).unwrap();
    member.carry_out_compaction();
    let mut stream = member.machine.hub().stream();
    stream.create(spec("a", "", 4), 0).unwrap();
    assert_eq!(drain(&mut stream), ["0: compacted 5"]);
    assert!(stream.is_empty());
    stream.create(spec("a", "", 5), 0).unwrap();
    assert_eq!(drain(&mut stream), ["1: 5 -a=", "1: 6 +a=9"], "the deletion at it is seen");
}

#[test]
fn a_future_start_is_silent_until_then() {
    let mut member = Member::new();
    let mut stream = member.machine.hub().stream();
    stream.create(spec("a", "", 4), 0).unwrap();
    member.put("a", "2");
    member.put("a", "3");
    member.put("a", "4");
    assert_eq!(drain(&mut stream), ["0: 4 +a=4<3"]);
}

#[test]
fn a_slow_watcher_misses_nothing_and_costs_bounded_memory() {
    let mut member = Member::new();
    let mut stream = member.machine.hub().stream();
    stream.create(spec("a", "", 0), 0).unwrap();
    stream.create(spec("a", "b", 0), 0).unwrap();
    let big = "x".repeat(100_000);
    for _ in 0..300 {
        member.put("a", &big);
    }
    // 300 events of 200 kB do not wait in memory: the rest comes from the engine.
    stream.request_progress();
    let mut seen = [Vec::new(), Vec::new()];
    let mut progress = Vec::new();
    let mut puts = 300;
    loop {
        let mut outputs = stream.take();
        if outputs.is_empty() && stream.is_behind() {
            outputs = stream.catch_up().unwrap();
            // Writing goes on while it catches up.
            if puts < 600 {
                member.put("a", &big);
                puts += 1;
            }
        } else if outputs.is_empty() {
            break;
        }
        for output in outputs {
            match output {
                Output::Events { watch_id, events, .. } => {
                    assert!(progress.is_empty() || seen[watch_id as usize].len() >= 300);
                    for event in events {
                        seen[watch_id as usize].push(event.change().revision.main);
                        assert_eq!(
                            event.change().prev_kv.is_some(),
                            event.change().revision.main > 2
                        );
                    }
                }
                Output::Progress { revision, .. } => progress.push((revision, seen.clone())),
                Output::Compacted { .. } => panic!("not compacted"),
            }
        }
    }
    let all: Vec<i64> = (2..2 + puts).collect();
    assert_eq!(seen, [all.clone(), all]);
    let (revision, seen) = progress.pop().expect("progress is told once all are live");
    let until: Vec<i64> = (2..=revision).collect();
    assert_eq!(seen, [until.clone(), until], "neither too early nor too late");
}

#[test]
fn a_replaced_state_is_caught_up_with() {
    let mut ahead = Member::new();
    for n in 0..5 {
        ahead.put("a", &n.to_string());
    }
    let mut member = Member::new();
    member.put("a", "0");
    let mut stream = member.machine.hub().stream();
    stream.create(spec("a", "", 0), 0).unwrap();
    member.machine.install(ahead.machine.snapshot().unwrap()).unwrap();
    member.put("a", "5");
    assert_eq!(
        drain(&mut stream),
        ["0: 3 +a=1<0", "0: 4 +a=2<1", "0: 5 +a=3<2", "0: 6 +a=4<3", "0: 7 +a=5<4"]
    );
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8, bool),
    Both,
    Batch(u8),
    Watch(u8, u8),
    Cancel(u8),
    Take,
    CatchUp,
    Progress,
    Compact(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4, any::<bool>()).prop_map(|(key, put)| Step::Write(key, put)),
        2 => Just(Step::Both),
        2 => (1u8..5).prop_map(Step::Batch),
        3 => (0u8..4, 0u8..30).prop_map(|(key, start)| Step::Watch(key, start)),
        1 => (0u8..6).prop_map(Step::Cancel),
        3 => Just(Step::Take),
        3 => Just(Step::CatchUp),
        2 => Just(Step::Progress),
        1 => (0u8..30).prop_map(Step::Compact),
    ]
}

struct Watched {
    key: u8,
    from: i64,
    /// Revision and key, in the order they came.
    seen: Vec<(i64, u8)>,
    ended: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Each watcher sees exactly the changes of its keys from its start on, each revision in one
    /// piece, and progress never before what it covers.
    #[test]
    fn every_watcher_sees_every_change_once_in_order(
        steps in proptest::collection::vec(step(), 1..80)
    ) {
        let mut member = Member::new();
        let mut stream = member.machine.hub().stream();
        let mut history: Vec<(i64, u8)> = Vec::new();
        let mut watchers: Vec<Watched> = Vec::new();
        let take = |outputs: Vec<Output>, watchers: &mut Vec<Watched>, history: &[(i64, u8)]| {
            for output in outputs {
                match output {
                    Output::Events { watch_id, events, .. } => {
                        let watched = &mut watchers[watch_id as usize];
                        assert!(!watched.ended);
                        let revision = |event: &std::sync::Arc<keelson_storage::watch::SharedEvent>| event.change().revision.main;
                        let before = watched.seen.last().map_or(0, |(revision, _)| *revision);
                        assert!(before < revision(&events[0]), "a revision is in one piece");
                        for event in &events {
                            let key = event.change().key[1] - b'0';
                            watched.seen.push((revision(event), key));
                        }
                    }
                    Output::Progress { revision, .. } => {
                        for watched in watchers.iter().filter(|watched| !watched.ended) {
                            let due = |&&(at, key): &&(i64, u8)| {
                                at >= watched.from && at <= revision && key >= watched.key
                            };
                            assert_eq!(
                                watched.seen.iter().filter(|(at, _)| *at <= revision).count(),
                                history.iter().filter(due).count(),
                                "progress is not ahead of events"
                            );
                        }
                    }
                    Output::Compacted { watch_id, .. } => watchers[watch_id as usize].ended = true,
                }
            }
        };
        let name = |key: u8| format!("k{key}");
        for step in steps {
            match step {
                Step::Write(key, true) => {
                    let at = member.put(&name(key), "v");
                    history.push((at, key));
                }
                Step::Write(key, false) => {
                    let (at, deleted) = member.delete(&name(key), "");
                    history.extend((deleted > 0).then_some((at, key)));
                }
                Step::Both => {
                    let success = vec![
                        op(Request::RequestPut(put("k1", "v"))),
                        op(Request::RequestPut(put("k3", "v"))),
                    ];
                    let response = member.txn(pb::TxnRequest { success, ..Default::default() });
                    let at = response.unwrap().header.unwrap().revision;
                    history.extend([(at, 1), (at, 3)]);
                }
                Step::Batch(count) => {
                    let first = member.machine.view().revision() + 1;
                    let ops = (0..count).map(|key| Op::Put(put(&name(key % 4), "v"))).collect();
                    member.apply_all(ops);
                    history.extend((first..).zip((0..count).map(|key| key % 4)));
                }
                Step::Watch(key, start) => {
                    let from = i64::from(start);
                    let range = WatchSpec {
                        key: name(key).into(),
                        range_end: "l".into(),
                        start_revision: from,
                        prev_kv: true,
                        ..WatchSpec::default()
                    };
                    let created = stream.create(range, 0).unwrap();
                    prop_assert_eq!(created.watch_id, watchers.len() as i64);
                    let from = if from == 0 { created.revision + 1 } else { from };
                    watchers.push(Watched { key, from, seen: Vec::new(), ended: false });
                }
                Step::Cancel(id) => {
                    if stream.cancel(i64::from(id)) {
                        watchers[usize::from(id)].ended = true;
                    }
                }
                Step::Take => {
                    let outputs = stream.take();
                    take(outputs, &mut watchers, &history);
                }
                Step::CatchUp => {
                    if stream.is_behind() {
                        let outputs = stream.catch_up().unwrap();
                        take(outputs, &mut watchers, &history);
                    }
                }
                Step::Progress => stream.request_progress(),
                Step::Compact(revision) => {
                    if member.compact(i64::from(revision)).is_ok() {
                        member.carry_out_compaction();
                    }
                }
            }
        }
        loop {
            let behind = stream.is_behind();
            if behind {
                let outputs = stream.catch_up().unwrap();
                take(outputs, &mut watchers, &history);
            }
            let outputs = stream.take();
            if outputs.is_empty() && !behind {
                break;
            }
            take(outputs, &mut watchers, &history);
        }
        for watched in watchers.iter().filter(|watched| !watched.ended) {
            let due = history.iter().filter(|(at, key)| *at >= watched.from && *key >= watched.key);
            prop_assert_eq!(&watched.seen, &due.copied().collect::<Vec<_>>());
        }
    }
}
