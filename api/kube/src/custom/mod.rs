//! Custom resources: kinds that definitions make at run time.
//!
//! A definition becomes entries like those of the table of kinds, one a version. What an entry
//! holds (names, scope, subresources) is kept for the life of the process, once for each distinct
//! entry; the schema behind it is held in a slot and goes with its definition.

mod accept;
mod check;
mod cleanup;
mod columns;
mod controller;
mod convert;
mod correlate;
mod definition;
mod embedded;
mod fill;
mod formats;
mod jsonpath;
mod lists;
mod object;
mod prune;
mod registry;
mod rules;
mod scale;
mod schema;
mod structural;
mod typed;
mod valid;
pub(crate) mod warnings;

pub(crate) use check::go_float;
pub(crate) use columns::table;
pub(crate) use controller::{load, look_again, run};
pub(crate) use convert::convert;
pub(crate) use definition::{Served, Version};
pub(crate) use formats::{go_duration, holds as holds_format};
pub(crate) use object::{decoded, filled, prepare_create, read, validate, validate_update};
pub(crate) use registry::{Registry, Slot, View};
pub(crate) use schema::{Additional, ListType, Schema};
pub(crate) use valid::{
    check as valid_definition, check_new as valid_new_definition,
    check_update as valid_definition_update, default_definition, hold_deletion, new_definition,
    updated_definition,
};

/// Where definitions are stored.
pub(crate) const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
