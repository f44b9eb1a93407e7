//! A definition, read once: its names, its versions and what each of them says.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use super::columns::Column;
use super::rules;
use super::scale::Paths;
use super::schema::Schema;
use crate::kinds::Scope;

/// One definition.
#[derive(Debug, Default)]
pub(crate) struct Definition {
    /// `plural.group`.
    pub(crate) name: String,
    pub(crate) revision: i64,
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) established: bool,
    /// No new objects: it is going, or gone.
    pub(crate) terminating: bool,
    /// It is being deleted and waits for its objects to go.
    pub(crate) going: bool,
    /// It has all the names that it wants.
    pub(crate) settled: bool,
    /// Changed since it was made: what is stored may be of an older shape.
    pub(crate) changed: bool,
    pub(crate) storage_version: String,
    /// In order of preference.
    pub(crate) versions: Vec<Version>,
    /// How a webhook converts between versions.
    pub(crate) webhook: Option<Value>,
}

/// One version of a definition.
#[derive(Debug, Default)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) served: bool,
    /// What a client of a deprecated version is told.
    pub(crate) warning: Option<String>,
    pub(crate) schema: Schema,
    /// The schema as it was given.
    pub(crate) given: Value,
    pub(crate) has_status: bool,
    pub(crate) scale: Option<Paths>,
    pub(crate) columns: Vec<Column>,
    /// Paths such as `spec.color`.
    pub(crate) selectable: Vec<String>,
    /// Some value has a default.
    pub(crate) has_defaults: bool,
    /// Some value has a validation rule.
    pub(crate) has_rules: bool,
}

/// One version as it is served.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) definition: Arc<Definition>,
    at: usize,
}

impl Served {
    pub(crate) fn new(definition: Arc<Definition>, at: usize) -> Self {
        Served { definition, at }
    }

    pub(crate) fn version(&self) -> &Version {
        &self.definition.versions[self.at]
    }

    /// `group/version`.
    pub(crate) fn api_version(&self) -> String {
        format!("{}/{}", self.definition.group, self.version().name)
    }

    /// Whether what is stored is not what is served.
    pub(crate) fn is_converted(&self) -> bool {
        let definition = &self.definition;
        definition.versions.len() > 1 || definition.changed || self.version().has_defaults
    }
}

impl Definition {
    /// Reads a stored object. None: it lacks what the server writes first.
    pub(crate) fn of(object: &Value, revision: i64) -> Option<Self> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let all = |value: &Value| -> Vec<String> {
            let list = value.as_array().into_iter().flatten();
            list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let names = &status["acceptedNames"];
        let list = || spec["versions"].as_array().into_iter().flatten();
        let group = text(spec, "group");
        let storage = list().find(|v| v["storage"] == true)?;
        let kind = text(names, "kind");
        let mut versions: Vec<Version> = list().map(|v| Version::of(v, &group, &kind)).collect();
        versions.sort_by(|a, b| compare_versions(&a.name, &b.name));
        Some(Definition {
            name: text(&object["metadata"], "name"),
            revision,
            plural: text(names, "plural"),
            singular: text(names, "singular"),
            list_kind: text(names, "listKind"),
            kind,
            short_names: all(&names["shortNames"]),
            categories: all(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            established: condition(object, "Established"),
            terminating: condition(object, "Terminating")
                || !object["metadata"]["deletionTimestamp"].is_null(),
            going: !object["metadata"]["deletionTimestamp"].is_null()
                && all(&object["metadata"]["finalizers"]).iter().any(|f| f == super::CLEANUP),
            settled: condition(object, "Established")
                && condition(object, "NamesAccepted")
                && same_names(&spec["names"], names),
            changed: object["metadata"]["generation"].as_i64().is_some_and(|g| g > 1),
            storage_version: text(storage, "name"),
            versions,
            webhook: (spec["conversion"]["strategy"] == "Webhook")
                .then(|| spec["conversion"]["webhook"].clone()),
            group,
        })
    }

    pub(crate) fn scope(&self) -> Scope {
        if self.namespaced { Scope::Namespaced } else { Scope::Cluster }
    }

    /// The part of the key after `/registry/`.
    pub(crate) fn storage_prefix(&self) -> String {
        format!("{}/{}", self.group, self.plural)
    }
}

impl Version {
    fn of(version: &Value, group: &str, kind: &str) -> Self {
        let name = version["name"].as_str().unwrap_or_default().to_owned();
        let given = &version["schema"]["openAPIV3Schema"];
        let schema = Schema::of(given);
        let warning = (version["deprecated"] == true).then(|| {
            let given = version["deprecationWarning"].as_str();
            given.map_or_else(|| format!("{group}/{name} {kind} is deprecated"), str::to_owned)
        });
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        Version {
            served: version["served"] == true,
            warning,
            has_defaults: schema.has_defaults(),
            has_rules: rules::has_rules(&schema),
            schema,
            given: given.clone(),
            has_status: version["subresources"]["status"].is_object(),
            scale: Paths::of(&version["subresources"]["scale"]),
            columns: Column::all(&version["additionalPrinterColumns"]),
            selectable: selectable
                .filter_map(|f| f["jsonPath"].as_str())
                .map(|path| path.trim_start_matches('.').to_owned())
                .collect(),
            name,
        }
    }
}

fn same_names(wanted: &Value, accepted: &Value) -> bool {
    ["plural", "singular", "kind", "listKind", "shortNames", "categories"]
        .iter()
        .all(|field| wanted.get(*field) == accepted.get(*field))
}

/// Whether a condition of an object is true.
pub(crate) fn condition(object: &Value, name: &str) -> bool {
    let all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.into_iter().any(|c| c["type"] == name && c["status"] == "True")
}

/// The order of versions that clients prefer: v2, v1, v1beta1, v1alpha1, then others by name.
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor number.
fn parse_version(text: &str) -> Option<(u8, u64, u64)> {
    let rest = text.strip_prefix('v')?;
    let number = |text: &str| -> Option<u64> {
        let plain =
            !text.is_empty() && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    for (word, rank) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((rank, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut all = vec![
            "foo1",
            "v1alpha1",
            "v10",
            "v2",
            "v3beta1",
            "v1",
            "v11alpha2",
            "v11beta2",
            "foo10",
        ];
        all.sort_by(|a, b| compare_versions(a, b));
        let wanted =
            ["v10", "v2", "v1", "v11beta2", "v3beta1", "v11alpha2", "v1alpha1", "foo1", "foo10"];
        assert_eq!(all, wanted);
    }
}
