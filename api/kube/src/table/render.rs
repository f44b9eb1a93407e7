//! Rendering: columns and rows of the wire form.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::custom;
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
    if let Some(served) = kind.served() {
        let (columns, cells) = custom::table(served.version(), now);
        let rows: Vec<Value> = objects.iter().map(|o| row(cells(o), o, include)).collect();
        return json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
            "columnDefinitions": columns, "rows": rows,
        });
    }
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
    let cells = |object: &Value| {
        let cells = (kind.printer.cells)(object, now);
        debug_assert_eq!(cells.len(), kind.printer.columns.len(), "{}", kind.kind);
        cells
    };
    let rows: Vec<Value> = objects.iter().map(|o| row(cells(o), o, include)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": columns, "rows": rows,
    })
}

fn row(cells: Vec<Value>, object: &Value, include: IncludeObject) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_fills_its_columns() {
        let now = Timestamp::UNIX_EPOCH;
        let empty = json!({"metadata": {"name": "x"}});
        for kind in crate::kinds::table() {
            let table = render(kind, &[&empty], now, IncludeObject::Metadata);
            let columns = table["columnDefinitions"].as_array().map(Vec::len);
            assert_eq!(
                table["rows"][0]["cells"].as_array().map(Vec::len),
                columns,
                "{}",
                kind.kind
            );
        }
    }

    #[test]
    fn a_deployment_is_one_row() {
        let kind = crate::kinds::find("apps", "v1", "deployments").expect("deployments");
        let object = json!({
            "metadata": {"name": "web", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
            "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2},
        });
        let now = Timestamp::from_second(90).expect("a time");
        let table = render(kind, &[&object], now, IncludeObject::None);
        assert_eq!(
            table["rows"],
            json!([{"cells": ["web", "2/3", 3, 2, "90s", "c", "i", "app=web"]}])
        );
    }
}
