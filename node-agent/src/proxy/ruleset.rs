//! What is in force in the table of one family, and the batch that brings it to what is wanted. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::base;
use super::config::{Family, ProxyConfig};
use super::conntrack::Flows;
use super::fragment::{ElementKey, Fragment};
use crate::network::services::ServiceKey;

/// The fragments in force.
#[derive(Clone, Debug)]
pub(super) struct Ruleset {
    family: Family,
    fragments: BTreeMap<ServiceKey, Fragment>,
    /// Who asks for an element, with which value: two Services may want the same one, and a value
    /// changes hands when a Service is deleted and another takes its address.
    wanted: BTreeMap<ElementKey, BTreeMap<ServiceKey, Option<String>>>,
}

/// Two transactions. The second deletes chains and sets that nothing refers to after the first: not
/// every kernel sees that within one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) change: String,
    pub(super) clean_up: String,
    /// UDP ports whose flows may lead elsewhere now.
    pub(super) flows: Vec<Flows>,
}

impl Ruleset {
    pub(super) fn new(family: Family) -> Self {
        Self { family, fragments: BTreeMap::new(), wanted: BTreeMap::new() }
    }

    /// Takes new fragments over and gives the batch that makes them true. After a batch that failed
    /// only [`Self::rebuild`] knows what is in force.
    pub(super) fn update(
        &mut self,
        config: &ProxyConfig,
        changes: BTreeMap<ServiceKey, Fragment>,
    ) -> Batch {
        let mut touched: BTreeMap<ElementKey, Option<Option<String>>> = BTreeMap::new();
        let mut chains = Difference::default();
        let mut sets = Difference::default();
        let mut flows = Vec::new();
        for (key, new) in changes {
            let old = self.fragments.remove(&key).unwrap_or_default();
            if old != new {
                for element in old.elements.keys().chain(new.elements.keys()) {
                    touched.entry(element.clone()).or_insert_with(|| self.value(element));
                }
                self.claim(&key, &old, &new);
                flows.extend(changed_flows(&old, &new));
                chains.add(old.chains, &new.chains);
                sets.add(old.sets, &new.sets);
            }
            if new != Fragment::default() {
                self.fragments.insert(key, new);
            }
        }
        Batch { flows, ..self.batch(config, &touched, &chains, &sets) }
    }

    /// The batch that makes the table anew with everything in it.
    pub(super) fn rebuild(&self, config: &ProxyConfig) -> String {
        let mut text = base::table(config, self.family);
        let mut empty = Self::new(self.family);
        text.push_str(&empty.update(config, self.fragments.clone()).change);
        text
    }

    fn batch(
        &self,
        config: &ProxyConfig,
        touched: &BTreeMap<ElementKey, Option<Option<String>>>,
        chains: &Difference<Vec<String>>,
        sets: &Difference<String>,
    ) -> Batch {
        let place = format!("{} {}", self.family.name(), config.table);
        let mut change = String::new();
        let mut clean_up = String::new();
        let mut gone = Elements::default();
        let mut come = Elements::default();
        for (element, before) in touched {
            let after = self.value(element);
            if *before == after {
                continue;
            }
            if before.is_some() {
                gone.push(element, None);
            }
            if let Some(value) = after {
                come.push(element, value);
            }
        }
        gone.write(&mut change, "delete", &place);
        for (name, declaration) in &sets.added {
            let _ = writeln!(change, "add set {place} {name} {{ {declaration} }}");
        }
        for name in chains.added.keys() {
            let _ = writeln!(change, "add chain {place} {name}");
        }
        for (name, rules) in chains.added.iter().chain(&chains.changed) {
            let _ = writeln!(change, "flush chain {place} {name}");
            for rule in rules {
                let _ = writeln!(change, "add rule {place} {name} {rule}");
            }
        }
        come.write(&mut change, "add", &place);
        for name in &chains.removed {
            let _ = writeln!(change, "flush chain {place} {name}");
            let _ = writeln!(clean_up, "delete chain {place} {name}");
        }
        for name in &sets.removed {
            let _ = writeln!(clean_up, "delete set {place} {name}");
        }
        Batch { change, clean_up, flows: Vec::new() }
    }

    /// The value of an element as it ought to be in force; the outer `None` when nobody wants it.
    fn value(&self, element: &ElementKey) -> Option<Option<String>> {
        self.wanted.get(element).and_then(|claims| claims.values().next()).cloned()
    }

    fn claim(&mut self, key: &ServiceKey, old: &Fragment, new: &Fragment) {
        for element in old.elements.keys() {
            if let Some(claims) = self.wanted.get_mut(element) {
                claims.remove(key);
                if claims.is_empty() {
                    self.wanted.remove(element);
                }
            }
        }
        for (element, value) in &new.elements {
            self.wanted.entry(element.clone()).or_default().insert(key.clone(), value.clone());
        }
    }
}

/// The UDP ports that changed; ports that went have no endpoint any more.
fn changed_flows(old: &Fragment, new: &Fragment) -> Vec<Flows> {
    let kept = |gone: &Flows| {
        new.flows.iter().any(|flows| {
            flows.node_port == gone.node_port && flows.destinations == gone.destinations
        })
    };
    let gone = old.flows.iter().filter(|flows| !kept(flows));
    let gone = gone.map(|flows| Flows { targets: BTreeSet::new(), ..flows.clone() });
    let changed = new.flows.iter().filter(|flows| !old.flows.contains(flows)).cloned();
    // In this order: a destination that stays under another port wins.
    gone.chain(changed).collect()
}

