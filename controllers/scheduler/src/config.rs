//! What the scheduler can be told, in the names of KubeSchedulerConfiguration.

use std::time::Duration;

/// Settings of the scheduler.
#[derive(Debug, Clone)]
pub struct Config {
    /// Pods that name one of these in `spec.schedulerName` are ours.
    pub scheduler_names: Vec<String>,
    /// How many of all nodes to find feasible before choosing, in percent; 0 adapts to the size of
    /// the cluster.
    pub percentage_of_nodes_to_score: u32,
    /// The wait after a pod's first failed attempt.
    pub pod_initial_backoff: Duration,
    /// The longest wait after a failed attempt.
    pub pod_max_backoff: Duration,
    /// How long a pod may stay unschedulable before it is tried again without a reason.
    pub pod_max_in_unschedulable_pods_duration: Duration,
    /// Bindings and status writes under way at once.
    pub writes_in_flight_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_names: vec!["default-scheduler".to_owned()],
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff: Duration::from_secs(1),
            pod_max_backoff: Duration::from_secs(10),
            pod_max_in_unschedulable_pods_duration: Duration::from_secs(300),
            writes_in_flight_max: 128,
        }
    }
}

/// Why settings are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody would be scheduled.
    #[error("scheduler names must not be empty")]
    NoName,
    /// Not a percentage.
    #[error("percentage of nodes to score {0} is not in 0..=100")]
    Percentage(u32),
    /// The first wait would be longer than the longest.
    #[error("pod initial backoff {initial:?} is longer than pod max backoff {max:?}")]
    Backoff {
        /// The first wait.
        initial: Duration,
        /// The longest wait.
        max: Duration,
    },
    /// Nothing could be written.
    #[error("writes in flight must be at least 1")]
    NoWrites,
}

impl Config {
    /// All problems of these settings.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if self.scheduler_names.is_empty() {
            problems.push(ConfigError::NoName);
        }
        if self.percentage_of_nodes_to_score > 100 {
            problems.push(ConfigError::Percentage(self.percentage_of_nodes_to_score));
        }
        if self.pod_initial_backoff > self.pod_max_backoff {
            problems.push(ConfigError::Backoff {
                initial: self.pod_initial_backoff,
                max: self.pod_max_backoff,
            });
        }
        if self.writes_in_flight_max == 0 {
            problems.push(ConfigError::NoWrites);
        }
        problems
    }
}
