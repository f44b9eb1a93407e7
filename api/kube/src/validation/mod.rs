//! What makes an object valid: errors in Kubernetes' words, names, metadata, and each group's rules.

pub mod errors;
pub mod metadata;
pub mod names;

pub use errors::{Errors, FieldError};
