//! Options of verbs, from the query and, for deletes, from the body.

use serde_json::Value;

use crate::call::Call;
use crate::decode::Decoded;
use crate::input;
use crate::kinds::Kind;
use crate::status::{GroupResource, Status};
use crate::verbs::list::number;

const SCHEMA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// Options of a delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// Reads the body, else the query.
    pub(crate) async fn of(call: &mut Call) -> Result<Self, Status> {
        let body = call.body().await?;
        let query_dry_run = call.is_dry_run()?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Self::from_query(call, query_dry_run);
        }
        let value = input::read_other(&body, SCHEMA, content_type(&call.headers))?;
        let mut options = Self::from_value(&value)?;
        options.dry_run |= query_dry_run;
        Ok(options)
    }

    fn from_query(call: &Call, dry_run: bool) -> Result<Self, Status> {
        let grace_seconds = number(call, "gracePeriodSeconds")?;
        let orphan =
            call.query.has("orphanDependents").then(|| call.query.flag("orphanDependents"));
        let propagation = propagation(call.query.get("propagationPolicy"), orphan)?;
        Ok(DeleteOptions { grace_seconds, propagation, dry_run, ..DeleteOptions::default() })
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, Status> {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let mut dry_run = false;
        for item in value["dryRun"].as_array().into_iter().flatten() {
            if item != "All" {
                return Err(unsupported("dryRun", item, "\"All\""));
            }
            dry_run = true;
        }
        Ok(DeleteOptions {
            grace_seconds: value["gracePeriodSeconds"].as_i64(),
            uid: text(&value["preconditions"]["uid"]),
            resource_version: text(&value["preconditions"]["resourceVersion"]),
            propagation: propagation(
                value["propagationPolicy"].as_str(),
                value["orphanDependents"].as_bool(),
            )?,
            dry_run,
        })
    }
}

fn propagation(policy: Option<&str>, orphan: Option<bool>) -> Result<Option<Propagation>, Status> {
    if policy.is_some() && orphan.is_some() {
        return Err(Status::invalid_field(
            OPTIONS,
            "",
            "FieldValueInvalid",
            "propagationPolicy",
            format!(
                "Invalid value: {:?}: orphanDependents and deletionPropagation cannot be both set",
                policy.unwrap_or_default()
            ),
        ));
    }
    Ok(match (policy, orphan) {
        (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
        (None, None) => None,
        (Some(other), _) => {
            let known = "\"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            return Err(unsupported("propagationPolicy", &Value::from(other), known));
        }
    })
}

const OPTIONS: GroupResource<'_> =
    GroupResource { group: "meta.k8s.io", resource: "DeleteOptions" };

fn unsupported(field: &str, value: &Value, known: &str) -> Status {
    Status::invalid_field(
        OPTIONS,
        "",
        "FieldValueNotSupported",
        field,
        format!("Unsupported value: {value}: supported values: {known}"),
    )
}

/// How unknown and duplicate fields are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(crate) fn of(call: &Call) -> Result<Self, Status> {
        match call.query.get("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(Status::invalid_field(
                call.options(),
                "",
                "FieldValueNotSupported",
                "fieldValidation",
                format!(
                    "Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                ),
            )),
        }
    }

    /// Refuses or warns of what was found.
    pub(crate) fn judge(
        self,
        kind: &Kind,
        decoded: &Decoded,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        match self {
            FieldValidation::Ignore => Ok(()),
            FieldValidation::Warn => {
                warnings.extend(decoded.warnings.iter().cloned());
                Ok(())
            }
            FieldValidation::Strict => match decoded.strict_error(kind.kind, kind.version) {
                Some(text) => Err(Status::bad_request(text)),
                None => Ok(()),
            },
        }
    }
}

/// The media type of a request's body, without parameters.
pub(crate) fn content_type(headers: &http::HeaderMap) -> &str {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .map_or("application/json", str::trim)
}
