//! The scheduling task: takes in what changes, decides, and hands out what is to be written.

use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use keelson_controller_runtime::{Delta, Recorder, Reflector, Source};
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::config::Config;
use crate::cycle::{Cycle, Outcome};
use crate::objects::{Node, Pod};
use crate::plugins::{Change, PluginSet};
use crate::pod::PodView;
use crate::queue::{Attempt, Queue, Waits};
use crate::writer::{Failure, Writer};

/// Changes that wait to be taken in; the watches wait when there are more.
const EVENTS_MAX: usize = 1024;
/// Decisions made before changes are looked at again.
const DECISIONS_IN_A_ROW_MAX: usize = 64;

/// Sizes differ, but only a bounded number waits.
#[allow(clippy::large_enum_variant)]
enum Event {
    Pods(Delta<Pod>),
    Nodes(Delta<Node>),
}

enum Written {
    Bound(Attempt, kube::Result<()>),
    Reported,
}

/// Places pods on nodes until cancelled. `config` must have no problems.
pub fn run(client: Client, config: Config, token: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let mut feeds = JoinSet::new();
        let pods = Source::all::<Pod>().fields("status.phase!=Succeeded,status.phase!=Failed");
        let pods = Reflector::new(client.clone(), pods);
        feeds.spawn(feed(pods, Event::Pods, sender.clone(), token.clone()));
        let nodes = Reflector::new(client.clone(), Source::all::<Node>());
        feeds.spawn(feed(nodes, Event::Nodes, sender, token.clone()));

        let recorder = Recorder::start(client.clone(), "default-scheduler", token.clone());
        let mut scheduler = Scheduler::new(config, Writer::new(client, recorder));
        loop {
            let due = scheduler.queue.next_due().map(tokio::time::Instant::from_std);
            let ready = scheduler.may_decide() && scheduler.queue.has_work(Instant::now());
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(written) = scheduler.writes.join_next() => scheduler.take_written(written),
                Some(event) = events.recv() => {
                    scheduler.take_in(event, Instant::now());
                    while let Ok(event) = events.try_recv() {
                        scheduler.take_in(event, Instant::now());
                    }
                }
                () = std::future::ready(()), if ready => {}
                () = sleep_until(due), if due.is_some() && scheduler.may_decide() => {}
            }
            for _ in 0..DECISIONS_IN_A_ROW_MAX {
                if !scheduler.may_decide() || !scheduler.decide_next(Instant::now()) {
                    break;
                }
            }
            // Ready work must not keep the writes of this thread's other tasks waiting.
            if ready {
                tokio::task::yield_now().await;
            }
        }
        scheduler.writes.shutdown().await;
        while feeds.join_next().await.is_some() {}
    })
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn feed<K: keelson_controller_runtime::Watched>(
    mut reflector: Reflector<K>,
    event: fn(Delta<K>) -> Event,
    sender: mpsc::Sender<Event>,
    token: CancellationToken,
) {
    while let Some((delta, _)) = token.run_until_cancelled(reflector.next()).await {
        if !matches!(delta, Delta::Progress) && sender.send(event(delta)).await.is_err() {
            return;
        }
    }
}

struct Scheduler {
    config: Config,
    cache: Cache,
    queue: Queue,
    cycle: Cycle,
    writer: Writer,
    writes: JoinSet<Written>,
    pods_listed: bool,
    nodes_listed: bool,
}

impl Scheduler {
    fn new(config: Config, writer: Writer) -> Self {
        let waits = Waits {
            backoff_first: config.pod_initial_backoff,
            backoff_last: config.pod_max_backoff,
            unschedulable: config.pod_max_in_unschedulable_pods_duration,
        };
        let cycle = Cycle::new(config.percentage_of_nodes_to_score);
        Self {
            config,
            cache: Cache::default(),
            queue: Queue::new(waits),
            cycle,
            writer,
            writes: JoinSet::new(),
            pods_listed: false,
            nodes_listed: false,
        }
    }

    /// No decision before both lists are in, and none while too many wait to be written.
    fn may_decide(&self) -> bool {
        self.pods_listed
            && self.nodes_listed
            && self.writes.len() < self.config.writes_in_flight_max
    }

    fn take_in(&mut self, event: Event, now: Instant) {
        match event {
            Event::Nodes(Delta::Restarted(nodes)) => self.restart_nodes(nodes, now),
            Event::Nodes(Delta::Applied(node)) => self.update_node(node, now),
            Event::Nodes(Delta::Deleted(node)) => {
                self.cache.remove_node(node.metadata.name.as_deref().unwrap_or(""));
            }
            Event::Pods(Delta::Restarted(pods)) => self.restart_pods(pods, now),
            Event::Pods(Delta::Applied(pod)) => self.update_pod(pod, now),
            Event::Pods(Delta::Deleted(pod)) => self.remove_pod(&PodView::new(pod).uid, now),
            Event::Nodes(Delta::Progress) | Event::Pods(Delta::Progress) => {}
        }
    }

