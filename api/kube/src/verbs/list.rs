//! list: a collection from the watch cache, or from the store where an exact revision is wanted.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use keelson_client::StoreError;
use serde_json::{Value, json};

use crate::cache::Object;
use crate::call::Call;
use crate::conversion;
use crate::kinds::Kind;
use crate::respond::{self, ListMeta};
use crate::selectors::{FieldSelector, LabelSelector};
use crate::server::Body;
use crate::status::{GroupResource, Status};
use crate::storage::{ROOT, failure, wire_bytes};
use crate::validation::FieldError;

/// Keys that are read from the store at once when a selector drops some.
const STORE_PAGE: i64 = 500;
const CONTINUE_VERSION: &str = "meta.k8s.io/v1";

/// GET of a collection.
pub(crate) async fn run(call: Call) -> Result<Response<Body>, Status> {
    validate(&call)?;
    let filter = Filter::of(&call)?;
    let limit = number(&call, "limit")?.unwrap_or(0);
    number(&call, "timeoutSeconds")?;
    let exact = call.query.get("resourceVersionMatch") == Some("Exact");
    let wanted = call.query.get("resourceVersion");
    if let Some(token) = call.query.get("continue") {
        if wanted.is_some_and(|v| v != "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let (revision, start) = decode_token(token, &full_prefix(&call))?;
        return from_store(&call, &filter, &start, limit, revision.max(0), true).await;
    }
    let revision = wanted.map(parse_revision).transpose()?;
    let cache = call.cx.caches.of(call.kind.storage_prefix).await?;
    match revision {
        None => call.cx.caches.freshen(&cache).await?,
        Some(0) => {}
        Some(n) => {
            call.cx.caches.wait_for(&cache, n).await?;
            let without_match = !call.query.has("resourceVersionMatch");
            if exact || limit > 0 && without_match {
                let prefix = full_prefix(&call);
                return from_store(&call, &filter, &prefix, limit, n, false).await;
            }
        }
    }
    let snapshot = cache.snapshot(&collection_prefix(&call));
    let mut objects = conversion::fetched_objects(&call.cx, call.kind, snapshot.objects).await?;
    let mut meta = ListMeta { revision: snapshot.revision, ..ListMeta::default() };
    if !filter.is_empty() {
        objects.retain(|object| filter.matches(object));
    }
    let limited = usize::try_from(limit).ok().filter(|l| *l > 0 && revision != Some(0));
    if let Some(limit) = limited.filter(|l| *l < objects.len()) {
        if filter.is_empty() {
            meta.remaining = i64::try_from(objects.len() - limit).ok();
        }
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            meta.continue_token = Some(token_after(&call, &last.key, meta.revision));
        }
    }
    respond::list(&call, objects, &meta)
}

