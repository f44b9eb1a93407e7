//! The kinds of API group `authorization.k8s.io`.

use super::kind::{Kind, Scope};

const BASE: Kind = Kind { group: "authorization.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "LocalSubjectAccessReview",
        list_kind: "LocalSubjectAccessReviewList",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        schema: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        verbs: &["create"],
        storage_prefix: "localsubjectaccessreviews",
        ..BASE
    },
    Kind {
        kind: "SelfSubjectAccessReview",
        list_kind: "SelfSubjectAccessReviewList",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        schema: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        scope: Scope::Cluster,
        verbs: &["create"],
        storage_prefix: "selfsubjectaccessreviews",
        ..BASE
    },
    Kind {
        kind: "SelfSubjectRulesReview",
        list_kind: "SelfSubjectRulesReviewList",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        schema: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        scope: Scope::Cluster,
        verbs: &["create"],
        storage_prefix: "selfsubjectrulesreviews",
        ..BASE
    },
    Kind {
        kind: "SubjectAccessReview",
        list_kind: "SubjectAccessReviewList",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        schema: "io.k8s.api.authorization.v1.SubjectAccessReview",
        scope: Scope::Cluster,
        verbs: &["create"],
        storage_prefix: "subjectaccessreviews",
        ..BASE
    },
];
