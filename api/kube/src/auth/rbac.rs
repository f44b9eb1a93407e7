//! RBAC: roles and bindings of the cache, compiled into an index by subject.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::Attributes;
use crate::cache::{Cache, Caches};
use crate::status::Status;
use crate::user::{MASTERS, UserInfo};

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) urls: Vec<String>,
}

/// Answers what RBAC allows.
pub(crate) struct Rbac {
    cluster_roles: Arc<Cache>,
    roles: Arc<Cache>,
    cluster_bindings: Arc<Cache>,
    bindings: Arc<Cache>,
    compiled: Mutex<Option<(Versions, Arc<Policy>)>>,
}

type Versions = [(u64, i64); 4];
type Rules = Arc<[Rule]>;

/// All roles and bindings, by subject.
#[derive(Default)]
struct Policy {
    /// Subject to the rules of its cluster role bindings.
    cluster: HashMap<String, Vec<Rules>>,
    /// Namespace to subject to the rules of its role bindings.
    namespaced: HashMap<String, HashMap<String, Vec<Rules>>>,
}

impl Rbac {
    pub(crate) async fn new(caches: &Caches) -> Result<Self, Status> {
        Ok(Rbac {
            cluster_roles: caches.of("clusterroles").await?,
            roles: caches.of("roles").await?,
            cluster_bindings: caches.of("clusterrolebindings").await?,
            bindings: caches.of("rolebindings").await?,
            compiled: Mutex::new(None),
        })
    }

    /// Whether the user may do this.
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if attributes.user.is_in(MASTERS) {
            return true;
        }
        let namespace = attributes.resource.map_or("", |r| r.namespace);
        self.visit(attributes.user, namespace, |rule| rule.allows(attributes))
    }

    /// All rules that apply to a user in a namespace (empty: at the cluster scope).
    pub(crate) fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        let mut all = Vec::new();
        self.visit(user, namespace, |rule| {
            all.push(rule.clone());
            false
        });
        all
    }

    /// Calls `found` with each rule of the user until it returns true.
    fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        mut found: impl FnMut(&Rule) -> bool,
    ) -> bool {
        let policy = self.policy();
        let subjects: Vec<String> = std::iter::once(user_key(&user.name))
            .chain(user.groups.iter().map(|g| group_key(g)))
            .collect();
        let scoped = policy.namespaced.get(namespace).filter(|_| !namespace.is_empty());
        subjects
            .iter()
            .flat_map(|subject| {
                let here = scoped.and_then(|s| s.get(subject));
                policy.cluster.get(subject).into_iter().chain(here).flatten()
            })
            .flat_map(|rules| rules.iter())
            .any(&mut found)
    }

    fn policy(&self) -> Arc<Policy> {
        let versions = [&self.cluster_roles, &self.roles, &self.cluster_bindings, &self.bindings]
            .map(|cache| cache.version());
        let mut compiled = self.compiled.lock();
        match &*compiled {
            Some((of, policy)) if *of == versions => policy.clone(),
            _ => {
                let policy = Arc::new(self.compile());
                *compiled = Some((versions, policy.clone()));
                policy
            }
        }
    }

    fn compile(&self) -> Policy {
        let cluster_roles = cluster_roles(&values(&self.cluster_roles));
        let roles: HashMap<String, Rules> =
            values(&self.roles).into_iter().map(|(key, v)| (key, rules_of(&v).into())).collect();
        let mut policy = Policy::default();
        for (_, binding) in values(&self.cluster_bindings) {
            let name = binding["roleRef"]["name"].as_str().unwrap_or_default();
            let Some(rules) = cluster_roles.get(name) else { continue };
            for subject in subjects(&binding) {
                policy.cluster.entry(subject).or_default().push(rules.clone());
            }
        }
        for (key, binding) in values(&self.bindings) {
            let Some((namespace, _)) = key.split_once('/') else { continue };
            let name = binding["roleRef"]["name"].as_str().unwrap_or_default();
            let rules = match binding["roleRef"]["kind"].as_str() {
                Some("Role") => roles.get(&format!("{namespace}/{name}")),
                _ => cluster_roles.get(name),
            };
            let Some(rules) = rules else { continue };
            let scoped = policy.namespaced.entry(namespace.to_owned()).or_default();
            for subject in subjects(&binding) {
                scoped.entry(subject).or_default().push(rules.clone());
            }
        }
        policy
    }
}

impl Rule {
    /// Whether this rule alone allows it.
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        let Some(r) = attributes.resource else {
            return self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => attributes.path.starts_with(prefix),
                None => url == attributes.path,
            });
        };
        has(&self.groups, r.group)
            && self.resources.iter().any(|wanted| match wanted.split_once('/') {
                _ if wanted == "*" => true,
                Some(("*", sub)) => sub == r.subresource,
                Some((resource, sub)) => resource == r.resource && sub == r.subresource,
                None => r.subresource.is_empty() && wanted == r.resource,
            })
            && (self.names.is_empty() || self.names.iter().any(|n| n == r.name))
    }
}

