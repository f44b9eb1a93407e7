//! Simple tokens: who has shown a password. In the memory of every member, since they are assigned
//! through the log; how long they live is each member's affair, and so is its clock.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

/// More are not remembered: the one that was not used for longest goes.
const TOKENS_MAX: usize = 64 * 1024;
/// Tokens that have ended are looked for when there are so many more.
const SWEEP_EVERY: usize = 1024;

/// The tokens that a member knows.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tokens: BTreeMap<String, Token>,
    assigned: usize,
}

#[derive(Debug)]
struct Token {
    user: String,
    /// On the member's clock; not known where it was assigned by another member, until it is used
    /// or looked at here.
    used: Option<Duration>,
}

impl Tokens {
    pub(crate) fn assign(&self, token: String, user: String) {
        let mut known = self.known.lock();
        known.tokens.insert(token, Token { user, used: None });
        known.assigned += 1;
        if known.tokens.len() > TOKENS_MAX {
            let oldest = known.tokens.iter().min_by_key(|(_, token)| token.used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                known.tokens.remove(&oldest);
            }
        }
    }

    pub(crate) fn forget(&self, user: &str) {
        self.known.lock().tokens.retain(|_, token| token.user != user);
    }

    pub(crate) fn clear(&self) {
        self.known.lock().tokens.clear();
    }

    /// Whose token it is; it then lives for `ttl` from `now`.
    pub fn user(&self, token: &str, now: Duration, ttl: Duration) -> Option<String> {
        let mut known = self.known.lock();
        if known.assigned >= SWEEP_EVERY {
            known.assigned = 0;
            known
                .tokens
                .retain(|_, token| now.saturating_sub(*token.used.get_or_insert(now)) < ttl);
        }
        let found = known.tokens.get_mut(token)?;
        if found.used.is_some_and(|used| now.saturating_sub(used) >= ttl) {
            known.tokens.remove(token);
            return None;
        }
        found.used = Some(now);
        Some(found.user.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    // upstream: etcd v3 API, "Auth": a simple token lives from its last use
    #[test]
    fn a_token_lives_from_its_last_use() {
        let tokens = Tokens::default();
        tokens.assign("t.1".to_owned(), "u".to_owned());
        assert_eq!(tokens.user("t.1", at(100), TTL).unwrap(), "u");
        assert_eq!(tokens.user("t.1", at(109), TTL).unwrap(), "u");
        assert_eq!(tokens.user("t.1", at(118), TTL).unwrap(), "u");
        assert_eq!(tokens.user("t.1", at(128), TTL), None);
        assert_eq!(tokens.user("t.1", at(128), TTL), None);
    }

    #[test]
    fn a_users_tokens_are_forgotten_together() {
        let tokens = Tokens::default();
        for (token, user) in [("a.1", "a"), ("b.2", "b"), ("a.3", "a")] {
            tokens.assign(token.to_owned(), user.to_owned());
        }
        tokens.forget("a");
        assert_eq!(tokens.user("a.1", at(1), TTL), None);
        assert_eq!(tokens.user("a.3", at(1), TTL), None);
        assert!(tokens.user("b.2", at(1), TTL).is_some());
    }
}
