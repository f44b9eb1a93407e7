//! OpenAPI documents made from the table of facts, one a group version, at first use.

mod document;
mod paths;
mod schema;

pub use document::{Packed, v2, v2_message};
pub(crate) use document::{v3_doc, v3_index};

pub use crate::discovery::Document;