    fn restart_nodes(&mut self, nodes: Vec<Node>, now: Instant) {
        let listed: BTreeSet<&str> =
            nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
        let gone: Vec<Arc<str>> =
            self.cache.node_names().filter(|name| !listed.contains(&***name)).cloned().collect();
        for name in gone {
            self.cache.remove_node(&name);
        }
        for node in nodes {
            self.update_node(node, now);
        }
        self.nodes_listed = true;
    }

    fn update_node(&mut self, node: Node, now: Instant) {
        let (slot, changes) = self.cache.update_node(node);
        for (changed, change) in [
            (changes.added, Change::NodeAdded),
            (changes.allocatable, Change::NodeAllocatable),
            (changes.labels, Change::NodeLabels),
            (changes.taints, Change::NodeTaints),
        ] {
            if changed {
                self.queue.wake(change, self.cache.node(slot), now);
            }
        }
    }

    fn restart_pods(&mut self, pods: Vec<Pod>, now: Instant) {
        let listed: BTreeSet<String> =
            pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        let known = self.cache.pod_uids().chain(self.queue.uids());
        let gone: Vec<Arc<str>> = known.filter(|uid| !listed.contains(&***uid)).cloned().collect();
        for uid in gone {
            self.remove_pod(&uid, now);
        }
        for pod in pods {
            self.update_pod(pod, now);
        }
        self.pods_listed = true;
    }

    fn update_pod(&mut self, pod: Pod, now: Instant) {
        let pod = Arc::new(PodView::new(pod));
        if pod.terminal {
            self.remove_pod(&pod.uid, now);
        } else if pod.node_name.is_some() {
            self.queue.delete(&pod.uid);
            if let Some(slot) = self.cache.update_pod(pod) {
                self.queue.wake(Change::PodRemoved, self.cache.node(slot), now);
            }
        } else if pod.deleting || !self.config.scheduler_names.contains(&pod.scheduler_name) {
            self.queue.delete(&pod.uid);
        } else if !self.cache.is_assumed(&pod.uid) {
            self.queue.update(pod, now);
        }
    }

    fn remove_pod(&mut self, uid: &str, now: Instant) {
        self.queue.delete(uid);
        if let Some((_, slot)) = self.cache.remove_pod(uid) {
            self.queue.wake(Change::PodRemoved, self.cache.node(slot), now);
        }
    }

    /// Decides about the next pod. False if none waits.
    fn decide_next(&mut self, now: Instant) -> bool {
        let Some(attempt) = self.queue.pop(now) else {
            return false;
        };
        let mut random = |below| rand::random_range(0..below);
        match self.cycle.decide(&attempt.pod, &self.cache, &mut random) {
            Outcome::Node(slot) => self.bind(attempt, slot),
            Outcome::NoNodes => {
                let message = "no nodes available to schedule pods".to_owned();
                self.report(attempt.pod.clone(), Failure::unschedulable(message));
                self.queue.reject(attempt, PluginSet::default(), now);
            }
            Outcome::Unfit => {
                let message = self.cycle.diagnosis.message(&attempt.pod);
                let by: Vec<_> =
                    self.cycle.diagnosis.rejected_by.iter().map(|plugin| plugin.name).collect();
                tracing::debug!(pod = ?attempt.pod.key, ?by, "no node fits");
                self.report(attempt.pod.clone(), Failure::unschedulable(message));
                self.queue.reject(attempt, self.cycle.diagnosis.rejected_by, now);
            }
        }
        true
    }

    fn bind(&mut self, attempt: Attempt, slot: usize) {
        self.cache.assume(attempt.pod.clone(), slot);
        let node = self.cache.node(slot).name.clone();
        let writer = self.writer.clone();
        self.writes.spawn(async move {
            let result = writer.bind(attempt.pod.clone(), node).await;
            Written::Bound(attempt, result)
        });
    }

    fn report(&mut self, pod: Arc<PodView>, failure: Failure) {
        let writer = self.writer.clone();
        self.writes.spawn(async move {
            let name = pod.key.clone();
            if let Err(error) = writer.report(pod, failure).await {
                tracing::debug!(pod = ?name, %error, "condition not written");
            }
            Written::Reported
        });
    }

    fn take_written(&mut self, written: Result<Written, tokio::task::JoinError>) {
        let (attempt, error) = match written {
            Ok(Written::Bound(attempt, Err(error))) => (attempt, error),
            Ok(Written::Bound(_, Ok(())) | Written::Reported) => return,
            Err(error) => {
                tracing::error!(%error, "a write ended in a panic");
                return;
            }
        };
        tracing::warn!(pod = ?attempt.pod.key, %error, "binding failed");
        // Not if the pod is gone, or was seen bound although the answer was lost.
        let Some(slot) = self.cache.forget(&attempt.pod.uid) else {
            return;
        };
        let now = Instant::now();
        self.queue.wake(Change::PodRemoved, self.cache.node(slot), now);
        if matches!(&error, kube::Error::Api(status) if status.is_not_found()) {
            return;
        }
        self.report(attempt.pod.clone(), Failure::error(format!("binding rejected: {error}")));
        self.queue.retry(attempt, now);
    }
}
