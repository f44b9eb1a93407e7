//! Columns of custom kinds: the name, then what the definition asks for, or the age.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::definition::Version;
use super::jsonpath::Path;
use crate::table::since;

/// One additional column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Option<Path>,
}

impl Column {
    /// Reads `additionalPrinterColumns`; without any there is the age.
    pub(crate) fn all(list: &Value) -> Vec<Self> {
        let given: Vec<Self> = list.as_array().into_iter().flatten().map(Self::of).collect();
        if !given.is_empty() {
            return given;
        }
        let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
            "description": "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"});
        vec![Self::of(&age)]
    }

    fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut description = text("description");
        if description.is_empty() {
            description = format!(
                "Custom resource definition column (in JSONPath format): {}",
                text("jsonPath")
            );
        }
        Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description,
            priority: value["priority"].as_i64().unwrap_or(0),
            path: Path::parse(&text("jsonPath")),
        }
    }

    fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.kind, "format": self.format,
            "description": self.description, "priority": self.priority})
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.as_ref().map(|p| p.find(object)).unwrap_or_default();
        let Some(value) = found.first().copied() else { return Value::Null };
        match self.kind.as_str() {
            "string" => match value {
                Value::Null => Value::Null,
                Value::String(text) => json!(text),
                other => json!(other.to_string()),
            },
            "integer" => match value.as_i64() {
                Some(number) => json!(number),
                #[expect(clippy::cast_possible_truncation, reason = "as upstream cuts it")]
                None => value.as_f64().map_or(Value::Null, |f| json!(f.trunc() as i64)),
            },
            "number" if value.is_number() => value.clone(),
            "boolean" if value.is_boolean() => value.clone(),
            "date" => match value.as_str() {
                Some(text) if text.parse::<Timestamp>().is_ok() => json!(since(value, now)),
                Some(_) => json!("<invalid>"),
                None => Value::Null,
            },
            _ => Value::Null,
        }
    }
}

/// Column definitions and a function that fills a row.
pub(crate) fn table(
    version: &Version,
    now: Timestamp,
) -> (Vec<Value>, impl Fn(&Value) -> Vec<Value> + '_) {
    let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"});
    let definitions =
        std::iter::once(name).chain(version.columns.iter().map(Column::definition)).collect();
    let cells = move |object: &Value| {
        std::iter::once(object["metadata"]["name"].clone())
            .chain(version.columns.iter().map(|c| c.cell(object, now)))
            .collect()
    };
    (definitions, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_type_of_their_column() {
        let list = json!([
            {"name": "S", "type": "string", "jsonPath": ".spec.s"},
            {"name": "I", "type": "integer", "jsonPath": ".spec.i"},
            {"name": "B", "type": "boolean", "jsonPath": ".spec.b"},
            {"name": "D", "type": "date", "jsonPath": ".spec.d"},
            {"name": "M", "type": "string", "jsonPath": ".spec.m"},
        ]);
        let version = Version { columns: Column::all(&list), ..Version::default() };
        let now = Timestamp::from_second(90).unwrap();
        let (columns, cells) = table(&version, now);
        assert_eq!(columns.len(), 6);
        let object = json!({"metadata": {"name": "n"}, "spec": {"s": "a", "i": 1.0, "b": true,
            "d": "1970-01-01T00:00:00Z", "m": {"x": 1}}});
        assert_eq!(json!(cells(&object)), json!(["n", "a", 1, true, "90s", "{\"x\":1}"]));
        assert_eq!(
            json!(cells(&json!({"metadata": {"name": "n"}}))),
            json!(["n", null, null, null, null, null])
        );
    }
}
