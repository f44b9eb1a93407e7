//! The refusal of an apply that names what belongs to others.

use super::entries::Entry;
use super::set::FieldSet;
use crate::status::Status;

/// Fields that an apply would take, by who has them.
pub(super) type Conflicts<'a> = Vec<(&'a Entry, FieldSet)>;

/// 409, with a cause a field.
pub(super) fn refusal(conflicts: &Conflicts<'_>) -> Status {
    let mut all: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(entry, set)| (entry.shown(), set.paths())).collect();
    all.sort();
    let count: usize = all.iter().map(|(_, paths)| paths.len()).sum();
    let message = match all.as_slice() {
        [(manager, paths)] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.concat())
        }
        _ => {
            let mut lines = Vec::new();
            for (manager, paths) in &all {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(paths.iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let mut status = Status::generic(409, "Conflict", message);
    for (manager, paths) in &all {
        for path in paths {
            let text = format!("conflict with {manager}");
            status = status.cause("FieldManagerConflict", text, path);
        }
    }
    status
}
