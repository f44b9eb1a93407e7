//! Status: the error body of the Kubernetes API, with a constructor for every reason in Kubernetes' own words.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::validation::FieldError;

/// An API error as it goes on the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine readable reason, e.g. `NotFound`; empty when unknown.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// What a program reads.
    pub details: Option<Box<Details>>,
    /// A token with which an expired list may go on.
    pub continue_token: Option<String>,
}

/// The `details` of a [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource's plural, or the kind for invalid objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Each single reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When a retry makes sense; also sent as the `Retry-After` header.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One cause of a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// e.g. `FieldValueRequired`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    /// What a person reads.
    pub message: String,
    /// Path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A resource as messages name it: `deployments.apps`, `pods`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupResource<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural name (or the kind, where Kubernetes says the kind).
    pub resource: &'a str,
}

impl std::fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

impl Status {
    fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Status { code, reason, message: message.into(), details: None, continue_token: None }
    }

    fn with(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 404: `pods "x" not found`.
    pub fn not_found(resource: GroupResource<'_>, name: &str) -> Self {
        Self::plain(404, "NotFound", format!("{resource} \"{name}\" not found"))
            .with(Details::of(resource, name))
    }

    /// 404 as it is answered for a path that names no known resource.
    pub fn unknown_resource() -> Self {
        Self::plain(404, "NotFound", "the server could not find the requested resource")
            .with(Details::default())
    }

    /// 409: `pods "x" already exists`.
    pub fn already_exists(resource: GroupResource<'_>, name: &str) -> Self {
        Self::plain(409, "AlreadyExists", format!("{resource} \"{name}\" already exists"))
            .with(Details::of(resource, name))
    }

    /// 409 when no unique name could be generated.
    pub fn generate_name_conflict(resource: GroupResource<'_>, name: &str) -> Self {
        Self::plain(
            409,
            "AlreadyExists",
            format!(
                "{resource} \"{name}\" already exists, the server was not able to generate a unique name for the object"
            ),
        )
        .with(Details { retry_after_seconds: 1, ..Details::of(resource, name) })
    }

    /// 409: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(resource: GroupResource<'_>, name: &str, why: &str) -> Self {
        Self::plain(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}"),
        )
        .with(Details::of(resource, name))
    }

    /// 409 for a stale resourceVersion.
    pub fn modified(resource: GroupResource<'_>, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403 with the reason of an admission plugin or a registry.
    pub fn forbidden(resource: GroupResource<'_>, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} \"{name}\" is forbidden: {why}")
        };
        Self::plain(403, "Forbidden", message).with(Details::of(resource, name))
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        Self::plain(
            403,
            "Forbidden",
            format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\""),
        )
        .with(Details::default())
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::plain(401, "Unauthorized", "Unauthorized")
    }

    /// 400 with a free message.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::plain(400, "BadRequest", message)
    }

    /// 422: the object's fields are wrong. `resource.resource` holds the kind.
    pub fn invalid(kind: GroupResource<'_>, name: &str, fields: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for f in fields {
            let text = format!("{}: {}", f.field, f.message);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let joined = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes = fields
            .iter()
            .map(|f| Cause {
                reason: f.reason.into(),
                message: f.message.clone(),
                field: f.field.clone(),
            })
            .collect();
        Self::plain(422, "Invalid", format!("{kind} \"{name}\" is invalid: {joined}"))
            .with(Details { causes, ..Details::of(kind, name) })
    }

    /// 422 for a single field.
    pub fn invalid_field(
        kind: GroupResource<'_>,
        name: &str,
        reason: &'static str,
        field: &str,
        message: impl Into<String>,
    ) -> Self {
        let f = FieldError { reason, field: field.to_owned(), message: message.into() };
        Self::invalid(kind, name, std::slice::from_ref(&f))
    }

    /// 410 with reason Expired.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::plain(410, "Expired", message)
    }

    /// 410 for a watch that starts before the history.
    pub fn too_old(wanted: i64, oldest: i64) -> Self {
        Self::expired(format!("too old resource version: {wanted} ({oldest})"))
    }

    /// 504 for a resourceVersion that the store has not reached.
    pub fn too_large_resource_version(wanted: i64, current: i64) -> Self {
        Self::plain(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {wanted}, current: {current}"),
        )
        .with(Details {
            retry_after_seconds: 1,
            causes: vec![Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: String::new(),
            }],
            ..Details::default()
        })
    }

    /// 504 with a free message after `Timeout: `.
    pub fn timeout(message: &str) -> Self {
        Self::plain(504, "Timeout", format!("Timeout: {message}")).with(Details::default())
    }

    /// 500 ServerTimeout: the operation may be tried again.
    pub fn server_timeout(resource: GroupResource<'_>, operation: &str) -> Self {
        Self::plain(
            500,
            "ServerTimeout",
            format!(
                "The {operation} operation against {resource} could not be completed at this time, please try again."
            ),
        )
        .with(Details {
            retry_after_seconds: 1,
            name: operation.to_owned(),
            group: resource.group.to_owned(),
            kind: resource.resource.to_owned(),
            ..Details::default()
        })
    }

    /// 405.
    pub fn method_not_allowed(resource: GroupResource<'_>, action: &str) -> Self {
        Self::plain(
            405,
            "MethodNotAllowed",
            format!("{action} is not supported on resources of kind \"{resource}\""),
        )
        .with(Details::of(resource, ""))
    }

    /// 405 in the words of the generic handler, when no verb is served there.
    pub fn method_not_served() -> Self {
        Self::plain(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with(Details::default())
    }

    /// 406.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::plain(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", accepted.join(", ")),
        )
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::plain(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 413.
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::plain(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit_bytes}"),
        )
    }

    /// 429 with a body, as evictions get it.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::plain(429, "TooManyRequests", message)
            .with(Details { retry_after_seconds, ..Details::default() })
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::plain(503, "ServiceUnavailable", message)
    }

    /// 500: `Internal error occurred: why`.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let text = why.to_string();
        Self::plain(500, "InternalError", format!("Internal error occurred: {text}")).with(
            Details {
                causes: vec![Cause { reason: "".into(), message: text, field: String::new() }],
                ..Details::default()
            },
        )
    }

    /// Any other error, e.g. one that a kubelet answered.
    pub fn generic(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self::plain(code, reason, message)
    }

    /// Adds one cause.
    #[must_use]
    pub fn cause(mut self, reason: &'static str, message: impl Into<String>, field: &str) -> Self {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.to_owned(),
        });
        self
    }

    /// The Status object.
    pub fn to_value(&self) -> Value {
        let mut metadata = json!({});
        if let Some(token) = &self.continue_token {
            metadata["continue"] = json!(token);
        }
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            value["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            value["details"] = json!(details);
        }
        value["code"] = json!(self.code);
        value
    }

    /// The Status object as JSON bytes.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.to_value().to_string())
    }
}

