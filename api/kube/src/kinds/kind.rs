//! Kind: all that the generic handlers know about one kind of object.

use std::sync::Arc;

use serde_json::{Value, json};

use super::hooks::Hooks;
use crate::custom::{self, Served, Slot};
use crate::defaulting;
use crate::table::{self, Printer};
use crate::validation::{self, Errors, FieldError};

/// Whether objects live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One collection for the whole cluster.
    Cluster,
    /// One collection a namespace.
    Namespaced,
}

/// When an update raises metadata.generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation.
    None,
    /// When the spec changes.
    OnSpecChange,
    /// When the spec or the annotations change.
    OnSpecOrAnnotationsChange,
    /// When anything but metadata and status changes.
    OnAnyChange,
    /// When anything but metadata changes.
    OnAnyChangeButMetadata,
}

/// The syntax of object names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain.
    Subdomain,
    /// DNS-1123 label.
    Label,
    /// Anything that fits in one segment of a URL's path.
    PathSegment,
}

/// A path below an object.
#[derive(Debug, Clone, Copy)]
pub struct Subresource {
    /// The last part of the path.
    pub name: &'static str,
    /// Group of the body's kind; empty means that of the parent.
    pub group: &'static str,
    /// Version of the body's kind; empty means that of the parent.
    pub version: &'static str,
    /// Kind of the body.
    pub kind: &'static str,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// The number of replicas, by itself.
    pub(crate) const SCALE: Self = Subresource {
        name: "scale",
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
        verbs: &["get", "patch", "update"],
    };

    /// A view on the object itself, read and updated.
    pub(crate) const fn of_kind(name: &'static str, kind: &'static str) -> Self {
        Subresource { name, group: "", version: "", kind, verbs: &["get", "patch", "update"] }
    }
}

/// A field that field selectors may name.
#[derive(Debug, Clone, Copy)]
pub struct Selectable {
    /// As written in a selector.
    pub label: &'static str,
    /// JSON pointer of the value.
    pub pointer: &'static str,
    /// The value of an absent field.
    pub absent: &'static str,
}

/// One entry of the table of kinds.
#[derive(Clone, Copy)]
pub struct Kind {
    /// API group; empty for core.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Kind of one object.
    pub kind: &'static str,
    /// Kind of a list.
    pub list_kind: &'static str,
    /// Resource name in paths.
    pub plural: &'static str,
    /// Name for one object in commands.
    pub singular: &'static str,
    /// Name of the type in the table of facts.
    pub schema: &'static str,
    /// Short names of commands.
    pub short_names: &'static [&'static str],
    /// Groups of resources such as `all`.
    pub categories: &'static [&'static str],
    /// Cluster or namespaces.
    pub scope: Scope,
    /// Paths below an object.
    pub subresources: &'static [Subresource],
    /// Verbs of the collection and its objects, sorted.
    pub verbs: &'static [&'static str],
    /// The part of the key after `/registry/`.
    pub storage_prefix: &'static str,
    /// Columns and cells of Tables.
    pub printer: &'static Printer,
    /// Fields that selectors may name, beside name and namespace.
    pub selectable: &'static [Selectable],
    /// Whether `status` is written through its own path only.
    pub has_status: bool,
    /// Whether an update through `status` keeps the labels as they were.
    pub status_keeps_labels: bool,
    /// Whether a new object may come with a status.
    pub status_on_create: bool,
    /// When metadata.generation rises.
    pub generation: Generation,
    /// Syntax of names.
    pub name_rule: NameRule,
    /// Whether PUT to a name that does not exist creates it.
    pub create_on_update: bool,
    /// Whether an update without resourceVersion is taken.
    pub unconditional_update: bool,
    /// Whether DELETE answers with the object.
    pub returns_deleted: bool,
    /// Whether dependents are orphaned unless the caller says otherwise.
    pub orphans_by_default: bool,
    /// The kind's own rules.
    pub hooks: Hooks,
    /// What stands behind a kind that a definition made.
    pub(crate) custom: Option<&'static Slot>,
}

impl Kind {
    /// What an entry has unless it says otherwise.
    pub const DEFAULT: Kind = Kind {
        group: "",
        version: "v1",
        kind: "",
        list_kind: "",
        plural: "",
        singular: "",
        schema: "",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        subresources: &[],
        verbs: &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        storage_prefix: "",
        printer: &table::DEFAULT,
        selectable: &[],
        has_status: false,
        status_keeps_labels: false,
        status_on_create: false,
        generation: Generation::None,
        name_rule: NameRule::Subdomain,
        create_on_update: false,
        unconditional_update: true,
        returns_deleted: false,
        orphans_by_default: false,
        hooks: Hooks::NONE,
        custom: None,
    };

    /// The definition behind a custom kind, as of now.
    pub(crate) fn served(&self) -> Option<Arc<Served>> {
        self.custom.map(Slot::served)
    }

    /// `group/version`, or the version alone in core: the apiVersion of objects.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether the kind's collection answers to a verb.
    pub fn serves(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The key of an object in the store, or of the collection when `name` is empty.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        let mut key = format!("/registry/{}/", self.storage_prefix);
        if self.scope == Scope::Namespaced && !namespace.is_empty() {
            key.push_str(namespace);
            key.push('/');
        }
        key.push_str(name);
        key
    }

    /// Fills in defaults: those in the table of facts, then the kind's own.
    pub fn default(&self, object: &mut Value) {
        defaulting::object(self, object);
    }

