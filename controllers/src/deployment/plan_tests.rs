//! Deployments from step to step: a small cluster in memory carries plans out.

use serde_json::{Value, json};

use super::*;

/// A deployment and its sets; pods exist as numbers in the sets' statuses.
struct World {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    now: Timestamp,
    events: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut object = json!({
            "metadata": {"name": "d", "namespace": "n", "uid": "d", "generation": 1},
            "spec": {
                "replicas": 4,
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 10,
                "selector": {"matchLabels": {"app": "a"}},
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
                },
                "template": template("one"),
            },
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        Self {
            deployment: serde_json::from_value(object).unwrap(),
            sets: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            events: Vec::new(),
        }
    }

    fn spec(&mut self) -> &mut k8s_openapi::api::apps::v1::DeploymentSpec {
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
        self.deployment.spec.as_mut().unwrap()
    }

    fn use_image(&mut self, image: &str) {
        self.spec().template = serde_json::from_value(template(image)).unwrap();
    }

    /// Plans once and carries it out. True if a set was written.
    fn step(&mut self) -> bool {
        let with_pods: Vec<String> = self
            .sets
            .iter()
            .filter(|set| Set::existing(set).actual() > 0)
            .map(|set| set.uid().to_owned())
            .collect();
        let plan = plan(&Seen {
            deployment: &self.deployment,
            sets: &self.sets,
            with_pods: with_pods.iter().map(String::as_str).collect(),
            now: self.now,
        });
        self.now += Duration::from_secs(1);
        let wrote = !plan.writes.is_empty();
        for Write { mut set, action, event } in plan.writes {
            self.events.extend(event);
            match action {
                Action::Create => {
                    set.metadata.uid = set.metadata.name.clone();
                    set.metadata.generation = Some(1);
                    set.metadata.creation_timestamp = Some(self.now.into());
                    self.sets.push(Arc::new(set));
                }
                Action::Update => {
                    let at = self.sets.iter().position(|old| old.uid() == set.uid()).unwrap();
                    self.sets[at] = Arc::new(set);
                }
                Action::Delete => self.sets.retain(|old| old.uid() != set.uid()),
            }
        }
        self.deployment.status = Some(plan.status);
        if let Some(revision) = plan.revision {
            revision::set(&mut self.deployment.metadata, &revision);
        }
        wrote
    }

    /// Lets pods follow their sets: all of them come up, if `healthy` says so of their set.
    fn pods_follow(&mut self, healthy: impl Fn(&ReplicaSet) -> bool) {
        for set in &mut self.sets {
            let mut updated = ReplicaSet::clone(set);
            let wanted = Set::existing(set).replicas();
            let up = if healthy(set) { wanted } else { 0 };
            updated.status = Some(k8s_openapi::api::apps::v1::ReplicaSetStatus {
                replicas: wanted,
                ready_replicas: Some(up),
                available_replicas: Some(up),
                observed_generation: set.metadata.generation,
                ..Default::default()
            });
            *set = Arc::new(updated);
        }
    }

    /// Steps until nothing changes any more; the lowest availability on the way.
    fn settle(&mut self) -> i32 {
        let mut lowest = i32::MAX;
        for _ in 0..50 {
            let wrote = self.step();
            let available: i32 = self
                .sets
                .iter()
                .map(|set| Set::existing(set))
                .map(|set| set.available().min(set.replicas()))
                .sum();
            lowest = lowest.min(available);
            let total: i32 = self.sizes().iter().sum();
            let most = scale::wanted(&self.deployment) + scale::max_surge(&self.deployment);
            assert!(total <= most.max(4), "{:?}", self.sizes());
            self.pods_follow(|_| true);
            if !wrote && !self.step() {
                return lowest;
            }
        }
        panic!("does not settle: {:?}", self.events);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| Set::existing(set).replicas()).collect()
    }

    fn condition(&self, kind: &str) -> String {
        let conditions = self.deployment.status.as_ref().unwrap().conditions.as_ref().unwrap();
        let found = conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        format!("{} {}", found.status, found.reason.as_ref().unwrap())
    }

    fn revision(&self) -> &str {
        revision::of(&self.deployment.metadata).unwrap()
    }
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

