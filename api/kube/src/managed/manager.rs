//! A field manager: in whose name a request writes.

use http::header::USER_AGENT;

use super::set::FieldSet;
use crate::call::Call;
use crate::kinds::Kind;
use crate::status::{GroupResource, Status};
use crate::user::UserInfo;

/// As upstream.
const NAME_LENGTH_MAX: usize = 128;

/// In whose name, through which version and which part of the object a request writes.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) subresource: String,
}

/// How a write is entered in `managedFields`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ownership<'a> {
    /// What changes belongs to the manager.
    Updated(&'a Manager),
    /// The object carries its entries already, from an apply.
    Applied,
    /// Entries stay as they were.
    Untracked,
}

impl Manager {
    /// The manager of a call: `fieldManager`, else the client's name.
    pub(crate) fn of(call: &Call, kind: &Kind, subresource: &str) -> Result<Self, Status> {
        let given = call.query.get("fieldManager").unwrap_or_default();
        check(given, call.options())?;
        let agent = call.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let client = agent.split('/').next().unwrap_or_default();
        let name = match (given, client) {
            ("", "") => component(&call.user),
            ("", client) => client.chars().take(NAME_LENGTH_MAX).collect(),
            (given, _) => given.to_owned(),
        };
        Ok(Manager { name, version: kind.api_version(), subresource: subresource.to_owned() })
    }

    /// Leaves out of a set what this path cannot write.
    pub(super) fn reset(&self, kind: &Kind, set: &mut FieldSet) {
        if self.subresource == "status" {
            set.cut(&["spec"]);
            if kind.custom.is_some() {
                set.cut(&["metadata"]);
            }
            if kind.status_keeps_labels {
                set.cut(&["metadata", "labels"]);
            }
        } else if kind.has_status {
            set.cut(&["status"]);
        }
    }
}

/// What a manager may be called.
fn check(name: &str, options: GroupResource<'_>) -> Result<(), Status> {
    let refuse = |reason, message: String| {
        Err(Status::invalid_field(options, "", reason, "fieldManager", message))
    };
    if name.len() > NAME_LENGTH_MAX {
        let message = format!("Too long: may not be more than {NAME_LENGTH_MAX} bytes");
        return refuse("FieldValueTooLong", message);
    }
    if name.chars().any(char::is_control) {
        let message = format!("Invalid value: {name:?}: should only contain printable characters");
        return refuse("FieldValueInvalid", message);
    }
    Ok(())
}

/// What a part of this process is called: it sends no name of its own.
fn component(user: &UserInfo) -> String {
    let name = user.name.as_str();
    let rest = name.strip_prefix("system:").unwrap_or(name);
    if rest.starts_with("node:") {
        return "kubelet".to_owned();
    }
    if rest.starts_with("serviceaccount:kube-system:") {
        return "kube-controller-manager".to_owned();
    }
    rest.rsplit(':').next().unwrap_or(rest).to_owned()
}
