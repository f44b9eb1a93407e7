//! Leader completeness: a leader's log holds everything that was committed before its term.

use crate::model::Model;

/// The last committed entry that the leader of a term must hold, as term and index; with log
/// matching, all before it are there too.
pub(crate) fn must_hold(model: &Model, term: u64) -> Option<(u64, u64)> {
    let mut index = model.last();
    loop {
        let step = model.step(index)?;
        if step.term < term {
            return Some((step.term, index));
        }
        index -= 1;
    }
}

#[cfg(test)]
mod tests {
    use keelson_storage::entry::{LogEntry, Payload};

    use super::*;

    #[test]
    fn what_is_of_the_term_itself_is_not_asked_for() {
        let mut model = Model::new();
        assert_eq!(must_hold(&model, 9), None);
        for (place, term) in [1, 1, 3, 4, 4].into_iter().enumerate() {
            model.apply(&LogEntry { term, index: place as u64 + 1, payload: Payload::Blank });
        }
        assert_eq!(must_hold(&model, 5), Some((4, 5)));
        assert_eq!(must_hold(&model, 4), Some((3, 3)));
        assert_eq!(must_hold(&model, 1), None);
    }
}
