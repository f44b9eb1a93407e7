//! Appends on their way to one member, so that an answer counts for nothing that was sent after what
//! it answers.
//!
//! The library takes an answer that entries up to some place match as one to every request that ends
//! there or before, and the member as heard when the last of them was sent. A request without entries
//! ends where the one before it does: sent to a leader's follower once more is committed, it would be
//! answered by what the follower said before, and a leader that was deposed since then would take
//! itself for confirmed. Its own answer comes, and says as much.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::types::{Append, AppendResult, LogId};

/// Ends of the requests that are not answered, in the order in which they were sent; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Underway {
    ends: Arc<Mutex<VecDeque<Option<LogId>>>>,
}

impl Underway {
    /// A request is sent.
    pub(crate) fn sent(&self, request: &Append) {
        let last = request.entries.last().map(|entry| entry.log_id);
        self.begins(last.or(request.prev_log_id));
    }

    fn begins(&self, end: Option<LogId>) {
        self.ends.lock().push_back(end);
    }

    /// The first of them is answered; whether that may be told, or would be taken as an answer to the
    /// next one too.
    pub(crate) fn answered<E>(&self, answer: &Result<AppendResult, E>) -> bool {
        let mut ends = self.ends.lock();
        ends.pop_front();
        match (answer, ends.front()) {
            (Ok(Ok(matching)), Some(next)) => next > matching,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    fn matching(index: u64) -> Result<AppendResult, ()> {
        Ok(Ok(log_id(1, index)))
    }

    #[test]
    fn an_answer_is_not_told_that_would_answer_what_was_sent_later() {
        let underway = Underway::default();
        for index in [10, 12, 12, 15] {
            underway.begins(log_id(1, index));
        }
        assert!(underway.answered(&matching(10)));
        assert!(!underway.answered(&matching(12)), "no entries are behind it, and it is not heard");
        assert!(underway.answered(&matching(12)));
        assert!(underway.answered(&matching(15)));
        underway.begins(log_id(1, 15));
        underway.begins(log_id(1, 15));
        assert!(underway.answered(&Err(())), "what failed is told");
    }
}
