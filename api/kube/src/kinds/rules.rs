//! Which rules each kind has.

use super::hooks::Hooks;
use super::prepare;
use crate::custom;
use crate::defaulting::{network, others, pod, storage, workloads};
use crate::validation::{self as valid};

pub(super) const POD: Hooks = Hooks {
    default: pod::pod,
    prepare_create: prepare::new_pod,
    prepare_update: prepare::changed_pod,
    validate: valid::pod::check,
    validate_update: valid::pod::check_update,
    ..Hooks::NONE
};

pub(super) const NAMESPACE: Hooks = Hooks {
    default: others::namespace,
    prepare_create: prepare::new_namespace,
    prepare_update: prepare::changed_namespace,
    prepare_deletion: prepare::deleted_namespace,
    ..Hooks::NONE
};

pub(super) const SERVICE: Hooks = Hooks {
    default: network::service,
    validate: valid::service::service,
    validate_update: valid::service::service_update,
    ..Hooks::NONE
};

pub(super) const ENDPOINTS: Hooks = Hooks { default: network::endpoints, ..Hooks::NONE };

pub(super) const ENDPOINT_SLICE: Hooks = Hooks {
    default: network::endpoint_slice,
    validate: valid::service::endpoint_slice,
    validate_update: valid::service::endpoint_slice_update,
    ..Hooks::NONE
};

pub(super) const NODE: Hooks = Hooks {
    default: others::node,
    validate: valid::node::check,
    validate_update: valid::node::check_update,
    ..Hooks::NONE
};

pub(super) const CONFIG_MAP: Hooks = Hooks {
    validate: valid::config::config_map,
    validate_update: valid::config::config_map_update,
    ..Hooks::NONE
};

pub(super) const SECRET: Hooks = Hooks {
    default: others::secret,
    prepare_update: prepare::changed_secret,
    validate: valid::config::secret,
    validate_update: valid::config::secret_update,
    ..Hooks::NONE
};

pub(super) const LIMIT_RANGE: Hooks = Hooks { default: others::limit_range, ..Hooks::NONE };

pub(super) const POD_TEMPLATE: Hooks = Hooks {
    default: workloads::pod_template,
    validate: valid::workloads::pod_template,
    ..Hooks::NONE
};

pub(super) const PERSISTENT_VOLUME: Hooks =
    Hooks { default: storage::volume, prepare_create: prepare::new_volume, ..Hooks::NONE };

pub(super) const PERSISTENT_VOLUME_CLAIM: Hooks =
    Hooks { default: storage::claim, prepare_create: prepare::new_volume, ..Hooks::NONE };

pub(super) const REPLICATION_CONTROLLER: Hooks = Hooks {
    default: workloads::replication_controller,
    validate: valid::workloads::replication_controller,
    ..Hooks::NONE
};

pub(super) const DEPLOYMENT: Hooks = Hooks {
    default: workloads::deployment,
    validate: valid::workloads::deployment,
    validate_update: valid::workloads::selector_is_fixed,
    ..Hooks::NONE
};

pub(super) const REPLICA_SET: Hooks = Hooks {
    default: workloads::replica_set,
    validate: valid::workloads::replica_set,
    validate_update: valid::workloads::selector_is_fixed,
    ..Hooks::NONE
};

pub(super) const STATEFUL_SET: Hooks = Hooks {
    default: workloads::stateful_set,
    validate: valid::workloads::stateful_set,
    validate_update: valid::workloads::stateful_set_update,
    ..Hooks::NONE
};

pub(super) const DAEMON_SET: Hooks = Hooks {
    default: workloads::daemon_set,
    validate: valid::workloads::daemon_set,
    validate_update: valid::workloads::selector_is_fixed,
    ..Hooks::NONE
};

pub(super) const CONTROLLER_REVISION: Hooks =
    Hooks { validate_update: valid::workloads::revision_is_fixed, ..Hooks::NONE };

pub(super) const JOB: Hooks = Hooks {
    default: workloads::job,
    prepare_create: prepare::new_job,
    validate: valid::jobs::job,
    validate_update: valid::jobs::job_update,
    ..Hooks::NONE
};

pub(super) const CRON_JOB: Hooks =
    Hooks { default: workloads::cron_job, validate: valid::jobs::cron_job, ..Hooks::NONE };

pub(super) const AUTOSCALER: Hooks = Hooks { default: workloads::autoscaler, ..Hooks::NONE };

pub(super) const DISRUPTION_BUDGET: Hooks =
    Hooks { validate: valid::others::disruption_budget, ..Hooks::NONE };

pub(super) const PRIORITY_CLASS: Hooks = Hooks {
    default: others::priority_class,
    validate: valid::others::priority_class,
    validate_update: valid::others::priority_class_update,
    ..Hooks::NONE
};

pub(super) const ROLE: Hooks = Hooks { validate: valid::access::role, ..Hooks::NONE };

pub(super) const CLUSTER_ROLE: Hooks =
    Hooks { validate: valid::access::cluster_role, ..Hooks::NONE };

pub(super) const ROLE_BINDING: Hooks = Hooks {
    default: others::role_binding,
    validate: valid::access::binding,
    validate_update: valid::access::binding_update,
    ..Hooks::NONE
};

pub(super) const LEASE: Hooks = Hooks { validate: valid::others::lease, ..Hooks::NONE };

pub(super) const EVENT: Hooks = Hooks { validate: valid::others::event, ..Hooks::NONE };

pub(super) const NETWORK_POLICY: Hooks = Hooks { default: network::network_policy, ..Hooks::NONE };

pub(super) const INGRESS_CLASS: Hooks = Hooks { default: network::ingress_class, ..Hooks::NONE };

pub(super) const STORAGE_CLASS: Hooks = Hooks {
    default: storage::storage_class,
    validate: valid::others::storage_class,
    validate_update: valid::others::storage_class_update,
    ..Hooks::NONE
};

pub(super) const CSI_DRIVER: Hooks = Hooks { default: storage::csi_driver, ..Hooks::NONE };

pub(super) const WEBHOOKS: Hooks = Hooks { default: others::webhooks, ..Hooks::NONE };

pub(super) const ADMISSION_POLICY: Hooks =
    Hooks { default: others::admission_policy, validate: valid::policies::policy, ..Hooks::NONE };

pub(super) const FLOW_SCHEMA: Hooks = Hooks { default: others::flow_schema, ..Hooks::NONE };

pub(super) const PRIORITY_LEVEL: Hooks = Hooks { default: others::priority_level, ..Hooks::NONE };

pub(super) const DEFINITION: Hooks = Hooks {
    default: custom::default_definition,
    prepare_create: custom::new_definition,
    prepare_update: custom::updated_definition,
    validate: custom::valid_definition,
    validate_create: custom::valid_new_definition,
    validate_update: custom::valid_definition_update,
    warnings: custom::warnings::definition,
    hold_deletion: custom::hold_deletion,
    ..Hooks::NONE
};

pub(super) const SIGNING_REQUEST: Hooks =
    Hooks { prepare_update: prepare::changed_signing_request, ..Hooks::NONE };
