//! The answers of a watch stream, with events that are encoded already: made once for all
//! watchers, they are copied only into the connection.

use std::sync::Arc;

use bytes::Bytes;
use keelson_proto::etcdserverpb::ResponseHeader;
use keelson_storage::watch::SharedEvent;
use prost::Message;

/// Wire-identical twin of `etcdserverpb.WatchResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(int64, tag = "2")]
    pub(crate) watch_id: i64,
    #[prost(bool, tag = "3")]
    pub(crate) created: bool,
    #[prost(bool, tag = "4")]
    pub(crate) canceled: bool,
    #[prost(int64, tag = "5")]
    pub(crate) compact_revision: i64,
    #[prost(string, tag = "6")]
    pub(crate) cancel_reason: String,
    #[prost(bool, tag = "7")]
    pub(crate) fragment: bool,
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub(crate) events: Vec<Bytes>,
}

impl WatchResponse {
    /// An answer with events.
    pub(crate) fn events(
        header: ResponseHeader,
        watch_id: i64,
        events: &[Arc<SharedEvent>],
        prev_kv: bool,
    ) -> Self {
        let events = events.iter().map(|event| event.encoded(prev_kv).clone()).collect();
        Self { header: Some(header), watch_id, events, ..Self::default() }
    }

    /// Cut between events so that no piece is larger than `bytes_max`, unless one event is.
    pub(crate) fn fragments(self, bytes_max: usize) -> Vec<Self> {
        if self.encoded_len() < bytes_max {
            return vec![self];
        }
        let empty = Self { events: Vec::new(), fragment: true, ..self.clone() };
        let mut pieces = vec![empty.clone()];
        let mut size = empty.encoded_len();
        for event in self.events {
            // A tag and a length go with each.
            let more = event.len() + 6;
            let last = pieces
                .last_mut()
                .filter(|piece| piece.events.is_empty() || size + more < bytes_max);
            match last {
                Some(piece) => {
                    piece.events.push(event);
                    size += more;
                }
                None => {
                    size = empty.encoded_len() + more;
                    pieces.push(Self { events: vec![event], ..empty.clone() });
                }
            }
        }
        if let Some(last) = pieces.last_mut() {
            last.fragment = false;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_proto::{etcdserverpb as pb, mvccpb};

    #[test]
    fn the_twin_is_the_same_on_the_wire() {
        let kv = mvccpb::KeyValue { key: "k".into(), mod_revision: 4, ..Default::default() };
        let event = mvccpb::Event { kv: Some(kv), ..Default::default() };
        let header = ResponseHeader { revision: 9, ..Default::default() };
        let response = pb::WatchResponse {
            header: Some(header),
            watch_id: 3,
            created: true,
            canceled: true,
            compact_revision: 7,
            cancel_reason: "why".into(),
            fragment: true,
            events: vec![event.clone(), event.clone()],
        };
        let twin = WatchResponse {
            header: Some(header),
            watch_id: 3,
            created: true,
            canceled: true,
            compact_revision: 7,
            cancel_reason: "why".into(),
            fragment: true,
            events: vec![event.encode_to_vec().into(), event.encode_to_vec().into()],
        };
        assert_eq!(twin.encode_to_vec(), response.encode_to_vec());
    }

    // upstream: etcd v3 API, "Watch": fragment
    #[test]
    fn pieces_are_cut_between_events() {
        let events = vec![Bytes::from(vec![0; 400]); 5];
        let response = WatchResponse { watch_id: 1, events, ..WatchResponse::default() };
        let pieces = response.clone().fragments(1000);
        let shape: Vec<(usize, bool)> =
            pieces.iter().map(|piece| (piece.events.len(), piece.fragment)).collect();
        assert_eq!(shape, [(2, true), (2, true), (1, false)]);
        assert!(pieces.iter().all(|piece| piece.encoded_len() < 1000 && piece.watch_id == 1));
        assert_eq!(response.clone().fragments(5000), [response]);
    }
}