/// Named things of fragments: which came, changed and went.
struct Difference<T> {
    added: BTreeMap<String, T>,
    changed: BTreeMap<String, T>,
    removed: BTreeSet<String>,
}

impl<T> Default for Difference<T> {
    fn default() -> Self {
        Self { added: BTreeMap::new(), changed: BTreeMap::new(), removed: BTreeSet::new() }
    }
}

impl<T: Clone + PartialEq> Difference<T> {
    /// Names are unique to a Service, so its difference is the table's.
    fn add(&mut self, old: BTreeMap<String, T>, new: &BTreeMap<String, T>) {
        for (name, value) in new {
            match old.get(name) {
                None => {
                    self.added.insert(name.clone(), value.clone());
                }
                Some(before) if before != value => {
                    self.changed.insert(name.clone(), value.clone());
                }
                Some(_) => {}
            }
        }
        self.removed.extend(old.into_keys().filter(|name| !new.contains_key(name)));
    }
}

/// Elements by their map or set, so that one command names many.
#[derive(Default)]
struct Elements(BTreeMap<&'static str, Vec<String>>);

impl Elements {
    fn push(&mut self, (set, key): &ElementKey, value: Option<String>) {
        let text = match value {
            Some(value) => format!("{key} : {value}"),
            None => key.clone(),
        };
        self.0.entry(set).or_default().push(text);
    }

    fn write(&self, text: &mut String, verb: &str, place: &str) {
        for (set, elements) in &self.0 {
            let _ = writeln!(text, "{verb} element {place} {set} {{ {} }}", elements.join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::base::{HAIRPIN, SERVICE_IPS};
    use super::*;

    fn config() -> ProxyConfig {
        let mut config = ProxyConfig::new("n1", Vec::new());
        config.table = "t".into();
        config
    }

    fn web(target: &str) -> Fragment {
        Fragment {
            chains: BTreeMap::from([("svc-web".into(), vec![format!("dnat to {target}")])]),
            sets: BTreeMap::new(),
            flows: Vec::new(),
            elements: BTreeMap::from([
                ((SERVICE_IPS, "10.96.0.5 . tcp . 80".into()), Some("goto svc-web".into())),
                ((HAIRPIN, "10.1.0.2 . 10.1.0.2".into()), None),
            ]),
        }
    }

    fn one(name: &str, fragment: Fragment) -> BTreeMap<ServiceKey, Fragment> {
        BTreeMap::from([(ServiceKey::new("ns", name), fragment)])
    }

    #[test]
    fn a_change_touches_only_what_differs() {
        let mut rules = Ruleset::new(Family::V4);
        let batch = rules.update(&config(), one("web", web("a")));
        assert_eq!(
            batch.change,
            "add chain ip t svc-web
flush chain ip t svc-web
add rule ip t svc-web dnat to a
add element ip t hairpin { 10.1.0.2 . 10.1.0.2 }
add element ip t service-ips { 10.96.0.5 . tcp . 80 : goto svc-web }
"
        );
        assert_eq!(rules.update(&config(), one("web", web("a"))), Batch::default());
        let batch = rules.update(&config(), one("web", web("b")));
        assert_eq!(batch.change, "flush chain ip t svc-web\nadd rule ip t svc-web dnat to b\n");
    }

    #[test]
    fn a_shared_element_stays_until_its_last_owner_goes() {
        let mut rules = Ruleset::new(Family::V4);
        let mut other = web("a");
        other.chains.clear();
        other.elements.remove(&(SERVICE_IPS, "10.96.0.5 . tcp . 80".into()));
        rules.update(&config(), one("web", web("a")));
        rules.update(&config(), one("other", other));
        let batch = rules.update(&config(), one("web", Fragment::default()));
        assert_eq!(
            batch.change,
            "delete element ip t service-ips { 10.96.0.5 . tcp . 80 }\nflush chain ip t svc-web\n"
        );
        assert_eq!(batch.clean_up, "delete chain ip t svc-web\n");
        let batch = rules.update(&config(), one("other", Fragment::default()));
        assert_eq!(batch.change, "delete element ip t hairpin { 10.1.0.2 . 10.1.0.2 }\n");
    }

    #[test]
    fn an_address_may_change_hands_in_one_batch() {
        let mut rules = Ruleset::new(Family::V4);
        rules.update(&config(), one("a", web("a")));
        let mut next = web("b");
        next.chains = BTreeMap::from([("svc-b".into(), vec!["dnat to b".into()])]);
        next.elements
            .insert((SERVICE_IPS, "10.96.0.5 . tcp . 80".into()), Some("goto svc-b".into()));
        let mut both = one("a", Fragment::default());
        both.extend(one("b", next));
        let batch = rules.update(&config(), both);
        assert!(batch.change.contains("delete element ip t service-ips"), "{}", batch.change);
        assert!(batch.change.contains("tcp . 80 : goto svc-b"), "{}", batch.change);
        assert!(!batch.change.contains("hairpin"), "{}", batch.change);
    }
}
