//! RequestInfo: what a path and a method ask for, by Kubernetes' rules.

use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    /// False for paths like `/version`.
    pub(crate) is_resource: bool,
    /// The path as it came.
    pub(crate) path: String,
    /// `get`, `list`, `watch`, `create`, … or the lower-cased method for other paths.
    pub(crate) verb: String,
    /// API group, empty for core.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Namespace, empty at the cluster scope.
    pub(crate) namespace: String,
    /// Plural of the resource.
    pub(crate) resource: String,
    /// Subresource or empty.
    pub(crate) subresource: String,
    /// Name of the object or empty.
    pub(crate) name: String,
    /// What follows the subresource, with its slash (`/a/b` of `…/proxy/a/b`).
    pub(crate) rest: String,
}

const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

impl RequestInfo {
    /// Reads a request's method, path and query.
    pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = RequestInfo {
            path: path.to_owned(),
            verb: method.as_str().to_lowercase(),
            ..RequestInfo::default()
        };
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.first().copied() {
            Some("api") if parts.len() >= 3 => {
                info.version = parts[1].to_owned();
                parts.drain(..2);
            }
            Some("apis") if parts.len() >= 4 => {
                info.group = parts[1].to_owned();
                info.version = parts[2].to_owned();
                parts.drain(..3);
            }
            _ => return info,
        }
        info.is_resource = true;
        info.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        }
        .to_owned();
        if parts[0] == "watch" && parts.len() > 1 {
            info.verb = "watch".to_owned();
            parts.remove(0);
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = decode(parts[1]);
            let own = parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]);
            if own {
                parts.drain(..2);
            }
        }
        info.resource = parts[0].to_owned();
        info.name = parts.get(1).map(|p| decode(p)).unwrap_or_default();
        info.subresource = parts.get(2).map(|p| (*p).to_owned()).unwrap_or_default();
        if parts.len() > 3 {
            // Taken from the raw path, so that encoded slashes and a final slash survive.
            let head: String = format!("/{}/{}/", parts[0], parts[1]);
            if let Some(at) = path.find(&head) {
                let after = &path[at + head.len() + info.subresource.len()..];
                info.rest = after.to_owned();
            }
        } else if !info.subresource.is_empty() && path.ends_with('/') {
            info.rest = "/".to_owned();
        }
        if info.name.is_empty() {
            match info.verb.as_str() {
                "get" => {
                    info.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
                }
                "delete" => info.verb = "deletecollection".to_owned(),
                _ => {}
            }
        }
        if info.name.is_empty()
            && matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
            && let Some(selector) = query.get("fieldSelector")
        {
            for clause in selector.split(',') {
                if let Some(name) = clause.strip_prefix("metadata.name=") {
                    info.name = name.trim_start_matches('=').to_owned();
                }
            }
        }
        info
    }

    /// `pods/log` or `pods`, as RBAC rules name it.
    pub(crate) fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// A parsed query string; keys may repeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part after `?`.
    pub(crate) fn parse(text: &str) -> Self {
        Query(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_plus(k), decode_plus(v))
                })
                .collect(),
        )
    }

    /// The first value of a key, when it is not empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of a key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether the key is there at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// A boolean: present and not `0` or `false`, as Kubernetes converts strings to booleans.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .is_some_and(|(_, v)| !matches!(v.to_lowercase().as_str(), "0" | "false"))
    }
}

fn decode_plus(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// Percent-decodes; bytes that are no UTF-8 become replacement characters.
pub(crate) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[i], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(&method, path, &Query::parse(query))
    }

    fn check(method: Method, target: &str, want: (&str, &str, &str, &str, &str, &str)) {
        let i = parse(method, target);
        assert_eq!(
            (&*i.verb, &*i.group, &*i.namespace, &*i.resource, &*i.name, &*i.subresource),
            want,
            "{target}"
        );
    }

    #[test]
    fn paths_become_verbs_and_resources() {
        check(Method::GET, "/api/v1/pods", ("list", "", "", "pods", "", ""));
        check(Method::GET, "/api/v1/pods?watch=true", ("watch", "", "", "pods", "", ""));
        check(Method::GET, "/api/v1/pods?watch=0", ("list", "", "", "pods", "", ""));
        check(Method::GET, "/api/v1/namespaces/a", ("get", "", "a", "namespaces", "a", ""));
        check(
            Method::PUT,
            "/api/v1/namespaces/a/finalize",
            ("update", "", "a", "namespaces", "a", "finalize"),
        );
        check(
            Method::POST,
            "/apis/apps/v1/namespaces/a/deployments",
            ("create", "apps", "a", "deployments", "", ""),
        );
        check(
            Method::GET,
            "/api/v1/namespaces/a/pods/p/log?follow=true",
            ("get", "", "a", "pods", "p", "log"),
        );
        check(
            Method::DELETE,
            "/api/v1/namespaces/a/pods",
            ("deletecollection", "", "a", "pods", "", ""),
        );
        check(
            Method::GET,
            "/api/v1/pods?fieldSelector=metadata.name%3Dx",
            ("list", "", "", "pods", "x", ""),
        );
        assert!(!parse(Method::GET, "/apis/apps/v1").is_resource);
        assert!(!parse(Method::GET, "/version").is_resource);
    }

    #[test]
    fn the_rest_of_a_proxy_path_is_kept_as_it_is() {
        let i = parse(Method::GET, "/api/v1/namespaces/a/services/http:s:80/proxy/x%2Fy/z/");
        assert_eq!((&*i.name, &*i.rest), ("http:s:80", "/x%2Fy/z/"));
    }
}