/// Reads a page from the store at exactly `revision` (0: now).
async fn from_store(
    call: &Call,
    filter: &Filter,
    start: &str,
    limit: i64,
    revision: i64,
    continued: bool,
) -> Result<Response<Body>, Status> {
    let prefix = full_prefix(call);
    let resource_prefix = format!("{ROOT}{}/", call.kind.storage_prefix);
    let mut start = start.to_owned();
    let mut meta = ListMeta { revision, ..ListMeta::default() };
    let mut objects: Vec<Arc<Object>> = Vec::new();
    let full = |objects: &Vec<Arc<Object>>| {
        limit > 0 && i64::try_from(objects.len()).is_ok_and(|n| n >= limit)
    };
    loop {
        let at_once = match limit {
            0 => STORE_PAGE * 10,
            _ if filter.is_empty() => limit,
            _ => STORE_PAGE.max(limit),
        };
        let page = call.cx.storage.list(&prefix, &start, at_once, meta.revision).await;
        let page = match page {
            Ok(page) => page,
            Err(StoreError::Compacted) if continued => {
                return Err(expired(start.strip_prefix(&prefix).unwrap_or_default()));
            }
            Err(StoreError::FutureRevision) => {
                let current = call.cx.caches.revision();
                return Err(Status::too_large_resource_version(meta.revision, current));
            }
            Err(error) => return Err(failure(error)),
        };
        if meta.revision == 0 {
            meta.revision = page.revision;
        }
        let read = i64::try_from(page.items.len()).unwrap_or(i64::MAX);
        let mut read_objects = Vec::with_capacity(page.items.len());
        for stored in page.items {
            let Ok(key) = std::str::from_utf8(&stored.key) else { continue };
            let Some(relative) = key.strip_prefix(&resource_prefix) else { continue };
            let wire = wire_bytes(&stored.value, stored.revision);
            read_objects.push(Arc::new(Object::new(relative.into(), stored.revision, wire)));
        }
        for object in conversion::fetched_objects(&call.cx, call.kind, read_objects).await? {
            start = format!("{resource_prefix}{}\0", object.key);
            if filter.matches(&object) {
                objects.push(object);
            }
            if full(&objects) {
                break;
            }
        }
        if !page.more {
            if !full(&objects) {
                break;
            }
            let last = objects.last().map(|o| format!("{resource_prefix}{}", o.key));
            // With a selector keys of this page may be left although the store has no more.
            if filter.is_empty() || last.is_some_and(|l| start == format!("{l}\0")) && read <= limit
            {
                break;
            }
        }
        if full(&objects) {
            if filter.is_empty() {
                meta.remaining = Some(page.count - read);
            }
            if let Some(last) = objects.last() {
                meta.continue_token = Some(token_after(call, &last.key, meta.revision));
            }
            break;
        }
    }
    respond::list(call, objects, &meta)
}

fn expired(start: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = Some(encode_token(-1, start));
    status
}

/// Below which key of the resource the collection is: `namespace/` or nothing.
pub(crate) fn collection_prefix(call: &Call) -> String {
    match call.namespace() {
        "" => String::new(),
        namespace => format!("{namespace}/"),
    }
}

fn full_prefix(call: &Call) -> String {
    format!("{ROOT}{}/{}", call.kind.storage_prefix, collection_prefix(call))
}

fn token_after(call: &Call, key: &str, revision: i64) -> String {
    let prefix = collection_prefix(call);
    let relative = key.strip_prefix(&prefix).unwrap_or(key);
    encode_token(revision, &format!("{relative}\0"))
}

