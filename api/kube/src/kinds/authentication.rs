//! The kinds of API group `authentication.k8s.io`.

use super::kind::{Kind, Scope};

const BASE: Kind = Kind { group: "authentication.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "SelfSubjectReview",
        list_kind: "SelfSubjectReviewList",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        schema: "io.k8s.api.authentication.v1.SelfSubjectReview",
        scope: Scope::Cluster,
        verbs: &["create"],
        storage_prefix: "selfsubjectreviews",
        ..BASE
    },
    Kind {
        kind: "TokenReview",
        list_kind: "TokenReviewList",
        plural: "tokenreviews",
        singular: "tokenreview",
        schema: "io.k8s.api.authentication.v1.TokenReview",
        scope: Scope::Cluster,
        verbs: &["create"],
        storage_prefix: "tokenreviews",
        ..BASE
    },
];
