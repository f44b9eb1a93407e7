//! The kinds of API group `events.k8s.io`.

use super::kind::Kind;
use super::rules;
use super::selectable;
use crate::table::columns;

const BASE: Kind = Kind { group: "events.k8s.io", version: "v1", ..Kind::DEFAULT };

/// In the order of discovery.
pub(super) const KINDS: &[Kind] = &[Kind {
    kind: "Event",
    list_kind: "EventList",
    plural: "events",
    singular: "event",
    schema: "io.k8s.api.events.v1.Event",
    short_names: &["ev"],
    storage_prefix: "events",
    create_on_update: true,
    selectable: selectable::EVENT,
    printer: &columns::EVENT,
    hooks: rules::EVENT,
    ..BASE
}];
