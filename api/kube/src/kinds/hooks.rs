//! What single kinds do beyond the generic rules, as plain functions in the table.

use serde_json::Value;

use crate::validation::Errors;

/// A kind's own functions. Each runs beside the generic rule, which comes first.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Fills defaults that depend on more than one field's absence.
    pub default: fn(&mut Value),
    /// Sets what a new object starts with.
    pub prepare_create: fn(&mut Value),
    /// Puts back what this update may not touch: (new, old, subresource).
    pub prepare_update: fn(&mut Value, &Value, &str),
    /// Rules for any object, new or changed.
    pub validate: fn(&Value, &mut Errors),
    /// Rules for a change: (new, old, subresource, errors).
    pub validate_update: fn(&Value, &Value, &str, &mut Errors),
    /// Rules for a new object only.
    pub validate_create: fn(&Value, &mut Errors),
    /// What a client is told of a new object, or of a change.
    pub warnings: fn(&Value, Option<&Value>) -> Vec<String>,
    /// What a delete adds so that the object stays until somebody has cleaned up after it.
    pub hold_deletion: fn(&mut Value),
    /// What the first delete of an object with finalizers changes.
    pub prepare_deletion: fn(&mut Value),
}

impl Hooks {
    /// No rules of its own.
    pub const NONE: Hooks = Hooks {
        default: |_| {},
        prepare_create: |_| {},
        prepare_update: |_, _, _| {},
        validate: |_, _| {},
        validate_update: |_, _, _, _| {},
        validate_create: |_, _| {},
        warnings: |_, _| Vec::new(),
        hold_deletion: |_| {},
        prepare_deletion: |_| {},
    };
}
