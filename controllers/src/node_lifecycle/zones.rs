//! How fast nodes may be emptied: slowly in a healthy zone, slower or not at all where many nodes
//! are down at once, since then it is more likely the network than the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::conditions::is_ready;
use super::taints::Eviction;
use super::{zone_of, zones_of};
use crate::config::Config;

/// Below so many nodes down, a zone is healthy whatever their share.
const UNHEALTHY_MIN: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ZoneState {
    Normal,
    PartlyDown,
    Down,
}

struct Zone {
    state: ZoneState,
    /// When the next node may be emptied.
    next: Option<Instant>,
}

/// Lets nodes be emptied one after the other.
pub(super) struct Evictions {
    rate: f64,
    secondary_rate: f64,
    unhealthy_threshold: f64,
    large_cluster: usize,
    nodes: usize,
    zones: BTreeMap<String, Zone>,
}

impl Evictions {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            rate: config.node_eviction_rate,
            secondary_rate: config.secondary_node_eviction_rate,
            unhealthy_threshold: config.unhealthy_zone_threshold,
            large_cluster: config.large_cluster_size_threshold,
            nodes: 0,
            zones: BTreeMap::new(),
        }
    }

    /// Takes in all nodes as they are.
    pub(super) fn observe(&mut self, nodes: &[Arc<Node>]) {
        self.nodes = nodes.len();
        let names = zones_of(nodes);
        self.zones.retain(|name, _| names.contains(name));
        for name in names {
            let of_zone = || nodes.iter().filter(|node| zone_of(node) == name);
            let total = of_zone().count();
            let down = of_zone().filter(|node| !is_ready(node)).count();
            let state = self.state(total, down);
            let fresh = Zone { state, next: None };
            self.zones.entry(name).or_insert(fresh).state = state;
        }
    }

    #[allow(clippy::cast_precision_loss)] // counts of nodes
    fn state(&self, total: usize, down: usize) -> ZoneState {
        if down == total {
            ZoneState::Down
        } else if down >= UNHEALTHY_MIN && down as f64 / total as f64 >= self.unhealthy_threshold {
            ZoneState::PartlyDown
        } else {
            ZoneState::Normal
        }
    }

    /// Whether the node may be emptied, and if not, when to ask again. Uses up the turn if the
    /// node `wants` it.
    pub(super) fn ask(
        &mut self,
        node: &Node,
        wants: bool,
        now: Instant,
    ) -> (Eviction, Option<Duration>) {
        if self.zones.values().all(|zone| zone.state == ZoneState::Down) {
            return (Eviction::Never, None);
        }
        if !wants {
            return (Eviction::NotNow, None);
        }
        let large = self.nodes > self.large_cluster;
        let Some(zone) = self.zones.get_mut(&zone_of(node)) else {
            return (Eviction::NotNow, None);
        };
        let rate = match zone.state {
            ZoneState::PartlyDown if large => self.secondary_rate,
            ZoneState::PartlyDown => 0.0,
            ZoneState::Normal | ZoneState::Down => self.rate,
        };
        if rate <= 0.0 {
            // The monitor looks again; until then nothing changes.
            return (Eviction::NotNow, Some(Duration::from_secs(10)));
        }
        match zone.next.filter(|next| *next > now) {
            Some(next) => (Eviction::NotNow, Some(next - now)),
            None => {
                zone.next = Some(now + Duration::from_secs_f64(1.0 / rate));
                (Eviction::Allowed, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nodes(ready: usize, down: usize) -> Vec<Arc<Node>> {
        let node = |status: &str| {
            let conditions = json!([{"type": "Ready", "status": status}]);
            let node = json!({"status": {"conditions": conditions}});
            Arc::new(serde_json::from_value(node).unwrap())
        };
        let up = (0..ready).map(|_| node("True"));
        up.chain((0..down).map(|_| node("Unknown"))).collect()
    }

    fn asked(ready: usize, down: usize) -> (Evictions, (Eviction, Option<Duration>)) {
        let mut evictions = Evictions::new(&Config::default());
        let nodes = nodes(ready, down);
        evictions.observe(&nodes);
        let answer = evictions.ask(&nodes[ready], true, Instant::now());
        (evictions, answer)
    }

    #[tokio::test]
    async fn nodes_are_emptied_one_by_one() {
        let (mut evictions, answer) = asked(9, 2);
        assert_eq!(answer, (Eviction::Allowed, None));
        let (second, wait) = evictions.ask(&nodes(0, 1)[0], true, Instant::now());
        assert_eq!(second, Eviction::NotNow);
        assert!(wait.is_some_and(|wait| wait <= Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn a_zone_mostly_down_is_left_alone_and_so_is_everything_when_all_is_down() {
        assert_eq!(asked(2, 4).1.0, Eviction::NotNow);
        assert_eq!(asked(40, 60).1.0, Eviction::Allowed);
        assert_eq!(asked(0, 1).1.0, Eviction::Never);
    }
}
