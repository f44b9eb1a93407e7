//! The kinds of API group `autoscaling`.

use super::kind::{Kind, Subresource};
use super::rules;
use crate::table::columns;

const BASE_V2: Kind = Kind { group: "autoscaling", version: "v2", ..Kind::DEFAULT };
const BASE_V1: Kind = Kind { group: "autoscaling", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "HorizontalPodAutoscaler",
        list_kind: "HorizontalPodAutoscalerList",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        schema: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[Subresource::of_kind("status", "HorizontalPodAutoscaler")],
        storage_prefix: "horizontalpodautoscalers",
        has_status: true,
        printer: &columns::HORIZONTAL_POD_AUTOSCALER,
        hooks: rules::AUTOSCALER,
        ..BASE_V2
    },
    Kind {
        kind: "HorizontalPodAutoscaler",
        list_kind: "HorizontalPodAutoscalerList",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        schema: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
        short_names: &["hpa"],
        categories: &["all"],
        subresources: &[Subresource::of_kind("status", "HorizontalPodAutoscaler")],
        storage_prefix: "horizontalpodautoscalers",
        has_status: true,
        printer: &columns::HORIZONTAL_POD_AUTOSCALER,
        hooks: rules::AUTOSCALER,
        ..BASE_V1
    },
];
