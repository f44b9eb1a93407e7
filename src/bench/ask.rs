//! Requests as bytes, and whether an answer's bytes are what was asked for.

use bytes::Bytes;
use keelson_proto::etcdserverpb as pb;
use prost::Message as _;

use super::wire::{Fields, Template, Value, digits, revision};
use super::workload::{Ask, Object};

/// What keys that are made once begin with.
const PREFIX_CREATE: &str = "/keelson/bench-create/";
/// Keys of a list's page, as API servers ask for them.
const PAGE: i64 = 500;

/// The method that takes the request.
pub(crate) fn path(ask: Ask) -> &'static str {
    match ask {
        Ask::Put => "/etcdserverpb.KV/Put",
        Ask::Create | Ask::Update(_) => "/etcdserverpb.KV/Txn",
        Ask::Get(_) | Ask::SerializableGet | Ask::Range(_) | Ask::List(_) => {
            "/etcdserverpb.KV/Range"
        }
        Ask::Stream(_) => "/etcdserverpb.KV/RangeStream",
        Ask::KeepAlive | Ask::KeepAliveOnce => "/etcdserverpb.Lease/LeaseKeepAlive",
    }
}

/// The request, where all of its kind differ by their key alone.
pub(crate) fn template(ask: Ask, value: &Bytes) -> Option<Template> {
    let value = value.clone();
    let get = |object: Object, serializable| {
        Template::new(object.prefix(), |key| pb::RangeRequest {
            key,
            serializable,
            ..Default::default()
        })
    };
    let range = |object: Object, end: Bytes, limit| {
        Template::new("", |_| pb::RangeRequest {
            key: Bytes::from_static(object.prefix().as_bytes()),
            range_end: end,
            limit,
            ..Default::default()
        })
    };
    match ask {
        Ask::Put => {
            let put = |key| pb::PutRequest { key, value, ..Default::default() };
            Some(Template::new(Object::Plain.prefix(), put))
        }
        Ask::Create => Some(Template::new(PREFIX_CREATE, |key| put_if(key, 0, value))),
        Ask::Get(object) => Some(get(object, false)),
        Ask::SerializableGet => Some(get(Object::Plain, true)),
        Ask::Range(count) | Ask::Stream(count) => {
            Some(range(Object::Plain, key(Object::Plain, count), 0))
        }
        Ask::List(object) => Some(range(object, end(object.prefix()), PAGE)),
        Ask::Update(_) | Ask::KeepAlive | Ask::KeepAliveOnce => None,
    }
}

/// The key of that number.
pub(crate) fn key(object: Object, number: u64) -> Bytes {
    [object.prefix().as_bytes(), &digits(number)].concat().into()
}

/// Where the keys with a prefix end.
pub(crate) fn end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// As the API server writes: if the key is as it was last seen, else say how it is.
pub(crate) fn update(object: Object, number: u64, mod_revision: i64, value: &Bytes) -> Vec<u8> {
    let key = key(object, number);
    let range = pb::RangeRequest { key: key.clone(), ..Default::default() };
    let request = Some(pb::request_op::Request::RequestRange(range));
    pb::TxnRequest {
        failure: vec![pb::RequestOp { request }],
        ..put_if(key, mod_revision, value.clone())
    }
    .encode_to_vec()
}

fn put_if(key: Bytes, mod_revision: i64, value: Bytes) -> pb::TxnRequest {
    let compare = pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Mod as i32,
        key: key.clone(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(mod_revision)),
        ..Default::default()
    };
    let put = pb::PutRequest { key, value, ..Default::default() };
    pb::TxnRequest {
        compare: vec![compare],
        success: vec![pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }],
        failure: Vec::new(),
    }
}

/// What a client remembers of what it was told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Memory {
    /// The latest revision that it has seen.
    revision: i64,
    /// Its own objects' modification revisions, as far as it knows.
    mod_revisions: [i64; 3],
    /// Keys in the parts of the answer at hand.
    keys: u64,
}

impl Memory {
    /// The modification revision of its own object of that kind.
    pub(crate) fn mod_revision(&self, object: Object) -> i64 {
        self.mod_revisions[object as usize]
    }

    /// A request goes out.
    pub(crate) fn asked(&mut self) {
        self.keys = 0;
    }

    /// Whether an answer, as far as it has come, is what was asked for.
    pub(crate) fn check(&mut self, ask: Ask, message: &[u8]) -> bool {
        if let Ask::Stream(count) = ask {
            let part = Fields(message).find_map(|field| match field {
                (1, Value::Bytes(part)) => Some(part),
                _ => None,
            });
            self.keys += part.map_or(0, keys);
            return self.keys == count;
        }
        let revision = revision(message);
        let newer = revision > self.revision;
        let not_older = revision >= self.revision && revision > 0;
        self.revision = self.revision.max(revision);
        match ask {
            Ask::Put => newer,
            Ask::Create => newer && succeeded(message),
            Ask::Update(object) => {
                let seen = &mut self.mod_revisions[object as usize];
                if succeeded(message) {
                    *seen = revision;
                    return newer;
                }
                *seen = found(message).unwrap_or(0);
                not_older
            }
            Ask::Get(_) => not_older && keys(message) == 1,
            // A member behind may answer with what was.
            Ask::SerializableGet => revision > 0 && keys(message) == 1,
            Ask::Range(count) | Ask::Stream(count) => not_older && keys(message) == count,
            Ask::List(_) => not_older && keys(message) > 0,
            Ask::KeepAlive | Ask::KeepAliveOnce => {
                Fields(message).any(|field| matches!(field, (3, Value::Number(1..))))
            }
        }
    }
}

fn succeeded(message: &[u8]) -> bool {
    Fields(message).any(|field| field == (2, Value::Number(1)))
}

fn keys(message: &[u8]) -> u64 {
    Fields(message).filter(|(field, _)| *field == 2).count() as u64
}

/// The modification revision of the key that a refused update has read.
fn found(message: &[u8]) -> Option<i64> {
    let answer = pb::TxnResponse::decode(message).ok()?;
    match answer.responses.into_iter().next()?.response? {
        pb::response_op::Response::ResponseRange(range) => Some(range.kvs.first()?.mod_revision),
        _ => None,
    }
}
