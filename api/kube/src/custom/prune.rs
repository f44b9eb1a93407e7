//! Pruning: what the schema does not know is not stored.
// upstream: apiextensions-apiserver, pkg/apiserver/schema/pruning

use serde_json::Value;

use super::schema::{Additional, Schema};

/// Fields of every object, which the schema need not name.
const OWN: &[&str] = &["apiVersion", "kind", "metadata"];

/// Removes what the schema has no place for; answers the paths of what went.
pub(crate) fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut gone = Vec::new();
    walk(
        object,
        Place { schema: Some(schema), root: true, keeps: false },
        &mut String::new(),
        &mut gone,
    );
    gone
}

/// Removes what a part's schema has no place for.
pub(crate) fn prune_part(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut gone = Vec::new();
    walk(
        value,
        Place { schema: Some(schema), root: false, keeps: false },
        &mut String::new(),
        &mut gone,
    );
    gone
}

#[derive(Clone, Copy)]
struct Place<'s> {
    /// None: nothing is known here.
    schema: Option<&'s Schema>,
    root: bool,
    /// What is not known stays, as an outer list says.
    keeps: bool,
}

impl Place<'_> {
    fn is_object(self) -> bool {
        self.root || self.schema.is_some_and(|s| s.embedded)
    }
}

fn walk(value: &mut Value, place: Place<'_>, path: &mut String, gone: &mut Vec<String>) {
    let keeps = place.keeps || place.schema.is_some_and(|s| s.preserves_unknown);
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            if place.is_object() && OWN.contains(&name.as_str()) {
                return true;
            }
            let known = place.schema.and_then(|schema| {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(below), _) => Some(Some(below)),
                    (None, Some(Additional::Of(below))) => Some(Some(&**below)),
                    (None, Some(Additional::Any)) => Some(None),
                    (None, None) => None,
                }
            });
            let length = path.len();
            push(path, name);
            match known {
                Some(schema) => {
                    walk(value, Place { schema, root: false, keeps: false }, path, gone);
                }
                None if !keeps => gone.push(path.clone()),
                None => {}
            }
            path.truncate(length);
            known.is_some() || keeps
        }),
        Value::Array(items) => {
            let schema = place.schema.and_then(|s| s.items.as_deref());
            if schema.is_none() && keeps {
                return;
            }
            for (at, item) in items.iter_mut().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{at}]"));
                walk(item, Place { schema, root: false, keeps }, path, gone);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: Value, given: Value, kept: Value, gone: &[&str]) {
        let mut object = given;
        assert_eq!(prune(&mut object, &Schema::of(&schema)), gone);
        assert_eq!(object, kept);
    }

    #[test]
    fn only_what_the_schema_names_stays() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "a": {"type": "string"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"known": {"type": "object", "properties": {"x": {}}}}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"n": {}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object",
                    "properties": {"n": {}}}},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "properties": {"spec": {"type": "object",
                        "x-kubernetes-preserve-unknown-fields": true}}},
            }}
        }});
        check(
            schema,
            json!({"apiVersion": "v", "kind": "K", "metadata": {"name": "n"}, "other": 1,
                "spec": {"a": "b", "z": 1, "free": {"u": {"v": 1}, "known": {"x": 1, "y": 2}},
                    "list": [{"n": 1, "m": 2}], "map": {"k": {"n": 1, "m": 2}},
                    "pod": {"kind": "Pod", "metadata": {"x": 1}, "spec": {"q": 1}, "w": 1}}}),
            json!({"apiVersion": "v", "kind": "K", "metadata": {"name": "n"},
                "spec": {"a": "b", "free": {"u": {"v": 1}, "known": {"x": 1}},
                    "list": [{"n": 1}], "map": {"k": {"n": 1}},
                    "pod": {"kind": "Pod", "metadata": {"x": 1}, "spec": {"q": 1}}}}),
            &[
                "other",
                "spec.z",
                "spec.free.known.y",
                "spec.list[0].m",
                "spec.map.k.m",
                "spec.pod.w",
            ],
        );
    }
}
