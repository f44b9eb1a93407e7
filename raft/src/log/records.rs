//! Log entries as WAL records, and memberships as bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use keelson_proto::raft as pb;
use keelson_storage::wal::{EntryKind, EntryRecord};
use openraft::EntryPayload;
use prost::Message;

use crate::types::{Entry, LogId, Member, Membership, Payload, StoredMembership, log_id, outer_id};

/// An entry as it is written; payloads are shared, not copied.
pub(crate) fn entry_record(entry: &Entry) -> EntryRecord {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (EntryKind::Blank, Bytes::new()),
        EntryPayload::Normal(Payload(bytes)) => (EntryKind::Command, bytes.clone()),
        EntryPayload::Membership(membership) => {
            (EntryKind::Membership, encode_membership(Some(entry.log_id), membership))
        }
    };
    EntryRecord { id: outer_id(entry.log_id), kind, payload }
}

/// The entry that a record holds.
pub(crate) fn entry_from_record(record: EntryRecord) -> io::Result<Entry> {
    let log_id = log_id(record.id.term, record.id.index)
        .ok_or_else(|| invalid("a log entry with index 0"))?;
    let payload = match record.kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Command => EntryPayload::Normal(Payload(record.payload)),
        EntryKind::Membership => {
            EntryPayload::Membership(decode_membership(record.payload)?.membership().clone())
        }
    };
    Ok(Entry { log_id, payload })
}

/// A membership with the place of its entry, as bytes: `keelson.raft.v1.Membership`.
pub(crate) fn encode_membership(id: Option<LogId>, membership: &Membership) -> Bytes {
    membership_message(id, membership).encode_to_vec().into()
}

pub(crate) fn decode_membership(bytes: Bytes) -> io::Result<StoredMembership> {
    let message = pb::Membership::decode(bytes).map_err(io::Error::other)?;
    stored_membership(message)
}

pub(crate) fn membership_message(id: Option<LogId>, membership: &Membership) -> pb::Membership {
    let configs = membership.get_joint_config().iter();
    pb::Membership {
        id: id.map(id_message),
        configs: configs.map(|ids| pb::Voters { ids: ids.iter().copied().collect() }).collect(),
        peers: membership.nodes().map(|(id, member)| peer_message(*id, member)).collect(),
    }
}

pub(crate) fn stored_membership(message: pb::Membership) -> io::Result<StoredMembership> {
    let configs: Vec<BTreeSet<u64>> =
        message.configs.into_iter().map(|voters| voters.ids.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> = message.peers.into_iter().map(peer_member).collect();
    let id = message.id.and_then(|id| log_id(id.term, id.index));
    if configs.is_empty() && members.is_empty() {
        return Ok(StoredMembership::new(id, Membership::default()));
    }
    let membership = Membership::new(configs, members).map_err(io::Error::other)?;
    Ok(StoredMembership::new(id, membership))
}

pub(crate) fn id_message(id: LogId) -> pb::LogId {
    let outer = outer_id(id);
    pb::LogId { term: outer.term, index: outer.index }
}

/// A member, for the wire and the log.
pub(crate) fn peer_message(id: u64, member: &Member) -> pb::Peer {
    pb::Peer {
        id,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        learner: member.learner,
    }
}

/// The member that a message is of.
pub(crate) fn peer_member(peer: pb::Peer) -> (u64, Member) {
    let pb::Peer { id, name, peer_urls, client_urls, learner } = peer;
    (id, Member { name, peer_urls, client_urls, learner })
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
