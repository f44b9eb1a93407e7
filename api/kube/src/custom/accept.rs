//! Acceptance: which names a definition gets, and the conditions that tell so.
// upstream: apiextensions-apiserver, pkg/controller/status, establish, apiapproval

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::definition::condition;

/// The annotation that lets a definition use a group of the Kubernetes project.
pub(crate) const APPROVED: &str = "api-approved.kubernetes.io";

/// The definition with its names accepted or refused; `all` are the definitions there are, itself
/// among them. None: nothing changes.
pub(crate) fn accept(definition: &Value, all: &[Value], now: &str) -> Option<Value> {
    let mut new = definition.clone();
    if let Some((status, reason, message)) = approval(definition) {
        set(&mut new, "KubernetesAPIApprovalPolicyConformant", status, reason, &message, now);
    }
    let group = &definition["spec"]["group"];
    let in_group = || all.iter().filter(|d| d["spec"]["group"] == *group);
    let used = |fields: &[&str]| -> BTreeSet<String> {
        let names = in_group().map(|d| &d["status"]["acceptedNames"]);
        names
            .flat_map(|names| fields.iter().flat_map(|f| texts(&names[*f])).collect::<Vec<_>>())
            .filter(|name| !name.is_empty())
            .collect()
    };
    let resources = used(&["plural", "singular", "shortNames"]);
    let kinds = used(&["kind", "listKind"]);
    let (wanted, accepted) = (&definition["spec"]["names"], &definition["status"]["acceptedNames"]);
    let mut names = accepted.clone();
    if !names.is_object() {
        names = json!({});
    }
    let mut refused: Option<(&str, String)> = None;
    for (field, taken, reason) in [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("shortNames", &resources, "ShortNamesConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let had = texts(&accepted[field]);
        let problems: Vec<String> = texts(&wanted[field])
            .into_iter()
            .filter(|name| !had.contains(name) && taken.contains(name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        match problems.as_slice() {
            [] => copy(&mut names, wanted, field),
            [one] => refused = Some((reason, one.clone())),
            many => refused = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    copy(&mut names, wanted, "categories");
    new["status"]["acceptedNames"] = names;
    match &refused {
        None => {
            set(&mut new, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
            if !condition(definition, "Established") {
                let message = "the initial names have been accepted";
                set(&mut new, "Established", "True", "InitialNamesAccepted", message, now);
            }
        }
        Some((reason, message)) => {
            set(&mut new, "NamesAccepted", "False", reason, message, now);
            if !condition(definition, "Established") {
                let message = "not all names are accepted";
                set(&mut new, "Established", "False", "NotAccepted", message, now);
            }
        }
    }
    (new != *definition).then_some(new)
}

/// The state of approval of a definition in a group of the Kubernetes project.
pub(crate) fn approval(definition: &Value) -> Option<(&'static str, &'static str, String)> {
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group == *own || group.ends_with(&format!(".{own}")));
    if !is_protected {
        return None;
    }
    let link = "see https://github.com/kubernetes/enhancements/pull/1111";
    let given = definition["metadata"]["annotations"][APPROVED].as_str().unwrap_or_default();
    Some(if given.is_empty() {
        let why = format!("protected groups must have approval annotation {APPROVED:?}, {link}");
        ("False", "MissingAnnotation", why)
    } else if given.starts_with("unapproved") {
        ("False", "UnapprovedAnnotation", format!("not approved: {given:?}"))
    } else if given.contains("://") {
        ("True", "ApprovedAnnotation", format!("approved in {given}"))
    } else {
        let why = format!(
            "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", {link}"
        );
        ("False", "InvalidAnnotation", why)
    })
}

/// Sets a condition of a definition.
pub(crate) fn set(
    definition: &mut Value,
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
    if !definition["status"]["conditions"].is_array() {
        definition["status"]["conditions"] = json!([]);
    }
    let Some(all) = definition["status"]["conditions"].as_array_mut() else { return };
    let mut new = json!({"lastTransitionTime": now, "message": message, "reason": reason,
        "status": status, "type": name});
    match all.iter_mut().find(|c| c["type"] == name) {
        Some(old) => {
            if old["status"] == status {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = new;
        }
        None => all.push(new),
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

fn copy(names: &mut Value, wanted: &Value, field: &str) {
    let Some(names) = names.as_object_mut() else { return };
    match wanted.get(field) {
        Some(value) => drop(names.insert(field.to_owned(), value.clone())),
        None => drop(names.shift_remove(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &str) -> Value {
        json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {
            "group": "example.com", "names": {"plural": plural, "singular": kind.to_lowercase(),
                "kind": kind, "listKind": format!("{kind}List"), "shortNames": [short]}},
            "status": {"acceptedNames": {"plural": "", "kind": ""}}})
    }

    #[test]
    fn the_first_gets_the_names() {
        let one = definition("foos", "Foo", "f");
        let first = accept(&one, std::slice::from_ref(&one), "t").unwrap();
        assert!(condition(&first, "NamesAccepted") && condition(&first, "Established"));
        assert_eq!(first["status"]["acceptedNames"]["shortNames"], json!(["f"]));
        assert!(accept(&first, std::slice::from_ref(&first), "t2").is_none());
        let two = definition("bars", "Bar", "f");
        let second = accept(&two, &[first, two.clone()], "t").unwrap();
        let conditions = &second["status"]["conditions"];
        assert_eq!(conditions[0]["reason"], "ShortNamesConflict");
        assert_eq!(conditions[0]["message"], "\"f\" is already in use");
        assert_eq!(conditions[1]["reason"], "NotAccepted");
        assert_eq!(second["status"]["acceptedNames"].get("shortNames"), None);
        assert_eq!(second["status"]["acceptedNames"]["kind"], "Bar");
    }

    #[test]
    fn groups_of_the_project_want_approval() {
        let mut one = definition("foos", "Foo", "f");
        one["spec"]["group"] = json!("gateway.networking.k8s.io");
        assert_eq!(approval(&one).map(|a| a.1), Some("MissingAnnotation"));
        one["metadata"]["annotations"] = json!({APPROVED: "https://example.com/1"});
        assert_eq!(approval(&one).map(|a| a.1), Some("ApprovedAnnotation"));
        assert_eq!(
            accept(&one, &[one.clone()], "t").unwrap()["status"]["conditions"][0]["status"],
            "True"
        );
    }
}
