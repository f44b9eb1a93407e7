//! The kinds of load by name, and what each of them asks.

use clap::ValueEnum;

/// What every client does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Put of a random key.
    Put,
    /// Kubernetes-shaped create: a transaction that puts if the key does not exist.
    Create,
    /// Kubernetes-shaped update: a transaction that puts if the key is as last seen, else reads it.
    Update,
    /// Linearizable get of one key.
    Get,
    /// Serializable get of one key.
    SerializableGet,
    /// Range of 1,000 keys.
    #[value(name = "range-1k")]
    Range1k,
    /// Range of 10,000 keys.
    #[value(name = "range-10k")]
    Range10k,
    /// Range of 100,000 keys.
    #[value(name = "range-100k")]
    Range100k,
    /// RangeStream of 1,000 keys (etcd 3.7).
    #[value(name = "stream-1k")]
    Stream1k,
    /// RangeStream of 10,000 keys (etcd 3.7).
    #[value(name = "stream-10k")]
    Stream10k,
    /// RangeStream of 100,000 keys (etcd 3.7).
    #[value(name = "stream-100k")]
    Stream100k,
    /// Keep-alive of a random lease, on a stream that each client keeps open.
    KeepAlive,
    /// The same on a stream of its own each time, as etcd's own load tool does.
    KeepAliveOnce,
    /// What API servers do: node leases, pod status updates, gets, lists and two watches.
    Kubernetes,
    /// From a put to its event, one watcher a client.
    WatchLatency,
    /// Puts of keys that all of --watchers watch, on --streams streams.
    Watch,
}

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Of a random key.
    Put,
    /// Of a key that nobody has made.
    Create,
    /// Of the client's own key.
    Update(Object),
    /// Linearizable.
    Get(Object),
    /// Serializable.
    SerializableGet,
    /// All of that many keys in one answer.
    Range(u64),
    /// The same in parts.
    Stream(u64),
    /// A first page.
    List(Object),
    /// On a stream that stays.
    KeepAlive,
    /// On one that does not.
    KeepAliveOnce,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    /// A load's own, of the size that was asked for.
    Plain,
    /// A node's lease.
    Lease,
    /// A pod.
    Pod,
}

impl Object {
    /// What such keys begin with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "/keelson/bench/",
            Self::Lease => "/registry/leases/kube-node-lease/bench-",
            Self::Pod => "/registry/pods/bench/pod-",
        }
    }

    /// Bytes of its value.
    pub(crate) fn size(self, asked: usize) -> usize {
        match self {
            Self::Plain => asked,
            Self::Lease => 400,
            Self::Pod => 2100,
        }
    }
}

impl Workload {
    /// Its word on the command line and in reports.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// What its clients ask, each with its share; nothing for watches.
    pub(crate) fn mix(self) -> &'static [(u32, Ask)] {
        match self {
            Self::Put => &[(1, Ask::Put)],
            Self::Create => &[(1, Ask::Create)],
            Self::Update => &[(1, Ask::Update(Object::Plain))],
            Self::Get => &[(1, Ask::Get(Object::Plain))],
            Self::SerializableGet => &[(1, Ask::SerializableGet)],
            Self::Range1k => &[(1, Ask::Range(1_000))],
            Self::Range10k => &[(1, Ask::Range(10_000))],
            Self::Range100k => &[(1, Ask::Range(100_000))],
            Self::Stream1k => &[(1, Ask::Stream(1_000))],
            Self::Stream10k => &[(1, Ask::Stream(10_000))],
            Self::Stream100k => &[(1, Ask::Stream(100_000))],
            Self::KeepAlive => &[(1, Ask::KeepAlive)],
            Self::KeepAliveOnce => &[(1, Ask::KeepAliveOnce)],
            Self::Kubernetes => &[
                (50, Ask::Update(Object::Lease)),
                (35, Ask::Update(Object::Pod)),
                (13, Ask::Get(Object::Pod)),
                (2, Ask::List(Object::Pod)),
            ],
            Self::WatchLatency | Self::Watch => &[],
        }
    }

    /// What has to exist before, and how many of it; no more than `keys` where that is a choice.
    pub(crate) fn needs(self, keys: u64) -> Option<(Object, u64)> {
        let needs = |ask: &Ask| match ask {
            Ask::Get(object) => Some((*object, keys.min(GET_KEYS))),
            Ask::SerializableGet => Some((Object::Plain, keys.min(GET_KEYS))),
            Ask::Range(count) | Ask::Stream(count) => Some((Object::Plain, *count)),
            _ => None,
        };
        self.mix().iter().find_map(|(_, ask)| needs(ask))
    }

    /// Whether it needs leases.
    pub(crate) fn needs_leases(self) -> bool {
        matches!(self, Self::KeepAlive | Self::KeepAliveOnce)
    }
}

/// Most keys that gets are spread over, as all of them have to be written first.
const GET_KEYS: u64 = 10_000;