#[test]
fn a_first_rollout_creates_one_set_and_completes() {
    let mut world = World::new(json!({}));
    world.step();
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetCreated");
    assert_eq!(world.condition("Available"), "False MinimumReplicasUnavailable");
    world.settle();
    assert_eq!((world.sizes(), world.revision()), (vec![4], "1"));
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
    assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
    let name = world.sets[0].key().name;
    assert_eq!(world.events, [format!("Scaled up replica set {name} from 0 to 4")]);
}

#[test]
fn a_rolling_update_stays_within_surge_and_unavailability() {
    let mut world = World::new(json!({}));
    world.settle();
    world.use_image("two");
    let lowest = world.settle();
    assert!(lowest >= 3, "{lowest}");
    assert_eq!((world.sizes(), world.revision()), (vec![0, 4], "2"));
}

#[test]
fn a_rollout_that_fails_leaves_enough_old_pods_and_times_out() {
    let mut world = World::new(json!({}));
    world.settle();
    world.use_image("broken");
    let old = world.sets[0].uid().to_owned();
    for _ in 0..20 {
        world.step();
        world.pods_follow(|set| set.uid() == old);
    }
    assert_eq!(world.sizes(), [3, 2]);
    world.now += Duration::from_secs(601);
    world.step();
    assert_eq!(world.condition("Progressing"), "False ProgressDeadlineExceeded");
    // Back to the first template: its set is used again, under a new number.
    world.use_image("one");
    world.settle();
    assert_eq!((world.sizes(), world.revision()), (vec![4, 0], "3"));
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
    let annotations = world.sets[0].metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn recreate_waits_until_the_last_old_pod_is_gone() {
    let mut world = World::new(json!({"strategy": {"type": "Recreate"}}));
    world.settle();
    world.use_image("two");
    world.step();
    assert_eq!(world.sizes(), [0]);
    world.step();
    assert_eq!(world.sizes(), [0], "its pods are still there");
    world.pods_follow(|_| true);
    world.settle();
    assert_eq!(world.sizes(), [0, 4]);
}

#[test]
fn a_rollout_in_the_middle_is_scaled_in_proportion() {
    let mut world = World::new(json!({"replicas": 10, "strategy": {
        "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2},
    }}));
    world.settle();
    world.use_image("broken");
    let old = world.sets[0].uid().to_owned();
    for _ in 0..10 {
        world.step();
        world.pods_follow(|set| set.uid() == old);
    }
    assert_eq!(world.sizes(), [8, 5]);
    world.spec().replicas = Some(20);
    world.step();
    assert_eq!(world.sizes(), [14, 9]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(json!({}));
    world.settle();
    world.spec().paused = Some(true);
    world.use_image("two");
    world.spec().replicas = Some(6);
    world.settle();
    assert_eq!(world.sizes(), [6]);
    assert_eq!(world.condition("Progressing"), "Unknown DeploymentPaused");
    world.spec().paused = Some(false);
    world.settle();
    assert_eq!(world.sizes(), [0, 6]);
}

#[test]
fn only_the_wanted_history_is_kept() {
    let mut world = World::new(json!({"revisionHistoryLimit": 2}));
    for image in ["one", "two", "three", "four", "five"] {
        world.use_image(image);
        world.settle();
    }
    assert_eq!((world.sizes(), world.revision()), (vec![0, 0, 4], "5"));
}

#[test]
fn a_deployment_scaled_to_nothing_and_back_follows() {
    let mut world = World::new(json!({}));
    world.settle();
    for replicas in [0, 7] {
        world.spec().replicas = Some(replicas);
        world.settle();
        assert_eq!(world.sizes(), [replicas]);
        assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
    }
}

#[test]
fn a_selector_of_everything_is_refused() {
    let mut world = World::new(json!({"selector": {}}));
    assert!(!world.step());
    assert_eq!(world.deployment.status.unwrap().observed_generation, Some(1));
}
