//! create: POST to a collection.

use bytes::Bytes;
use http::Response;
use rand::Rng as _;
use serde_json::{Map, Value, json};

use crate::admission::{self, Admission, Operation};
use crate::call::Call;
use crate::conversion;
use crate::managed::{self, Manager, Ownership};
use crate::respond;
use crate::server::Body;
use crate::service_addresses;
use crate::status::Status;
use crate::storage::{Written, stored_bytes};
use crate::verbs::guarded::{lease_of, now, put_entries, shown_wire, take_entries};
use crate::verbs::update::decode_body;

/// Letters and digits of generated names: none that make words or look alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// A generated name fits a DNS label.
const BASE_LENGTH_MAX: usize = 63 - SUFFIX_LENGTH;
/// Generated names that are tried.
const NAME_ATTEMPTS: usize = 8;

/// POST of an object.
pub(crate) async fn run(mut call: Call) -> Result<Response<Body>, Status> {
    let dry_run = call.is_dry_run()?;
    let manager = Manager::of(&call, call.kind, "")?;
    let object = decode_body(&mut call).await?;
    let wire = store_new(&call, object, dry_run, Ownership::Updated(&manager)).await?;
    respond::object(&call, 201, wire)
}

/// Admits, validates and stores a new object of the call's kind; answers its wire form.
pub(crate) async fn store_new(
    call: &Call,
    object: Value,
    dry_run: bool,
    ownership: Ownership<'_>,
) -> Result<Bytes, Status> {
    let metadata = &object["metadata"];
    let named = metadata["name"].as_str().is_some_and(|n| !n.is_empty());
    let base = metadata["generateName"].as_str().unwrap_or_default().to_owned();
    if named || base.is_empty() {
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        return match store_named(call, object, &name, dry_run, ownership).await? {
            Some(wire) => Ok(wire),
            None => Err(Status::already_exists(call.resource(), &name)),
        };
    }
    let mut name = String::new();
    for _ in 0..NAME_ATTEMPTS {
        name = generate_name(&base);
        let mut object = object.clone();
        object["metadata"]["name"] = json!(name);
        if let Some(wire) = store_named(call, object, &name, dry_run, ownership).await? {
            return Ok(wire);
        }
    }
    Err(Status::generate_name_conflict(call.resource(), &name))
}

/// None: the name is taken.
async fn store_named(
    call: &Call,
    mut object: Value,
    name: &str,
    dry_run: bool,
    ownership: Ownership<'_>,
) -> Result<Option<Bytes>, Status> {
    let kind = call.kind;
    let namespace = call.namespace().to_owned();
    let entries = take_entries(&mut object);
    stamp(&mut object, &now());
    let admission = Admission {
        cx: &call.cx,
        user: &call.user,
        kind,
        operation: Operation::Create,
        namespace: &namespace,
        name,
        subresource: "",
        dry_run,
        old: None,
        warnings: &call.admission_warnings,
    };
    kind.default(&mut object);
    match ownership {
        Ownership::Applied => put_entries(&mut object, entries),
        Ownership::Untracked => {}
        Ownership::Updated(manager) => {
            managed::updated(kind, manager, None, &mut object, &Value::Null, &now());
        }
    }
    admission::mutate(&admission, &mut object).await?;
    kind.default(&mut object);
    kind.prepare_create(&mut object);
    let reserved = service_addresses::on_create(&admission, &mut object).await?;
    let errors = kind.validate_create(&object);
    if !errors.is_empty() {
        return Err(Status::invalid(call.kind_name(), name, &errors));
    }
    call.admission_warnings.lock().extend((kind.hooks.warnings)(&object, None));
    admission::validate(&admission, &object).await?;
    let bytes = stored_bytes(&conversion::stored(&call.cx, kind, &object).await?);
    let key = call.key(name);
    if dry_run {
        let taken = call.cx.storage.get(&key).await?.is_some();
        return Ok((!taken).then(|| shown_wire(kind, &object, 0)));
    }
    let lease = lease_of(call, kind).await?;
    match call.cx.storage.create(&key, bytes.clone(), lease).await? {
        Written::Done(revision) => {
            reserved.keep();
            Ok(Some(shown_wire(kind, &object, revision)))
        }
        Written::Lost(_) => Ok(None),
    }
}

/// What the server says of a new object, whatever the client said.
pub(crate) fn stamp(object: &mut Value, now: &str) {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    for field in [
        "resourceVersion",
        "selfLink",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.shift_remove(field);
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(now));
}

/// A name that begins with `base` and is probably free.
pub(crate) fn generate_name(base: &str) -> String {
    let mut end = base.len().min(BASE_LENGTH_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut random = rand::rng();
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate_name(&"x".repeat(100));
        assert_eq!(name.len(), 63);
        assert!(name[58..].bytes().all(|b| ALPHABET.contains(&b)));
        assert!(generate_name("web-").starts_with("web-"));
    }
}
