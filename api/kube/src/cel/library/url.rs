//! URLs: `url("https://example.com/a?b=c").getHost()`.

use std::sync::Arc;

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::{Answer, failed};
use crate::request_info::decode;

/// A URL and its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) text: String,
    scheme: String,
    host: String,
    path: String,
    query: Vec<(String, String)>,
}

impl Url {
    /// An absolute URL or an absolute path.
    fn parse(text: &str) -> Option<Self> {
        let odd = |c: char| c.is_ascii_control() || c == ' ';
        if text.is_empty() || text.chars().any(odd) {
            return None;
        }
        let (scheme, rest) = if text.starts_with('/') {
            ("", text)
        } else {
            let (scheme, rest) = text.split_once(':')?;
            let plain = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            plain.then_some((scheme, rest))?
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(after) => after.find('/').map_or((after, ""), |at| after.split_at(at)),
            None if scheme.is_empty() => ("", rest),
            None => return None,
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let port = host.rsplit_once(':').filter(|(_, p)| !p.contains(']')).map(|(_, port)| port);
        if port.is_some_and(|p| !p.bytes().all(|b| b.is_ascii_digit())) {
            return None;
        }
        let pair = |p: &str| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(&k.replace('+', " ")), decode(&v.replace('+', " ")))
        };
        Some(Url {
            text: text.to_owned(),
            scheme: scheme.to_lowercase(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.split('&').filter(|p| !p.is_empty()).map(pair).collect(),
        })
    }

    fn hostname(&self) -> &str {
        let host = self.host.as_str();
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split(']').next().unwrap_or_default();
        }
        host.split(':').next().unwrap_or_default()
    }

    fn port(&self) -> &str {
        let after = self.host.rsplit_once(']').map_or(self.host.as_str(), |(_, rest)| rest);
        after.rsplit_once(':').map_or("", |(_, port)| port)
    }
}

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let [Value::Text(text)] = values else { return None };
    let parsed = Url::parse(text);
    let answer = match function {
        "url" => parsed.map(|u| Value::Url(Arc::new(u))).ok_or_else(|| {
            failed(format!("URL parse error during conversion from string: parse {text:?}: invalid URI for request"))
        }),
        "isURL" => Ok(Value::Bool(parsed.is_some())),
        _ => return None,
    };
    Some(cx.traverse(text.len() as u64, 0.1).and(answer))
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let [Value::Url(url)] = values else { return None };
    let answer = match function {
        "getScheme" => Value::from(url.scheme.as_str()),
        "getHost" => Value::from(url.host.as_str()),
        "getHostname" => Value::from(url.hostname()),
        "getPort" => Value::from(url.port()),
        "getEscapedPath" => Value::from(url.path.as_str()),
        "getQuery" => {
            let mut entries: Vec<(Value, Vec<Value>)> = Vec::new();
            for (key, value) in &url.query {
                let key = Value::from(key.as_str());
                match entries.iter_mut().find(|(k, _)| *k == key) {
                    Some((_, all)) => all.push(Value::from(value.as_str())),
                    None => entries.push((key, vec![Value::from(value.as_str())])),
                }
            }
            Value::map(entries.into_iter().map(|(k, v)| (k, Value::list(v))).collect())
        }
        _ => return None,
    };
    Some(cx.spend(1).map(|()| answer))
}
