//! Negotiation: which encoding and which view of an object a client accepts.

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};

use crate::protobuf;
use crate::request_info::Query;
use crate::status::Status;

/// Encodings that are answered.
pub(crate) const MEDIA_TYPES: &[&str] =
    &["application/json", "application/yaml", protobuf::MEDIA_TYPE];

/// The encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What of an object is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The object itself.
    Whole,
    /// Rows and cells; the version of meta.k8s.io.
    Table(&'static str),
    /// Metadata alone; the version of meta.k8s.io.
    Partial(&'static str),
}

/// What a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) encoding: Encoding,
    pub(crate) view: View,
    pub(crate) pretty: bool,
}

impl Accepted {
    /// Reads Accept and `pretty`: the first supported clause of the highest weight wins.
    pub(crate) fn of(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        let text: Vec<&str> =
            headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
        let text = text.join(",");
        let (encoding, view) = if text.trim().is_empty() {
            (Encoding::Json, View::Whole)
        } else {
            best(&text).ok_or_else(|| Status::not_acceptable(MEDIA_TYPES))?
        };
        let pretty = match query.get("pretty") {
            Some(_) => query.flag("pretty"),
            None => headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).is_some_and(|agent| {
                ["curl", "Wget", "Mozilla/5.0"].iter().any(|known| agent.starts_with(known))
            }),
        };
        Ok(Accepted { encoding, view, pretty })
    }

    /// Whole objects as plain JSON: stored bytes can go out as they are.
    pub(crate) fn is_raw(&self) -> bool {
        self.encoding == Encoding::Json && self.view == View::Whole && !self.pretty
    }
}

fn best(text: &str) -> Option<(Encoding, View)> {
    let mut clauses: Vec<(f32, (Encoding, View))> = text
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next()?;
            let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
            let weight = find(&parameters, "q").and_then(|q| q.parse().ok()).unwrap_or(1.0);
            let encoding = match media {
                "application/json" | "*/*" | "application/*" => Encoding::Json,
                "application/yaml" => Encoding::Yaml,
                protobuf::MEDIA_TYPE => Encoding::Protobuf,
                _ => return None,
            };
            let view = view(&parameters)?;
            // Cells are of any type: tables have no messages.
            let possible = encoding != Encoding::Protobuf || !matches!(view, View::Table(_));
            possible.then_some((weight, (encoding, view)))
        })
        .collect();
    // A stable sort keeps the client's order among equals.
    clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
    clauses.first().map(|(_, accepted)| *accepted)
}

fn view(parameters: &[(&str, &str)]) -> Option<View> {
    let Some(kind) = find(parameters, "as") else { return Some(View::Whole) };
    if find(parameters, "g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match find(parameters, "v") {
        Some("v1") => "v1",
        Some("v1beta1") => "v1beta1",
        _ => return None,
    };
    match kind {
        "Table" => Some(View::Table(version)),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(View::Partial(version)),
        _ => None,
    }
}

fn find<'a>(parameters: &[(&'a str, &'a str)], key: &str) -> Option<&'a str> {
    parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<(Encoding, View)>) {
        assert_eq!(best(text), want, "{text}");
    }

    #[test]
    fn the_first_supported_clause_wins() {
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, View::Table("v1"))),
        );
        check(
            "application/vnd.kubernetes.protobuf,application/json",
            Some((Encoding::Protobuf, View::Whole)),
        );
        check(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, View::Whole)),
        );
        check("application/json;q=0.5,application/yaml", Some((Encoding::Yaml, View::Whole)));
        check("*/*", Some((Encoding::Json, View::Whole)));
        check("application/xml", None);
        check("application/json;as=Table;v=v2;g=meta.k8s.io", None);
    }
}
