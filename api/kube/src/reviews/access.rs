//! Access reviews: may somebody do something?

use serde_json::{Value, json};

use crate::auth::{Attributes, ResourceAttributes};
use crate::call::Call;
use crate::layers::authorization;
use crate::status::Status;
use crate::user::UserInfo;

/// May the caller?
pub(super) async fn own(call: &Call, spec: &Value) -> Result<Value, Status> {
    answer(call, &call.user, spec).await
}

/// May the user of the spec?
pub(super) async fn of_subject(call: &Call, spec: &Value) -> Result<Value, Status> {
    let user = user(spec);
    if user.name.is_empty() && user.groups.is_empty() {
        return Err(invalid(
            call,
            "spec.user",
            "Invalid value: \"\": at least one of user or group must be specified",
        ));
    }
    answer(call, &user, spec).await
}

/// May the user of the spec, in the namespace of the path?
pub(super) async fn local(call: &Call, spec: &Value) -> Result<Value, Status> {
    let namespace = spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
    if namespace != call.info.namespace {
        return Err(invalid(
            call,
            "spec.resourceAttributes.namespace",
            &format!("Invalid value: {namespace:?}: must match metadata.namespace"),
        ));
    }
    of_subject(call, spec).await
}

fn invalid(call: &Call, field: &str, message: &str) -> Status {
    Status::invalid_field(call.kind_name(), "", "FieldValueInvalid", field, message)
}

fn user(spec: &Value) -> UserInfo {
    let texts = |v: &Value| -> Vec<String> {
        v.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect()
    };
    UserInfo {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: texts(&spec["groups"]),
        extra: spec["extra"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), texts(v)))
            .collect(),
    }
}

async fn answer(call: &Call, user: &UserInfo, spec: &Value) -> Result<Value, Status> {
    let text = |v: &'_ Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
    let (r, n) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if r.is_null() == n.is_null() {
        return Err(invalid(
            call,
            "spec.resourceAttributes",
            "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    let (group, resource, sub) = (text(r, "group"), text(r, "resource"), text(r, "subresource"));
    let (namespace, name) = (text(r, "namespace"), text(r, "name"));
    let verb = if r.is_null() { text(n, "verb") } else { text(r, "verb") };
    let path = text(n, "path");
    let resource = (!r.is_null()).then_some(ResourceAttributes {
        group: &group,
        resource: &resource,
        subresource: &sub,
        namespace: &namespace,
        name: &name,
    });
    let attributes = Attributes { user, verb: &verb, resource, path: &path };
    let allowed = authorization::allowed(&call.cx, &attributes).await;
    Ok(json!({ "allowed": allowed }))
}
