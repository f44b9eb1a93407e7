//! Histories of Jepsen, in EDN: registers (`:read`, `:write`, `:cas`), also of many keys, and
//! transactions (`:txn`) of reads, writes and appends.
//!
//! Jepsen's clients are processes, which end with an operation of unknown outcome (`:info`). The
//! place in the file is the time.

use std::collections::BTreeMap;

use crate::edn::{Edn, read_all};
use crate::format::{Header, Line, NAME, Op, Outcome, Request, Response, TxnStep, VERSION};
use crate::read::{ReadError, Recorded};

/// The key of registers that have none.
const KEY: &str = "x";

/// Reads such a history.
pub(crate) fn read(text: &str) -> Result<Recorded, ReadError> {
    let mut all = read_all(text).map_err(ReadError::Edn)?;
    if let [Edn::Vector(whole)] = all.as_mut_slice() {
        all = std::mem::take(whole);
    }
    if !all.iter().any(|one| one.get("f").is_some() && one.get("process").is_some()) {
        return Err(ReadError::Header);
    }
    let mut asked: BTreeMap<String, (u64, &Edn)> = BTreeMap::new();
    let mut lines = Vec::new();
    for (at, event) in (0..).zip(&all) {
        let process = event.get("process").and_then(Edn::text).unwrap_or_default();
        // The one that makes faults.
        if process.parse::<u64>().is_err() {
            continue;
        }
        match event.get("type").and_then(Edn::text).as_deref() {
            Some("invoke") => {
                if asked.insert(process.clone(), (at, event)).is_some() {
                    return Err(ReadError::Edn(format!("process {process} asks twice at once")));
                }
            }
            Some("ok") => push(&mut lines, &mut asked, &process, (at, event), Outcome::Ok)?,
            Some("fail") => push(&mut lines, &mut asked, &process, (at, event), Outcome::Fail)?,
            Some("info") => push(&mut lines, &mut asked, &process, (at, event), Outcome::Unknown)?,
            other => return Err(ReadError::Edn(format!(":type {other:?} of {event:?}"))),
        }
    }
    let end = all.len() as u64;
    for (process, (called, event)) in asked {
        lines.extend(line(&process, called, event, (end, event), Outcome::Unknown)?);
    }
    let about = "a history of Jepsen".to_owned();
    let header = Header { history: NAME.to_owned(), version: VERSION, about, members: Vec::new() };
    Ok(Recorded { header, lines })
}

fn push(
    lines: &mut Vec<Line>,
    asked: &mut BTreeMap<String, (u64, &Edn)>,
    process: &str,
    end: (u64, &Edn),
    outcome: Outcome,
) -> Result<(), ReadError> {
    let Some((called, event)) = asked.remove(process) else {
        return Err(ReadError::Edn(format!("process {process} is answered unasked: {:?}", end.1)));
    };
    lines.extend(line(process, called, event, end, outcome)?);
    Ok(())
}

fn line(
    process: &str,
    call: u64,
    asked: &Edn,
    (returned, answer): (u64, &Edn),
    outcome: Outcome,
) -> Result<Option<Line>, ReadError> {
    let function = asked.get("f").and_then(Edn::text).unwrap_or_default();
    let mut response = Response::default();
    let value = |event: &Edn| keyed(&function, event.get("value").cloned().unwrap_or(Edn::Nil));
    let (key, wish) = value(asked);
    let request = match (function.as_str(), &wish) {
        ("read", _) => {
            response.value = Some(value(answer).1.text());
            Request::Read { key, serializable: false }
        }
        ("write", wish) => {
            let value = wish.text().unwrap_or_default();
            Request::Write { key, value, lease: None }
        }
        ("cas", Edn::Vector(pair)) if pair.len() == 2 => {
            response.succeeded = Some(true);
            Request::Swap { key, from: pair[0].text(), to: pair[1].text() }
        }
        ("txn", Edn::Vector(steps)) => {
            let then: Option<Vec<TxnStep>> = steps.iter().map(step).collect();
            let Some(then) = then else {
                return Err(ReadError::Edn(format!("not understood: {asked:?}")));
            };
            let told = value(answer).1;
            if let Edn::Vector(steps) = &told {
                let reads = steps.iter().filter_map(read_step);
                response.values = Some(reads.collect());
                response.succeeded = Some(true);
            }
            Request::Txn { compares: Vec::new(), then, otherwise: Vec::new() }
        }
        _ => return Err(ReadError::Edn(format!("not understood: {asked:?}"))),
    };
    if outcome != Outcome::Ok {
        response = Response::default();
    }
    Ok(Some(Line::Op(Op {
        client: process.to_owned(),
        member: None,
        call,
        returned,
        request,
        outcome,
        response,
        error: String::new(),
    })))
}

/// The key, where a history has many: `[key value]`.
fn keyed(function: &str, value: Edn) -> (String, Edn) {
    let nested = |pair: &[Edn]| function != "cas" || matches!(pair[1], Edn::Vector(_));
    match value {
        Edn::Vector(pair) if function != "txn" && pair.len() == 2 && nested(&pair) => {
            (pair[0].text().unwrap_or_default(), pair[1].clone())
        }
        value => (KEY.to_owned(), value),
    }
}

/// `[:r key value]`, `[:w key value]`, `[:append key value]`.
fn step(step: &Edn) -> Option<TxnStep> {
    let Edn::Vector(parts) = step else { return None };
    let [function, key, value] = parts.as_slice() else { return None };
    let key = key.text()?;
    match function.text()?.as_str() {
        "r" => Some(TxnStep::Read { key }),
        "w" => Some(TxnStep::Write { key, value: value.text() }),
        "append" => Some(TxnStep::Append { key, value: value.text()? }),
        _ => None,
    }
}

fn read_step(step: &Edn) -> Option<Option<String>> {
    let Edn::Vector(parts) = step else { return None };
    let is_read = parts.first().and_then(Edn::text).as_deref() == Some("r");
    is_read.then(|| parts.get(2).and_then(Edn::text).filter(|text| !text.is_empty()))
}
