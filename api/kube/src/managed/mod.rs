//! Who owns which field: `metadata.managedFields`, and server-side apply which lives by it.
//!
//! Every write notes the fields it changed under its manager's name; an apply owns all the fields
//! it names, is refused where they belong to somebody else, and removes what it named last time
//! and does not name any more.
// upstream: Kubernetes apimachinery, pkg/util/managedfields; structured-merge-diff, merge and typed

mod apply;
mod compare;
mod conflict;
mod entries;
mod fields;
mod manager;
mod merge;
mod remove;
mod set;
mod shape;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use apply::{applied, laid_over};
pub(crate) use entries::without_times;
pub(crate) use manager::{Manager, Ownership};
pub(crate) use update::updated;