    /// Resets what a client may not set on a new object.
    pub fn prepare_create(&self, object: &mut Value) {
        if let Some(served) = self.served() {
            custom::prepare_create(&served, object);
        } else if self.has_status && !self.status_on_create {
            object["status"] = json!({});
            defaulting::status(self, object);
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            match self.generation {
                Generation::None => drop(metadata.shift_remove("generation")),
                _ => drop(metadata.insert("generation".to_owned(), json!(1))),
            }
        }
        (self.hooks.prepare_create)(object);
    }

    /// Puts back what an update through this path may not touch and raises the generation.
    /// `subresource` is empty for the object itself.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, subresource: &str) {
        match subresource {
            "status" => self.keep_all_but_status(new, old),
            _ if self.has_status => put_back(new, old, "status"),
            _ => {}
        }
        (self.hooks.prepare_update)(new, old, subresource);
        // What a status says beside itself, such as annotations, is no new generation.
        if subresource == "status" {
            put_back(&mut new["metadata"], &old["metadata"], "generation");
        } else {
            self.set_generation(new, old);
        }
    }

    /// What is wrong with a new object, in the order of the checks.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        validation::metadata::create(self, object, &mut errors);
        (self.hooks.validate)(object, &mut errors);
        (self.hooks.validate_create)(object, &mut errors);
        if let Some(served) = self.served() {
            custom::validate(&served, object, &mut errors);
        }
        errors.into_vec()
    }

    /// What is wrong with a changed object, in the order of the checks.
    pub fn validate_update(&self, new: &Value, old: &Value, subresource: &str) -> Vec<FieldError> {
        let mut errors = Errors::default();
        validation::metadata::update(self, new, old, &mut errors);
        if subresource.is_empty() {
            (self.hooks.validate)(new, &mut errors);
        }
        (self.hooks.validate_update)(new, old, subresource, &mut errors);
        if let Some(served) = self.served() {
            custom::validate_update(&served, new, old, subresource, &mut errors);
        }
        errors.into_vec()
    }

    /// Seconds between a delete and the end of an object that dies gracefully; None for kinds
    /// that are gone at once. `wanted` is the caller's wish.
    pub fn grace_seconds(&self, object: &Value, wanted: Option<i64>) -> Option<i64> {
        if !(self.group.is_empty() && self.kind == "Pod") {
            return None;
        }
        let spec = &object["spec"];
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        let unscheduled = spec["nodeName"].as_str().unwrap_or_default().is_empty();
        if unscheduled || matches!(phase, "Failed" | "Succeeded") {
            return Some(0);
        }
        let seconds =
            wanted.or_else(|| spec["terminationGracePeriodSeconds"].as_i64()).unwrap_or(0);
        Some(if seconds < 0 { 1 } else { seconds })
    }

    /// Whether the object has finalizers outside its metadata, as namespaces have.
    pub fn holds_deletion(&self, object: &Value) -> bool {
        self.group.is_empty()
            && self.kind == "Namespace"
            && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty())
    }

    /// Adds what holds an object that is deleted until somebody has cleaned up after it.
    pub fn hold_deletion(&self, object: &mut Value) {
        (self.hooks.hold_deletion)(object);
    }

    /// Marks an object that waits for its finalizers, such as a namespace that is terminating.
    pub fn prepare_deletion(&self, object: &mut Value) {
        (self.hooks.prepare_deletion)(object);
    }

    /// Whether a delete without a propagation policy leaves dependents alone.
    pub fn orphans_by_default(&self) -> bool {
        self.orphans_by_default
    }

    fn keep_all_but_status(&self, new: &mut Value, old: &Value) {
        let Some(fields) = old.as_object() else { return };
        for name in fields.keys().filter(|n| !matches!(n.as_str(), "status" | "metadata")) {
            put_back(new, old, name);
        }
        if let Some(fields) = new.as_object_mut() {
            fields.retain(|name, _| {
                matches!(name.as_str(), "status" | "metadata") || old.get(name).is_some()
            });
        }
        if self.custom.is_some() {
            let entries = new["metadata"].get("managedFields").cloned();
            put_back(new, old, "metadata");
            set(&mut new["metadata"], "managedFields", entries);
        }
        if self.status_keeps_labels {
            let labels = old["metadata"].get("labels").cloned();
            set(&mut new["metadata"], "labels", labels);
        }
    }

    fn set_generation(&self, new: &mut Value, old: &Value) {
        let before = old["metadata"]["generation"].as_i64();
        let changed = match self.generation {
            Generation::None => false,
            Generation::OnSpecChange => new.get("spec") != old.get("spec"),
            Generation::OnSpecOrAnnotationsChange => {
                new.get("spec") != old.get("spec")
                    || new["metadata"].get("annotations") != old["metadata"].get("annotations")
            }
            Generation::OnAnyChange | Generation::OnAnyChangeButMetadata => {
                let whole = self.generation == Generation::OnAnyChangeButMetadata;
                let rest = |o: &Value| {
                    let fields = o.as_object()?.iter();
                    let own = |name: &str| name != "metadata" && (whole || name != "status");
                    let mut all: Vec<_> = fields
                        .filter(|(n, _)| own(n))
                        .map(|(n, v)| (n.clone(), v.clone()))
                        .collect();
                    all.sort_by(|a, b| a.0.cmp(&b.0));
                    Some(all)
                };
                rest(new) != rest(old)
            }
        };
        let generation = if changed { Some(before.unwrap_or(0) + 1) } else { before };
        set(&mut new["metadata"], "generation", generation.map(|g| json!(g)));
    }
}

/// Gives a field of `new` the value that it has in `old`.
pub(crate) fn put_back(new: &mut Value, old: &Value, name: &str) {
    let before = old.get(name).cloned();
    set(new, name, before);
}

fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let Some(fields) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(fields.insert(name.to_owned(), value)),
        None => drop(fields.shift_remove(name)),
    }
}
