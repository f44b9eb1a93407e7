//! Rendering: columns and rows of the wire form.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Kind;

/// What a row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

/// A Table of objects, without list metadata (the caller's).
pub fn render(kind: &Kind, objects: &[&Value], now: Timestamp, include: IncludeObject) -> Value {
    let columns: Vec<Value> = kind
        .printer
        .columns
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "type": c.kind, "format": c.format, "description": "",
                "priority": c.priority,
            })
        })
        .collect();
    let rows: Vec<Value> = objects.iter().map(|o| row(kind, o, now, include)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": columns, "rows": rows,
    })
}

fn row(kind: &Kind, object: &Value, now: Timestamp, include: IncludeObject) -> Value {
    let cells = (kind.printer.cells)(object, now);
    debug_assert_eq!(cells.len(), kind.printer.columns.len(), "{}", kind.kind);
    match include {
        IncludeObject::None => json!({"cells": cells}),
        IncludeObject::Metadata => json!({
            "cells": cells,
            "object": {
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            },
        }),
        IncludeObject::Object => json!({"cells": cells, "object": object}),
    }
}
