//! Answers: objects, lists and errors in the encoding and view that the client accepts.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cache::Object;
use crate::call::Call;
use crate::conversion;
use crate::facts::facts;
use crate::kinds::Kind;
use crate::negotiate::{Accepted, Encoding, View};
use crate::protobuf;
use crate::server::Body;
use crate::status::Status;
use crate::table::{self, IncludeObject};

/// Warnings of one answer, all together.
const WARNING_BYTES_MAX: usize = 4 << 10;

/// What a list says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListMeta {
    pub(crate) revision: i64,
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining: Option<i64>,
}

impl ListMeta {
    pub(crate) fn to_value(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if let Some(token) = &self.continue_token {
            meta["continue"] = json!(token);
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        meta
    }
}

/// An error.
pub(crate) fn status(status: &Status) -> Response<Body> {
    let mut response = bytes(status.code, "application/json", status.to_bytes());
    if let Some(seconds) = status.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0)
    {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Bytes of a type.
pub(crate) fn bytes(code: u16, media: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(bytes));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// A JSON value as it is, whatever the client accepts.
pub(crate) fn json_value(code: u16, value: &Value) -> Response<Body> {
    bytes(code, "application/json", value.to_string())
}

/// A value in the client's encoding.
pub(crate) fn value(
    accepted: Accepted,
    code: u16,
    value: &Value,
) -> Result<Response<Body>, Status> {
    match accepted.encoding {
        Encoding::Json if accepted.pretty => {
            let text = serde_json::to_string_pretty(value).map_err(Status::internal)?;
            Ok(bytes(code, "application/json", text))
        }
        Encoding::Json => Ok(bytes(code, "application/json", value.to_string())),
        Encoding::Yaml => {
            let text = serde_saphyr::to_string(value).map_err(Status::internal)?;
            Ok(bytes(code, "application/yaml", text))
        }
        Encoding::Protobuf => Ok(match message(value) {
            Some(message) => bytes(code, protobuf::MEDIA_TYPE, message),
            None => json_value(code, value),
        }),
    }
}

/// A value in its protobuf envelope. None: it has no message, and is JSON for everybody; the
/// content type says so.
pub(crate) fn message(value: &Value) -> Option<Vec<u8>> {
    protobuf::write(&schema_of(value)?, value).ok()
}

/// The name of a value's type in the table of facts; empty where the writer needs none.
fn schema_of(value: &Value) -> Option<String> {
    let kind = value["kind"].as_str()?;
    let api_version = value["apiVersion"].as_str()?;
    if matches!(kind, "PartialObjectMetadata" | "PartialObjectMetadataList") {
        return Some(String::new());
    }
    if kind == "Status" {
        return Some("io.k8s.apimachinery.pkg.apis.meta.v1.Status".to_owned());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = format!("{group}/{version}/{kind}");
    let ty = facts().types().iter().find(|ty| ty.gvks.contains(&gvk.as_str()))?;
    Some(ty.full_name()).filter(|name| has_message(name))
}

/// One object of the call's kind.
pub(crate) fn object(call: &Call, code: u16, wire: Bytes) -> Result<Response<Body>, Status> {
    let accepted = call.accepted()?;
    let wire = conversion::wire(call.kind, wire);
    let response = if accepted.is_raw() {
        bytes(code, "application/json", wire)
    } else {
        let whole: Value = serde_json::from_slice(&wire).map_err(Status::internal)?;
        let seen = match accepted.view {
            View::Whole => whole,
            View::Partial(version) => partial(&whole, version),
            View::Table(version) => {
                let meta = json!({"resourceVersion": whole["metadata"]["resourceVersion"]});
                table(call, version, &[&whole], meta)?
            }
        };
        value(accepted, code, &seen)?
    };
    Ok(with_warnings(response, &call.all_warnings()))
}

/// A list of the call's kind.
pub(crate) fn list(
    call: &Call,
    objects: Vec<Arc<Object>>,
    meta: &ListMeta,
) -> Result<Response<Body>, Status> {
    let accepted = call.accepted()?;
    let custom = call.kind.custom.is_some();
    let objects: Vec<Arc<Object>> = match custom {
        true => objects.iter().map(|o| conversion::shown(call.kind, o)).collect(),
        false => objects,
    };
    if accepted.is_raw() && (custom || !conversion::is_converted(call.kind)) {
        let (head, tail) = list_frame(call.kind, meta);
        let mut response = bytes(200, "application/json", Bytes::new());
        *response.body_mut() = Body::list(head, objects, tail);
        return Ok(with_warnings(response, &call.all_warnings()));
    }
    if accepted.encoding == Encoding::Protobuf
        && accepted.view == View::Whole
        && let Some(list) = list_message(call.kind, &objects, meta)
    {
        return Ok(with_warnings(bytes(200, protobuf::MEDIA_TYPE, list), &call.all_warnings()));
    }
    let whole = |object: &Arc<Object>| match custom {
        true => object.value(),
        false => conversion::from_stored(call.kind, object.value()),
    };
    let values: Vec<Value> = objects.iter().map(whole).collect();
    let seen = match accepted.view {
        View::Whole => json!({
            "kind": call.kind.list_kind, "apiVersion": api_version(call.kind),
            "metadata": meta.to_value(), "items": values,
        }),
        View::Partial(version) => {
            let items: Vec<Value> = values.iter().map(|v| partial(v, version)).collect();
            json!({
                "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": meta.to_value(), "items": items,
            })
        }
        View::Table(version) => {
            let rows: Vec<&Value> = values.iter().collect();
            table(call, version, &rows, meta.to_value())?
        }
    };
    Ok(with_warnings(value(accepted, 200, &seen)?, &call.all_warnings()))
}

/// A list of what is kept encoded already. None: some of it has no message.
fn list_message(kind: &Kind, objects: &[Arc<Object>], meta: &ListMeta) -> Option<Vec<u8>> {
    if conversion::is_converted(kind) || !has_message(kind.schema) {
        return None;
    }
    let items: Vec<Bytes> =
        objects.iter().map(|o| o.message(kind.schema)).collect::<Option<_>>()?;
    let items = items.iter().map(|item| &item[..]);
    protobuf::list(&api_version(kind), kind.list_kind, &meta.to_value(), items).ok()
}

/// Schemas of custom resources hold unions that the table of facts does not tell apart.
pub(crate) fn has_message(schema: &str) -> bool {
    facts().find(schema).is_some() && !schema.starts_with("io.k8s.apiextensions")
}

/// The bytes around the items of a list.
fn list_frame(kind: &Kind, meta: &ListMeta) -> (Bytes, Bytes) {
    let mut head = BytesMut::with_capacity(160);
    let frame = json!({
        "kind": kind.list_kind, "apiVersion": api_version(kind), "metadata": meta.to_value(),
    })
    .to_string();
    head.put_slice(&frame.as_bytes()[..frame.len() - 1]);
    head.put_slice(b",\"items\":[");
    (head.freeze(), Bytes::from_static(b"]}\n"))
}

/// `apps/v1`.
pub(crate) fn api_version(kind: &Kind) -> String {
    if kind.group.is_empty() {
        kind.version.to_owned()
    } else {
        format!("{}/{}", kind.group, kind.version)
    }
}

/// The metadata of an object as an object of its own.
pub(crate) fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object["metadata"],
    })
}

/// Rows for objects of the call's kind.
pub(crate) fn table(
    call: &Call,
    version: &str,
    objects: &[&Value],
    meta: Value,
) -> Result<Value, Status> {
    let include = include_object(call)?;
    let mut table = table::render(call.kind, objects, Timestamp::now(), include);
    table["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
    table["metadata"] = meta;
    Ok(table)
}

fn include_object(call: &Call) -> Result<IncludeObject, Status> {
    match call.query.get("includeObject") {
        None | Some("Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => {
            Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}")))
        }
    }
}

/// Adds a `Warning` header for each text, without repeats and within the limit.
pub(crate) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    let mut bytes = 0;
    for (i, text) in warnings.iter().enumerate() {
        bytes += text.len();
        if warnings[..i].contains(text) || bytes > WARNING_BYTES_MAX {
            continue;
        }
        let quoted: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c]))
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}
