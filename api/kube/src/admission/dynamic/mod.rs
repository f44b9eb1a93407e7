//! Dynamic admission: webhooks and policies that objects of the cluster configure.
// upstream: Kubernetes apiserver, pkg/admission/plugin/webhook and policy

pub(super) mod mutating_policy;
pub(super) mod policy;
mod request;
mod rules;
pub(super) mod webhooks;

pub(crate) use policy::Policies;

use crate::kinds::Kind;

/// What configures admission is admitted without it, so that it can be mended.
fn is_exempt(kind: &Kind) -> bool {
    kind.group == "admissionregistration.k8s.io"
}
