//! The table of kinds: one entry a kind, one file an API group; everything generic works from it.

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod hooks;
mod kind;
mod networking;
mod node;
mod policy;
mod prepare;
mod rbac;
mod resource;
mod rules;
mod scheduling;
mod selectable;
mod storage;
mod table;

pub use hooks::Hooks;
pub(crate) use kind::put_back;
pub use kind::{Generation, Kind, NameRule, Scope, Selectable, Subresource};
pub use table::{by_gvk, find, table};

/// Every group's kinds, in the order in which discovery lists the groups.
const GROUPS: &[&[Kind]] = &[
    core::KINDS,
    apiregistration::KINDS,
    apps::KINDS,
    events::KINDS,
    authentication::KINDS,
    authorization::KINDS,
    autoscaling::KINDS,
    batch::KINDS,
    certificates::KINDS,
    networking::KINDS,
    policy::KINDS,
    rbac::KINDS,
    storage::KINDS,
    admissionregistration::KINDS,
    apiextensions::KINDS,
    scheduling::KINDS,
    coordination::KINDS,
    node::KINDS,
    discovery::KINDS,
    resource::KINDS,
    flowcontrol::KINDS,
];