/// A rule on resources of the core group.
#[cfg(test)]
pub(crate) fn rule(verbs: &[&str], resources: &[&str], names: &[&str]) -> Rule {
    let own = |a: &[&str]| a.iter().map(|s| (*s).to_owned()).collect();
    Rule {
        verbs: own(verbs),
        groups: vec![String::new()],
        resources: own(resources),
        names: own(names),
        urls: vec![],
    }
}

fn has(allowed: &[String], wanted: &str) -> bool {
    allowed.iter().any(|a| a == "*" || a == wanted)
}

fn user_key(name: &str) -> String {
    format!("u:{name}")
}

fn group_key(name: &str) -> String {
    format!("g:{name}")
}

fn values(cache: &Cache) -> Vec<(String, Value)> {
    cache.snapshot("").objects.iter().map(|o| (o.key.to_string(), o.value())).collect()
}

/// The rules of every cluster role, with aggregation resolved.
fn cluster_roles(roles: &[(String, Value)]) -> BTreeMap<String, Rules> {
    roles
        .iter()
        .map(|(name, role)| {
            let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
            let rules = match selectors {
                None => rules_of(role),
                Some(selectors) => roles
                    .iter()
                    .filter(|(other, candidate)| {
                        other != name && selectors.iter().any(|s| selects(s, candidate))
                    })
                    .flat_map(|(_, candidate)| rules_of(candidate))
                    .collect(),
            };
            (name.clone(), rules.into())
        })
        .collect()
}

/// Whether the `matchLabels` of a selector select a role; that is all aggregation rules use.
fn selects(selector: &Value, role: &Value) -> bool {
    selector["matchLabels"].as_object().is_some_and(|wanted| {
        wanted.iter().all(|(key, value)| role["metadata"]["labels"].get(key) == Some(value))
    })
}

/// The rules of a role object.
pub(crate) fn rules_of(role: &Value) -> Vec<Rule> {
    let list = |rule: &Value, key: &str| -> Vec<String> {
        rule[key]
            .as_array()
            .map(|a| a.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default()
    };
    role["rules"]
        .as_array()
        .map(|rules| {
            rules
                .iter()
                .map(|rule| Rule {
                    verbs: list(rule, "verbs"),
                    groups: list(rule, "apiGroups"),
                    resources: list(rule, "resources"),
                    names: list(rule, "resourceNames"),
                    urls: list(rule, "nonResourceURLs"),
                })
                .collect()
        })
        .unwrap_or_default()
}

fn subjects(binding: &Value) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    binding["subjects"]
        .as_array()
        .map(|subjects| {
            subjects
                .iter()
                .filter_map(|s| match s["kind"].as_str()? {
                    "User" => Some(user_key(&text(&s["name"]))),
                    "Group" => Some(group_key(&text(&s["name"]))),
                    "ServiceAccount" => {
                        let of = binding["metadata"]["namespace"].as_str();
                        let namespace = s["namespace"].as_str().or(of).unwrap_or_default();
                        let name = text(&s["name"]);
                        Some(user_key(&format!("system:serviceaccount:{namespace}:{name}")))
                    }
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ResourceAttributes;

    fn check(rule: &Rule, verb: &str, path: &str, name: &str, want: bool) {
        let user = UserInfo::new("u", &[]);
        let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
        let r = ResourceAttributes { group: "", resource, subresource, namespace: "n", name };
        let a = Attributes { user: &user, verb, resource: Some(r), path: "" };
        assert_eq!(rule.allows(&a), want, "{verb} {path} {name}");
    }

    #[test]
    fn subresources_are_resources_of_their_own() {
        check(&rule(&["get"], &["pods"], &[]), "get", "pods", "a", true);
        check(&rule(&["get"], &["pods"], &[]), "get", "pods/log", "a", false);
        check(&rule(&["get"], &["*/log"], &[]), "get", "pods/log", "a", true);
        check(&rule(&["*"], &["*"], &[]), "get", "pods/log", "a", true);
    }

    #[test]
    fn names_narrow_a_rule() {
        check(&rule(&["get"], &["pods"], &["a"]), "get", "pods", "a", true);
        check(&rule(&["get"], &["pods"], &["a"]), "get", "pods", "b", false);
        check(&rule(&["list"], &["pods"], &["a"]), "list", "pods", "", false);
    }

    #[test]
    fn paths_may_end_in_a_star() {
        let user = UserInfo::new("u", &[]);
        let rule = Rule {
            verbs: vec!["get".into()],
            urls: vec!["/healthz/*".into(), "/version".into()],
            ..Rule::default()
        };
        for (path, want) in [("/healthz/ping", true), ("/healthz", false), ("/version", true)] {
            let a = Attributes { user: &user, verb: "get", resource: None, path };
            assert_eq!(rule.allows(&a), want, "{path}");
        }
    }
}
