//! Requests to watch, and what is read of the answers.

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use prost::Message as _;

use super::ask;
use super::wire::{Call, Fields, Finish, Turn, Value};

/// The method.
pub(crate) const PATH: &str = "/etcdserverpb.Watch/Watch";

/// The request for a watcher.
pub(crate) fn create(key: Bytes, range_end: Bytes) -> Vec<u8> {
    let create = pb::WatchCreateRequest { key, range_end, ..Default::default() };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    pb::WatchRequest { request_union: Some(union) }.encode_to_vec()
}

/// Opens a stream with one watcher of all keys with a prefix.
pub(crate) fn prefix(prefix: &'static str, tag: u64, turn: &mut Turn<'_>) -> Call {
    let request = create(Bytes::from_static(prefix.as_bytes()), ask::end(prefix));
    turn.connection.call(PATH, tag, &request, Finish::Later)
}

/// What a stream says.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Said {
    /// To which of its watchers.
    pub(crate) watcher: u64,
    /// That it watches from now on.
    pub(crate) created: bool,
    /// That it does no longer.
    pub(crate) canceled: bool,
}

/// One event.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Happened<'a> {
    /// Modification revision of the key.
    pub(crate) revision: i64,
    /// Its value.
    pub(crate) value: &'a [u8],
}

/// Reads an answer; `each` is told its events.
pub(crate) fn read<'a>(message: &'a [u8], mut each: impl FnMut(u64, Happened<'a>)) -> Said {
    let mut said = Said::default();
    for field in Fields(message) {
        match field {
            (2, Value::Number(watcher)) => said.watcher = watcher,
            (3, Value::Number(1)) => said.created = true,
            (4, Value::Number(1)) => said.canceled = true,
            (11, Value::Bytes(event)) => each(said.watcher, happened(event)),
            _ => {}
        }
    }
    said
}

fn happened(event: &[u8]) -> Happened<'_> {
    let mut happened = Happened::default();
    for field in Fields(event) {
        if let (2, Value::Bytes(pair)) = field {
            for field in Fields(pair) {
                match field {
                    (3, Value::Number(revision)) => happened.revision = revision as i64,
                    (5, Value::Bytes(value)) => happened.value = value,
                    _ => {}
                }
            }
        }
    }
    happened
}

#[cfg(test)]
mod tests {
    use keelson_proto::mvccpb;

    use super::*;

    #[test]
    fn events_are_told_with_their_watcher() {
        let event = |revision: i64| mvccpb::Event {
            kv: Some(mvccpb::KeyValue {
                key: "k".into(),
                mod_revision: revision,
                value: vec![revision as u8].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = pb::WatchResponse {
            watch_id: 3,
            events: vec![event(7), event(9)],
            ..Default::default()
        };
        let mut told = Vec::new();
        let bytes = answer.encode_to_vec();
        let said = read(&bytes, |watcher, happened| {
            told.push((watcher, happened.revision, happened.value.to_vec()));
        });
        assert_eq!(told, [(3, 7, vec![7]), (3, 9, vec![9])]);
        assert!(said.watcher == 3 && !said.created && !said.canceled);
    }
}
