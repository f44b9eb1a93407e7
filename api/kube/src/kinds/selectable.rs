//! Fields that field selectors may name, by kind.

use super::kind::Selectable;

const fn field(label: &'static str, pointer: &'static str) -> Selectable {
    Selectable { label, pointer, absent: "" }
}

const fn flag(label: &'static str, pointer: &'static str) -> Selectable {
    Selectable { label, pointer, absent: "false" }
}

const fn count(label: &'static str, pointer: &'static str) -> Selectable {
    Selectable { label, pointer, absent: "0" }
}

pub(super) const POD: &[Selectable] = &[
    field("spec.nodeName", "/spec/nodeName"),
    field("spec.host", "/spec/nodeName"),
    field("spec.restartPolicy", "/spec/restartPolicy"),
    field("spec.schedulerName", "/spec/schedulerName"),
    field("spec.serviceAccountName", "/spec/serviceAccountName"),
    flag("spec.hostNetwork", "/spec/hostNetwork"),
    field("status.phase", "/status/phase"),
    field("status.podIP", "/status/podIP"),
    field("status.podIPs", "/status/podIPs"),
    field("status.nominatedNodeName", "/status/nominatedNodeName"),
];

pub(super) const NODE: &[Selectable] = &[flag("spec.unschedulable", "/spec/unschedulable")];

pub(super) const NAMESPACE: &[Selectable] =
    &[field("status.phase", "/status/phase"), field("name", "/metadata/name")];

pub(super) const SECRET: &[Selectable] = &[field("type", "/type")];

pub(super) const SERVICE: &[Selectable] =
    &[field("spec.clusterIP", "/spec/clusterIP"), field("spec.type", "/spec/type")];

pub(super) const REPLICATION_CONTROLLER: &[Selectable] =
    &[count("status.replicas", "/status/replicas")];

pub(super) const JOB: &[Selectable] = &[count("status.successful", "/status/succeeded")];

pub(super) const CORE_EVENT: &[Selectable] = &[
    field("involvedObject.kind", "/involvedObject/kind"),
    field("involvedObject.namespace", "/involvedObject/namespace"),
    field("involvedObject.name", "/involvedObject/name"),
    field("involvedObject.uid", "/involvedObject/uid"),
    field("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    field("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    field("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    field("reason", "/reason"),
    field("reportingComponent", "/reportingComponent"),
    field("source", "/source/component|/reportingComponent"),
    field("type", "/type"),
];

pub(super) const EVENT: &[Selectable] = &[
    field("regarding.kind", "/regarding/kind"),
    field("regarding.namespace", "/regarding/namespace"),
    field("regarding.name", "/regarding/name"),
    field("regarding.uid", "/regarding/uid"),
    field("regarding.apiVersion", "/regarding/apiVersion"),
    field("regarding.resourceVersion", "/regarding/resourceVersion"),
    field("regarding.fieldPath", "/regarding/fieldPath"),
    field("reason", "/reason"),
    field("reportingController", "/reportingController"),
    field("type", "/type"),
];

pub(super) const CERTIFICATE_SIGNING_REQUEST: &[Selectable] =
    &[field("spec.signerName", "/spec/signerName")];

pub(super) const RESOURCE_SLICE: &[Selectable] =
    &[field("spec.nodeName", "/spec/nodeName"), field("spec.driver", "/spec/driver")];
