//! Patches: RFC 6902, RFC 7396 and Kubernetes' strategic merge, on values.

mod json;
mod merge;
mod order;
#[cfg(test)]
mod properties;
mod strategic;

pub use json::json_patch;
pub use merge::merge_patch;
pub use strategic::strategic_merge;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is not of the right form: 400.
    #[error("{0}")]
    Malformed(String),
    /// An operation of a JSON patch failed, such as `test`: 422.
    #[error("{0}")]
    Failed(String),
    /// More operations than allowed: 413.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {actual}")]
    TooManyOperations {
        /// Operations in the patch.
        actual: usize,
        /// The limit.
        max: usize,
    },
}
