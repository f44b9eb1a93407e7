//! The kinds of API group `policy`.

use super::kind::{Generation, Kind, Subresource};
use super::rules;
use crate::table::columns;

const BASE: Kind = Kind { group: "policy", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "PodDisruptionBudget",
    list_kind: "PodDisruptionBudgetList",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    schema: "io.k8s.api.policy.v1.PodDisruptionBudget",
    short_names: &["pdb"],
    subresources: &[Subresource::of_kind("status", "PodDisruptionBudget")],
    storage_prefix: "poddisruptionbudgets",
    has_status: true,
    generation: Generation::OnSpecChange,
    unconditional_update: false,
    printer: &columns::POD_DISRUPTION_BUDGET,
    hooks: rules::DISRUPTION_BUDGET,
    ..BASE
}];
