//! Pods: one worker each, a pure plan over what is wanted and what the runtime has, and the status that results.

mod back_off;
mod cgroups;
mod container;
mod downward;
mod env;
mod expansion;
mod hosts;
mod images;
mod kill;
mod log_lines;
mod log_rotation;
mod lookup;
mod mailbox;
mod observe;
mod plan;
mod pleg;
mod quantity;
mod references;
mod resolv;
mod resources;
mod sandbox;
mod security;
mod start;
mod status;
mod status_patch;
mod termination_message;
mod worker;
mod workers;

pub(crate) use cgroups::Cgroups;
pub(crate) use downward::{PodFacts, field_value, resource_value};
pub(crate) use log_lines::{LogLine, LogStream};
pub(crate) use log_rotation::run as rotate_logs;
pub(crate) use lookup::{
    container_spec, full_name, name_of, namespace_of, restartable_init, uid_of,
};
pub(crate) use mailbox::{Mailbox, Mailboxes};
pub(crate) use observe::{
    ContainerState, LABEL_CONTAINER_NAME, LABEL_POD_UID, Observed, ObservedContainer,
};
pub(crate) use plan::Unhealthy;
pub(crate) use pleg::run as run_pleg;
pub(crate) use quantity::Quantity;
pub(crate) use workers::Workers;

/// What a nanosecond count of the runtime is on the wire: whole seconds.
pub(crate) fn time_of(nanos: i64) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    let second = nanos.div_euclid(1_000_000_000);
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
    )
}
