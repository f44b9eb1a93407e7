//! The registry: which custom kinds are served now, as entries like those of the table of kinds.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use serde_json::json;

use super::definition::{Definition, Served, compare_versions};
use crate::discovery::Document;
use crate::kinds::{Generation, Hooks, Kind, Selectable, Subresource};
use crate::openapi::Packed;

/// What is behind an entry at the moment.
#[derive(Debug)]
pub(crate) struct Slot(RwLock<Arc<Served>>);

impl Slot {
    pub(crate) fn served(&self) -> Arc<Served> {
        self.0.read().clone()
    }
}

/// The kinds that are served, and the documents that say so.
#[derive(Default)]
pub(crate) struct View {
    /// Sorted by group, version by preference, plural.
    pub(crate) kinds: Vec<&'static Kind>,
    by_plural: BTreeMap<(&'static str, &'static str, &'static str), &'static Kind>,
    /// `/apis` in one document.
    pub(crate) aggregated: OnceLock<Document>,
    /// OpenAPI documents by path.
    pub(crate) documents: Mutex<BTreeMap<String, Packed>>,
    /// Names the content of a group version's document.
    pub(crate) hashes: BTreeMap<(String, String), String>,
}

impl View {
    /// The kind behind a resource's path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        self.by_plural.get(&(group, version, plural)).copied()
    }
}

/// All definitions, and the kinds made of them.
#[derive(Default)]
pub(crate) struct Registry {
    view: RwLock<Arc<View>>,
    /// By name; kept while the revision is the same.
    definitions: Mutex<BTreeMap<String, Arc<Definition>>>,
    /// Every entry that was ever made, by what it holds. They live as long as the process, so
    /// that requests may refer to them as they do to the built-in ones.
    entries: Mutex<BTreeMap<String, &'static Kind>>,
}

impl Registry {
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    /// A kind of the table, or a custom one.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        crate::kinds::find(group, version, plural)
            .or_else(|| self.view.read().find(group, version, plural))
    }

    /// The definition of this name, as the registry has it.
    pub(crate) fn definition(&self, name: &str) -> Option<Arc<Definition>> {
        self.definitions.lock().get(name).cloned()
    }

    /// Whether the definition, at this revision, has all the names that it wants.
    pub(crate) fn settled(&self, name: &str, revision: i64) -> bool {
        let known = self.definitions.lock();
        known.get(name).is_some_and(|d| d.revision == revision && d.settled)
    }

    /// Serves exactly these definitions. A definition of a known revision is not read again.
    pub(crate) fn replace(&self, all: &[(String, i64, Arc<crate::cache::Object>)]) {
        let mut known = self.definitions.lock();
        let mut next: BTreeMap<String, Arc<Definition>> = BTreeMap::new();
        for (name, revision, object) in all {
            let same = known.get(name).filter(|d| d.revision == *revision).cloned();
            let definition =
                same.or_else(|| Definition::of(&object.value(), *revision).map(Arc::new));
            if let Some(definition) = definition {
                next.insert(name.clone(), definition);
            }
        }
        let is_same = next.len() == known.len()
            && next.iter().zip(known.iter()).all(|(a, b)| Arc::ptr_eq(a.1, b.1));
        if is_same {
            return;
        }
        for (_, gone) in known.iter().filter(|(name, _)| !next.contains_key(*name)) {
            self.retire(gone);
        }
        let view = self.make_view(next.values());
        *known = next;
        *self.view.write() = Arc::new(view);
    }

    fn make_view<'d>(&self, definitions: impl Iterator<Item = &'d Arc<Definition>>) -> View {
        let mut view = View::default();
        let mut sources: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for definition in definitions.filter(|d| d.established) {
            for (at, version) in definition.versions.iter().enumerate() {
                let served = Arc::new(Served::new(definition.clone(), at));
                let kind = self.entry(&served);
                if let Some(slot) = kind.custom {
                    *slot.0.write() = served.clone();
                }
                if !version.served
                    || crate::kinds::find(kind.group, kind.version, kind.plural).is_some()
                {
                    continue;
                }
                view.kinds.push(kind);
                view.by_plural.insert((kind.group, kind.version, kind.plural), kind);
                sources
                    .entry((definition.group.clone(), version.name.clone()))
                    .or_default()
                    .push(format!("{}@{}", definition.name, definition.revision));
            }
        }
        view.kinds.sort_by(|a, b| {
            a.group
                .cmp(b.group)
                .then_with(|| compare_versions(a.version, b.version))
                .then_with(|| a.plural.cmp(b.plural))
        });
        view.hashes = sources.into_iter().map(|(key, all)| (key, all.join(","))).collect();
        view
    }

    /// The entry for a version; made once for each distinct content.
    fn entry(&self, served: &Arc<Served>) -> &'static Kind {
        let (definition, version) = (&served.definition, served.version());
        let key = json!([
            definition.group,
            version.name,
            definition.plural,
            definition.singular,
            definition.kind,
            definition.list_kind,
            definition.short_names,
            definition.categories,
            definition.namespaced,
            version.has_status,
            version.scale.is_some(),
            version.selectable,
        ])
        .to_string();
        let mut entries = self.entries.lock();
        if let Some(kind) = entries.get(&key) {
            return kind;
        }
        let kind: &'static Kind = Box::leak(Box::new(make_entry(served)));
        entries.insert(key, kind);
        kind
    }

    /// Lets go of the schemas of a definition that is gone; nothing more is stored for it.
    fn retire(&self, gone: &Definition) {
        for kind in self.entries.lock().values() {
            let Some(slot) = kind.custom else { continue };
            let mut served = slot.0.write();
            if served.definition.name == gone.name {
                let empty = Definition {
                    group: gone.group.clone(),
                    terminating: true,
                    versions: vec![super::Version {
                        name: kind.version.to_owned(),
                        ..Default::default()
                    }],
                    ..Definition::default()
                };
                *served = Arc::new(Served::new(Arc::new(empty), 0));
            }
        }
    }
}