impl Details {
    fn of(resource: GroupResource<'_>, name: &str) -> Self {
        Details {
            name: name.to_owned(),
            group: resource.group.to_owned(),
            kind: resource.resource.to_owned(),
            ..Details::default()
        }
    }
}

/// The success Status of a delete that is done.
pub fn deleted(resource: GroupResource<'_>, name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": Details { uid: uid.to_owned(), ..Details::of(resource, name) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENTS: GroupResource<'_> = GroupResource { group: "apps", resource: "deployments" };

    #[test]
    fn not_found_names_group_and_plural() {
        let s = Status::not_found(DEPLOYMENTS, "web");
        assert_eq!(s.message, "deployments.apps \"web\" not found");
        assert_eq!(
            s.to_value()["details"],
            json!({"name": "web", "group": "apps", "kind": "deployments"})
        );
    }

    #[test]
    fn several_invalid_fields_stand_in_brackets_and_repeat_once() {
        let f = |field: &str| FieldError {
            reason: "FieldValueRequired",
            field: field.into(),
            message: "Required value".into(),
        };
        let kind = GroupResource { group: "", resource: "Pod" };
        let s = Status::invalid(kind, "p", &[f("a"), f("b"), f("b")]);
        assert_eq!(s.message, "Pod \"p\" is invalid: [a: Required value, b: Required value]");
        assert_eq!(s.details.map(|d| d.causes.len()), Some(3));
    }
}
