//! The state: who there is, which roles they have, what roles may touch.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelson_proto::authpb::{Permission, Role, User, permission::Type};
use keelson_proto::raft::StoredAuth;
use prost::Message;

use super::ranges::Ranges;
use crate::engine::Overlay;
use crate::mvcc::keys;

/// The user, and the role, that may do all.
pub(super) const ROOT: &str = "root";

/// Users, roles and permissions at one auth revision.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthState {
    pub(super) enabled: bool,
    pub(super) revision: u64,
    pub(super) users: BTreeMap<String, User>,
    pub(super) roles: BTreeMap<String, Role>,
    /// What each user may touch, from all of the user's roles.
    touchable: BTreeMap<String, Touchable>,
}

/// The keys somebody may touch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Touchable {
    pub(super) read: Ranges,
    pub(super) write: Ranges,
}

impl Default for AuthState {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: 1,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            touchable: BTreeMap::new(),
        }
    }
}

impl AuthState {
    /// From what lies in the engine.
    pub(crate) fn load(stored: &StoredAuth, users: Vec<User>, roles: Vec<Role>) -> Self {
        let name = |name: &Bytes| String::from_utf8_lossy(name).into_owned();
        let mut state = Self {
            enabled: stored.enabled,
            revision: stored.revision.max(1),
            users: users.into_iter().map(|user| (name(&user.name), user)).collect(),
            roles: roles.into_iter().map(|role| (name(&role.name), role)).collect(),
            touchable: BTreeMap::new(),
        };
        state.merge();
        state
    }

    /// Whether requests are checked at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Grows with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The users.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// One user.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// What a role may touch; the role `root` may touch everything, whatever it was granted.
    pub fn permissions(&self, role: &str) -> Option<Vec<Permission>> {
        let found = self.roles.get(role)?;
        if role != ROOT {
            return Some(found.key_permission.clone());
        }
        let range_end = Bytes::from_static(b"\0");
        let all = Permission { perm_type: Type::Readwrite as i32, key: Bytes::new(), range_end };
        Some(vec![all])
    }

    /// Whether a user has a role.
    pub fn has_role(&self, user: &str, role: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.roles.iter().any(|one| one == role))
    }

    pub(super) fn touchable(&self, user: &str) -> Option<&Touchable> {
        self.touchable.get(user)
    }

    /// Joins what users may touch by their roles; to be called after each change.
    pub(super) fn merge(&mut self) {
        let touchable = |user: &User| {
            let granted = user.roles.iter().filter_map(|role| self.roles.get(role));
            let granted: Vec<&Permission> = granted.flat_map(|role| &role.key_permission).collect();
            let of = |kind: Type| {
                let may = granted.iter().filter(move |one| {
                    one.perm_type() == Type::Readwrite || one.perm_type() == kind
                });
                Ranges::union(may.map(|one| (&one.key, &one.range_end)))
            };
            Touchable { read: of(Type::Read), write: of(Type::Write) }
        };
        self.touchable =
            self.users.iter().map(|(name, user)| (name.clone(), touchable(user))).collect();
    }

    /// Adds to the batch in what it differs from the state before.
    pub(crate) fn write_changes(&self, before: &Self, overlay: &mut Overlay<'_>) {
        let batch = &mut overlay.batch;
        let stored = StoredAuth { enabled: self.enabled, revision: self.revision };
        batch.put(keys::META_AUTH.to_vec(), Bytes::from(stored.encode_to_vec()));
        for name in before.users.keys().filter(|name| !self.users.contains_key(*name)) {
            batch.delete(keys::user(name));
        }
        for (name, user) in &self.users {
            if before.users.get(name) != Some(user) {
                batch.put(keys::user(name), Bytes::from(user.encode_to_vec()));
            }
        }
        for name in before.roles.keys().filter(|name| !self.roles.contains_key(*name)) {
            batch.delete(keys::role(name));
        }
        for (name, role) in &self.roles {
            if before.roles.get(name) != Some(role) {
                batch.put(keys::role(name), Bytes::from(role.encode_to_vec()));
            }
        }
    }
}
