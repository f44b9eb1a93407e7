//! Every key as it is now: how a watcher begins, or goes on when what was between is compacted away.

use bytes::{BufMut as _, BytesMut};
use keelson_client::key_value;
use serde_json::{Map, Value, json};

use super::cursor::Position;
use super::ended::Ended;
use super::sink::{Line, Sink};
use super::source::Source;
use super::stream::{ANSWER_LIMIT, Fault, Keys, Member};

/// Keys of one piece.
const KEYS_MAX: i64 = 100;

/// Hands on all keys of one revision; the position after it. `None`: it is to end. Nothing of it counts
/// before all of it is there: until then the position stays `before`.
pub async fn resync(
    source: &mut Source,
    sink: &mut Sink,
    keys: &Keys,
    before: Position,
) -> Result<Option<Position>, Ended> {
    let stop = sink.stop.clone();
    loop {
        let Some(member) = stop.run_until_cancelled(source.member()).await.transpose()? else {
            return Ok(None);
        };
        match listed(&member, source, sink, keys, before).await? {
            Ok(position) => return Ok(position),
            // The listing was overtaken by a compaction, and begins anew.
            Err(Fault::Compacted(_)) => {}
            Err(fault) => {
                let _none_is_compacted =
                    stop.run_until_cancelled(source.failed(fault)).await.transpose()?;
            }
        }
    }
}

async fn listed(
    member: &Member,
    source: &mut Source,
    sink: &mut Sink,
    keys: &Keys,
    before: Position,
) -> Result<Result<Option<Position>, Fault>, Ended> {
    let mut rest = keys.clone();
    let mut revision = 0;
    loop {
        let piece = tokio::time::timeout(ANSWER_LIMIT, member.range(&rest, revision, KEYS_MAX));
        let piece = match piece.await {
            Err(_) => return Ok(Err(Fault::Away("no answer".to_owned()))),
            Ok(Err(fault)) => return Ok(Err(fault)),
            Ok(Ok(piece)) => piece,
        };
        let mut lines = Vec::new();
        let line = |object| Line { object, after: before };
        if revision == 0 {
            let header = piece.header.unwrap_or_default();
            source.is_of(&member.endpoint, header.cluster_id)?;
            (revision, sink.cluster) = (header.revision, header.cluster_id);
            lines.push(line(mark("RESYNC", revision)));
        }
        lines.extend(piece.kvs.iter().map(|kv| line(key_value("STATE", kv))));
        let last = piece.kvs.last().filter(|_| piece.more);
        let after = Position::at(revision + 1);
        if last.is_none() {
            lines.push(Line { object: mark("RESYNCED", revision), after });
        }
        if !sink.hand_on(lines).await? {
            return Ok(Ok(None));
        }
        let Some(last) = last else { return Ok(Ok(Some(after))) };
        let mut next = BytesMut::from(&last.key[..]);
        next.put_u8(0);
        rest.key = next.freeze();
    }
}

fn mark(kind: &str, revision: i64) -> Map<String, Value> {
    object(json!({ "type": kind, "revision": revision }))
}

/// The members of a value that is an object.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
