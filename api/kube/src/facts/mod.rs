//! The table of facts: every type's fields with names, numbers, types, keys and enums.
//!
//! `table.txt` is written by the example `generate_facts` from Kubernetes' published modules and
//! parsed once, at first use; names stay slices of the program's own text.

mod parse;
mod types;

pub use types::{Base, Facts, Field, FieldType, ListType, PatchStrategy, TEXT, Type, Wrap, facts};
