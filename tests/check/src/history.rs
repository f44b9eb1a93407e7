//! History: what clients asked of registers and what they were told, with times.

use serde::{Deserialize, Serialize};

/// What a client did to a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Set it.
    Write(String),
    /// Removed it.
    Delete,
    /// Put this in the place of that, which was there.
    Swap {
        /// What was there.
        from: Option<String>,
        /// What is there now.
        to: Option<String>,
    },
    /// Read it and was told this.
    Read(Option<String>),
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The client.
    pub client: u64,
    /// The register.
    pub key: String,
    /// What was done.
    pub action: Action,
    /// When it was asked for; any clock that orders events.
    pub called: u64,
    /// When it was answered; `None`: never, it may have happened at any time since, or not at all.
    pub returned: Option<u64>,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client, key, action, called, .. } = self;
        match self.returned {
            Some(returned) => write!(f, "[{called}..{returned}] {client}: {action:?} {key}"),
            None => write!(f, "[{called}..?] {client}: {action:?} {key}"),
        }
    }
}

/// Operations of all clients, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The operations.
    pub operations: Vec<Operation>,
}