fn make_entry(served: &Arc<Served>) -> Kind {
    let (definition, version) = (&served.definition, served.version());
    let mut subresources = Vec::new();
    if version.has_status {
        subresources.push(Subresource::of_kind("status", leak(&definition.kind)));
    }
    if version.scale.is_some() {
        subresources.push(Subresource::SCALE);
    }
    let selectable = version.selectable.iter().map(|path| Selectable {
        label: leak(path),
        pointer: leak(&format!("/{}", path.replace('.', "/"))),
        absent: "",
    });
    let selectable: Vec<Selectable> = selectable.collect();
    let reversed: Vec<&str> = definition.group.rsplit('.').collect();
    let schema = format!("{}.{}.{}", reversed.join("."), version.name, definition.kind);
    let slot: &'static Slot = Box::leak(Box::new(Slot(RwLock::new(served.clone()))));
    Kind {
        group: leak(&definition.group),
        version: leak(&version.name),
        kind: leak(&definition.kind),
        list_kind: leak(&definition.list_kind),
        plural: leak(&definition.plural),
        singular: leak(&definition.singular),
        schema: leak(&schema),
        short_names: leak_all(&definition.short_names),
        categories: leak_all(&definition.categories),
        scope: definition.scope(),
        subresources: subresources.leak(),
        storage_prefix: leak(&definition.storage_prefix()),
        selectable: selectable.leak(),
        has_status: version.has_status,
        generation: Generation::OnAnyChangeButMetadata,
        unconditional_update: false,
        hooks: Hooks { warnings: super::warnings::object, ..Hooks::NONE },
        custom: Some(slot),
        ..Kind::DEFAULT
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn leak_all(texts: &[String]) -> &'static [&'static str] {
    texts.iter().map(|t| leak(t)).collect::<Vec<_>>().leak()
}
