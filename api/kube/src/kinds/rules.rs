//! Which rules each kind has.

use super::hooks::Hooks;
use super::prepare;
use crate::defaulting::{network, others, pod, storage, workloads};

pub(super) const POD: Hooks = Hooks {
    default: pod::pod,
    prepare_create: prepare::new_pod,
    prepare_update: prepare::changed_pod,
    ..Hooks::NONE
};

pub(super) const NAMESPACE: Hooks = Hooks {
    default: others::namespace,
    prepare_create: prepare::new_namespace,
    prepare_update: prepare::changed_namespace,
    prepare_deletion: prepare::deleted_namespace,
    ..Hooks::NONE
};

pub(super) const SERVICE: Hooks = Hooks { default: network::service, ..Hooks::NONE };

pub(super) const ENDPOINTS: Hooks = Hooks { default: network::endpoints, ..Hooks::NONE };

pub(super) const ENDPOINT_SLICE: Hooks = Hooks { default: network::endpoint_slice, ..Hooks::NONE };

pub(super) const NODE: Hooks = Hooks { default: others::node, ..Hooks::NONE };

pub(super) const CONFIG_MAP: Hooks = Hooks::NONE;

pub(super) const SECRET: Hooks =
    Hooks { default: others::secret, prepare_update: prepare::changed_secret, ..Hooks::NONE };

pub(super) const LIMIT_RANGE: Hooks = Hooks { default: others::limit_range, ..Hooks::NONE };

pub(super) const POD_TEMPLATE: Hooks = Hooks { default: workloads::pod_template, ..Hooks::NONE };

pub(super) const PERSISTENT_VOLUME: Hooks =
    Hooks { default: storage::volume, prepare_create: prepare::new_volume, ..Hooks::NONE };

pub(super) const PERSISTENT_VOLUME_CLAIM: Hooks =
    Hooks { default: storage::claim, prepare_create: prepare::new_volume, ..Hooks::NONE };

pub(super) const REPLICATION_CONTROLLER: Hooks =
    Hooks { default: workloads::replication_controller, ..Hooks::NONE };

pub(super) const DEPLOYMENT: Hooks = Hooks { default: workloads::deployment, ..Hooks::NONE };

pub(super) const REPLICA_SET: Hooks = Hooks { default: workloads::replica_set, ..Hooks::NONE };

pub(super) const STATEFUL_SET: Hooks = Hooks { default: workloads::stateful_set, ..Hooks::NONE };

pub(super) const DAEMON_SET: Hooks = Hooks { default: workloads::daemon_set, ..Hooks::NONE };

pub(super) const CONTROLLER_REVISION: Hooks = Hooks::NONE;

pub(super) const JOB: Hooks =
    Hooks { default: workloads::job, prepare_create: prepare::new_job, ..Hooks::NONE };

pub(super) const CRON_JOB: Hooks = Hooks { default: workloads::cron_job, ..Hooks::NONE };

pub(super) const AUTOSCALER: Hooks = Hooks { default: workloads::autoscaler, ..Hooks::NONE };

pub(super) const DISRUPTION_BUDGET: Hooks = Hooks::NONE;

pub(super) const PRIORITY_CLASS: Hooks = Hooks { default: others::priority_class, ..Hooks::NONE };

pub(super) const ROLE: Hooks = Hooks::NONE;

pub(super) const ROLE_BINDING: Hooks = Hooks { default: others::role_binding, ..Hooks::NONE };

pub(super) const LEASE: Hooks = Hooks::NONE;

pub(super) const EVENT: Hooks = Hooks::NONE;

pub(super) const NETWORK_POLICY: Hooks = Hooks { default: network::network_policy, ..Hooks::NONE };

pub(super) const INGRESS_CLASS: Hooks = Hooks { default: network::ingress_class, ..Hooks::NONE };

pub(super) const STORAGE_CLASS: Hooks = Hooks { default: storage::storage_class, ..Hooks::NONE };

pub(super) const CSI_DRIVER: Hooks = Hooks { default: storage::csi_driver, ..Hooks::NONE };

pub(super) const WEBHOOKS: Hooks = Hooks { default: others::webhooks, ..Hooks::NONE };

pub(super) const ADMISSION_POLICY: Hooks =
    Hooks { default: others::admission_policy, ..Hooks::NONE };

pub(super) const FLOW_SCHEMA: Hooks = Hooks { default: others::flow_schema, ..Hooks::NONE };

pub(super) const PRIORITY_LEVEL: Hooks = Hooks { default: others::priority_level, ..Hooks::NONE };

pub(super) const DEFINITION: Hooks = Hooks { default: others::definition, ..Hooks::NONE };

pub(super) const SIGNING_REQUEST: Hooks =
    Hooks { prepare_update: prepare::changed_signing_request, ..Hooks::NONE };