fn encode_token(revision: i64, start: &str) -> String {
    let token = json!({"v": CONTINUE_VERSION, "rv": revision, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// The revision of a token, and the full key to go on with.
fn decode_token(token: &str, prefix: &str) -> Result<(i64, String), Status> {
    let bad = |why: &str| Status::bad_request(format!("invalid continue token: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|e| bad(&e.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| bad(&e.to_string()))?;
    if value["v"] != CONTINUE_VERSION {
        return Err(bad(&format!("server does not recognize this encoded version {}", value["v"])));
    }
    let revision = value["rv"].as_i64().unwrap_or(0);
    if revision == 0 {
        return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    let start = value["start"].as_str().unwrap_or_default();
    if start.is_empty() {
        return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
    }
    if start.starts_with('/') || start.split('/').any(|part| part == ".." || part == ".") {
        return Err(bad(&format!("invalid start key: {start}")));
    }
    Ok((revision, format!("{prefix}{start}")))
}

/// A resourceVersion parameter.
pub(crate) fn parse_revision(text: &str) -> Result<i64, Status> {
    text.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| {
        Status::invalid_field(
            LIST_OPTIONS,
            "",
            "FieldValueInvalid",
            "resourceVersion",
            format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"),
        )
    })
}

pub(crate) const LIST_OPTIONS: GroupResource<'_> =
    GroupResource { group: "meta.k8s.io", resource: "ListOptions" };

/// A number parameter.
pub(crate) fn number(call: &Call, name: &str) -> Result<Option<i64>, Status> {
    match call.query.get(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        }),
    }
}

fn validate(call: &Call) -> Result<(), Status> {
    let query = &call.query;
    let mut errors = Vec::new();
    let mut forbid = |field: &str, why: &str| {
        errors.push(FieldError {
            reason: "FieldValueForbidden",
            field: field.to_owned(),
            message: format!("Forbidden: {why}"),
        });
    };
    if let Some(wanted) = query.get("resourceVersionMatch") {
        let field = "resourceVersionMatch";
        if query.get("resourceVersion").is_none() {
            forbid(field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.get("continue").is_some() {
            forbid(field, "resourceVersionMatch is forbidden when continue is provided");
        }
        if wanted == "Exact" && query.get("resourceVersion") == Some("0") {
            forbid(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            errors.push(FieldError {
                reason: "FieldValueNotSupported",
                field: field.to_owned(),
                message: format!(
                    "Unsupported value: {wanted:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""
                ),
            });
        }
    }
    if query.has("sendInitialEvents") {
        errors.push(FieldError {
            reason: "FieldValueForbidden",
            field: "sendInitialEvents".to_owned(),
            message: "Forbidden: sendInitialEvents is forbidden for list".to_owned(),
        });
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(LIST_OPTIONS, "", &errors)) }
}

/// The selectors of a list, watch or deletecollection.
pub(crate) struct Filter {
    kind: &'static Kind,
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
}

impl Filter {
    pub(crate) fn of(call: &Call) -> Result<Self, Status> {
        let labels = call.query.get("labelSelector").map(LabelSelector::parse).transpose();
        let fields = call.query.get("fieldSelector");
        let fields = fields.map(|text| FieldSelector::parse(call.kind, text)).transpose();
        Ok(Filter {
            kind: call.kind,
            labels: labels.map_err(|e| Status::bad_request(e.to_string()))?,
            fields: fields.map_err(|e| Status::bad_request(e.to_string()))?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether the selectors select the object.
    pub(crate) fn matches(&self, object: &Arc<Object>) -> bool {
        if self.is_empty() {
            return true;
        }
        if self.kind.custom.is_some() {
            let shown = conversion::shown(self.kind, object);
            // Which fields selectors may name changes with the definition; what is trimmed stays.
            return match self.fields {
                Some(_) => self.chooses(&shown.value()),
                None => self.chooses(shown.trimmed(|whole| trim(self.kind, whole))),
            };
        }
        if conversion::is_converted(self.kind) {
            // What is kept beside the object is in the stored shape.
            return self.chooses(&conversion::from_stored(self.kind, object.value()));
        }
        self.chooses(object.trimmed(|whole| trim(self.kind, whole)))
    }

    fn chooses(&self, object: &Value) -> bool {
        self.labels.as_ref().is_none_or(|s| s.matches(&object["metadata"]["labels"]))
            && self.fields.as_ref().is_none_or(|s| s.matches(object))
    }
}

/// What selectors read of an object, so that the whole need not be kept as a value.
fn trim(kind: &Kind, whole: &Value) -> Value {
    let mut kept = json!({});
    let own = ["/metadata/name", "/metadata/namespace", "/metadata/labels"].into_iter();
    for pointer in own.chain(kind.selectable.iter().flat_map(|s| s.pointer.split('|'))) {
        let Some(value) = whole.pointer(pointer) else { continue };
        let mut place = &mut kept;
        for part in pointer.trim_start_matches('/').split('/') {
            if place.is_null() {
                *place = json!({});
            }
            if !place.is_object() {
                break;
            }
            place = &mut place[part];
        }
        *place = value.clone();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_comes_back_as_it_was_and_never_climbs() {
        let token = encode_token(7, "a/b\0");
        assert_eq!(decode_token(&token, "x/").ok(), Some((7, "x/a/b\0".to_owned())));
        assert_eq!(decode_token("!", "").map_err(|s| s.code), Err(400));
        assert_eq!(decode_token(&encode_token(7, "../s"), "").map_err(|s| s.code), Err(400));
        assert_eq!(decode_token(&encode_token(0, "s"), "").map_err(|s| s.code), Err(400));
    }
}
