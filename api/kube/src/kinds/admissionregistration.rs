//! The kinds of API group `admissionregistration.k8s.io`.

use super::kind::{Generation, Kind, Scope, Subresource};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "admissionregistration.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "MutatingAdmissionPolicy",
        list_kind: "MutatingAdmissionPolicyList",
        plural: "mutatingadmissionpolicies",
        singular: "mutatingadmissionpolicy",
        schema: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        storage_prefix: "mutatingadmissionpolicies",
        generation: Generation::OnSpecChange,
        unconditional_update: false,
        printer: &columns::MUTATING_POLICY,
        hooks: rules::ADMISSION_POLICY,
        ..BASE
    },
    Kind {
        kind: "MutatingAdmissionPolicyBinding",
        list_kind: "MutatingAdmissionPolicyBindingList",
        plural: "mutatingadmissionpolicybindings",
        singular: "mutatingadmissionpolicybinding",
        schema: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        storage_prefix: "mutatingadmissionpolicybindings",
        generation: Generation::OnSpecChange,
        unconditional_update: false,
        printer: &columns::POLICY_BINDING,
        ..BASE
    },
    Kind {
        kind: "MutatingWebhookConfiguration",
        list_kind: "MutatingWebhookConfigurationList",
        plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration",
        schema: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        storage_prefix: "mutatingwebhookconfigurations",
        generation: Generation::OnAnyChange,
        unconditional_update: false,
        printer: &columns::WEBHOOKS,
        hooks: rules::WEBHOOKS,
        ..BASE
    },
    Kind {
        kind: "ValidatingAdmissionPolicy",
        list_kind: "ValidatingAdmissionPolicyList",
        plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy",
        schema: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        subresources: &[Subresource::of_kind("status", "ValidatingAdmissionPolicy")],
        storage_prefix: "validatingadmissionpolicies",
        has_status: true,
        generation: Generation::OnSpecChange,
        unconditional_update: false,
        printer: &columns::VALIDATING_POLICY,
        hooks: rules::ADMISSION_POLICY,
        ..BASE
    },
    Kind {
        kind: "ValidatingAdmissionPolicyBinding",
        list_kind: "ValidatingAdmissionPolicyBindingList",
        plural: "validatingadmissionpolicybindings",
        singular: "validatingadmissionpolicybinding",
        schema: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        storage_prefix: "validatingadmissionpolicybindings",
        generation: Generation::OnSpecChange,
        unconditional_update: false,
        printer: &columns::POLICY_BINDING,
        ..BASE
    },
    Kind {
        kind: "ValidatingWebhookConfiguration",
        list_kind: "ValidatingWebhookConfigurationList",
        plural: "validatingwebhookconfigurations",
        singular: "validatingwebhookconfiguration",
        schema: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        storage_prefix: "validatingwebhookconfigurations",
        generation: Generation::OnAnyChange,
        unconditional_update: false,
        printer: &columns::WEBHOOKS,
        hooks: rules::WEBHOOKS,
        ..BASE
    },
];
