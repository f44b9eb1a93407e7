//! The kinds of API group `certificates.k8s.io`.

use super::kind::{Kind, Scope, Subresource};
use super::rules;
use super::selectable;
use crate::table::columns;

const BASE: Kind = Kind { group: "certificates.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "CertificateSigningRequest",
    list_kind: "CertificateSigningRequestList",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    schema: "io.k8s.api.certificates.v1.CertificateSigningRequest",
    short_names: &["csr"],
    scope: Scope::Cluster,
    subresources: &[
        Subresource::of_kind("approval", "CertificateSigningRequest"),
        Subresource::of_kind("status", "CertificateSigningRequest"),
    ],
    storage_prefix: "certificatesigningrequests",
    has_status: true,
    selectable: selectable::CERTIFICATE_SIGNING_REQUEST,
    printer: &columns::CERTIFICATE_SIGNING_REQUEST,
    hooks: rules::SIGNING_REQUEST,
    ..BASE
}];
