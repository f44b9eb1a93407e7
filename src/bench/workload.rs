//! The kinds of load by name.

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
}

impl Workload {
    /// Its word on the command line and in reports.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// How many keys have to exist before; no more than `keys` in all.
    pub(crate) fn needs(self, keys: u64) -> u64 {
        match self {
            Self::Put | Self::Create | Self::Update => 0,
            Self::Get | Self::SerializableGet => keys.min(GET_KEYS),
        }
    }
}

/// Most keys that gets are spread over, as all of them have to be written first.
pub(crate) const GET_KEYS: u64 = 10_000;
