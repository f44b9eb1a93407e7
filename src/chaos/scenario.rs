//! Scenarios: which fault comes when, from a YAML file or ready by name.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Deserializer};

use super::options::{Workload, duration};

/// A scenario.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Members.
    #[serde(default)]
    pub members: Option<usize>,
    /// How long clients ask.
    #[serde(default, deserialize_with = "optional")]
    pub duration: Option<Duration>,
    /// What clients do.
    #[serde(default)]
    pub workload: Vec<Workload>,
    /// More flags for every member.
    #[serde(default)]
    pub server_flags: Vec<String>,
    /// The faults.
    pub faults: Vec<Step>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// When it begins.
    #[serde(deserialize_with = "required")]
    pub at: Duration,
    /// How long it lasts.
    #[serde(default, rename = "for", deserialize_with = "optional")]
    pub lasts: Option<Duration>,
    /// Which.
    pub fault: Fault,
    /// Whom it hits.
    #[serde(default)]
    pub who: Who,
    /// Milliseconds: of a delay, a slow sync, a jump of the clock.
    #[serde(default)]
    pub ms: Option<i64>,
    /// Packets of a hundred that are lost.
    #[serde(default)]
    pub percent: Option<u32>,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// `kill -9`; started again afterwards.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// No link to or from anybody.
    Isolate,
    /// Nothing that others send arrives.
    Deaf,
    /// Nothing that it sends arrives.
    Mute,
    /// Two groups that do not reach one another; it is in the smaller.
    Halves,
    /// Two groups that do not reach one another, but for it, which reaches both.
    Bridge,
    /// Each reaches a majority, and no two the same.
    Ring,
    /// One link, in one direction, is cut.
    HalfOpen,
    /// Isolated and not, in turns.
    Flap,
    /// Everything from and to it comes later. Needs proxies.
    Delay,
    /// Packets from and to it are lost.
    Loss,
    /// Each sync of its log takes longer. Needs the failpoint build.
    SlowDisk,
    /// A sync of its log fails. Needs the failpoint build.
    FailSync,
    /// Its file system is full. Needs root.
    DiskFull,
    /// Its clock jumps. Needs the failpoint build.
    ClockJump,
    /// It is removed with all it has, and a new one takes its place.
    Replace,
    /// One after the other is stopped and started.
    RollingRestart,
    /// The same, with another binary (--upgrade-to).
    Upgrade,
}

impl Fault {
    /// As scenarios write it.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// Whom a fault hits: seen when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Who {
    /// Whoever leads.
    Leader,
    /// One that does not.
    Follower,
    /// Any.
    #[default]
    Any,
    /// All.
    All,
    /// The one of this number.
    Member(usize),
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let member = || text.strip_prefix('m').and_then(|number| number.parse().ok());
        match text.as_str() {
            "leader" => Ok(Self::Leader),
            "follower" => Ok(Self::Follower),
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            _ => member().map(Self::Member).ok_or_else(|| {
                let wanted = "leader, follower, any, all, m0, m1 and so on";
                serde::de::Error::custom(format!("who: {text:?} is none of {wanted}"))
            }),
        }
    }
}

fn required<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    duration(&text).map_err(|problem| serde::de::Error::custom(format!("{text:?}: {problem}")))
}

fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    required(from).map(Some)
}

/// The ready ones, by name.
const READY: &[(&str, &str)] = &[
    ("all-killed", include_str!("scenarios/all-killed.yaml")),
    ("bridge-partition", include_str!("scenarios/bridge-partition.yaml")),
    ("failing-sync", include_str!("scenarios/failing-sync.yaml")),
    ("flapping-leader", include_str!("scenarios/flapping-leader.yaml")),
    ("full-disk", include_str!("scenarios/full-disk.yaml")),
    ("half-open-link", include_str!("scenarios/half-open-link.yaml")),
    ("jumping-clocks", include_str!("scenarios/jumping-clocks.yaml")),
    ("leader-isolated", include_str!("scenarios/leader-isolated.yaml")),
    ("lossy-network", include_str!("scenarios/lossy-network.yaml")),
    ("majority-ring", include_str!("scenarios/majority-ring.yaml")),
    ("replaced-member", include_str!("scenarios/replaced-member.yaml")),
    ("rolling-restart", include_str!("scenarios/rolling-restart.yaml")),
    ("stalled-leader-disk", include_str!("scenarios/stalled-leader-disk.yaml")),
    ("upgrade", include_str!("scenarios/upgrade.yaml")),
];

/// A ready scenario by its name, or a file's.
pub fn load(name: &str) -> Result<Scenario> {
    if let Some((_, text)) = READY.iter().find(|(ready, _)| *ready == name) {
        return parse(text).with_context(|| format!("the ready scenario {name}"));
    }
    let ready: Vec<&str> = READY.iter().map(|(name, _)| *name).collect();
    let text = std::fs::read_to_string(Path::new(name)).with_context(|| {
        format!("scenario {name:?} is neither a file nor one of {}", ready.join(", "))
    })?;
    parse(&text).with_context(|| format!("scenario {name}"))
}

fn parse(text: &str) -> Result<Scenario> {
    let scenario: Scenario = serde_saphyr::from_str(text)?;
    if let Some(members) = scenario.members {
        ensure!((1..=9).contains(&members), "members: {members} is not from 1 to 9");
    }
    for step in &scenario.faults {
        if let Some(percent) = step.percent {
            ensure!(percent <= 100, "percent: {percent} is more than 100");
        }
        if let (Who::Member(member), Some(members)) = (&step.who, scenario.members) {
            ensure!(*member < members, "who: there is no m{member} among {members} members");
        }
    }
    Ok(scenario)
}

/// `keelson chaos list`.
pub fn list() -> Result<ExitCode> {
    for (name, text) in READY {
        println!("{name:20} {}", parse(text)?.about);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_scenarios_are_understood_and_say_what_they_are_for() {
        for (name, _) in READY {
            let scenario = load(name).unwrap();
            assert!(!scenario.about.is_empty() && !scenario.faults.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_is_no_scenario_is_named() {
        let problem = |text: &str| format!("{:#}", parse(text).unwrap_err());
        let unknown = problem("faults: [{at: 1s, fault: earthquake}]");
        assert!(unknown.contains("earthquake") && unknown.contains("isolate"), "{unknown}");
        let nobody = problem("members: 3\nfaults: [{at: 1s, fault: kill, who: m3}]");
        assert!(nobody.contains("no m3"), "{nobody}");
        assert!(problem("faults: [{at: soon, fault: kill}]").contains("soon"));
        assert!(problem("faults: [{at: 1s, fault: kill, whom: m1}]").contains("whom"));
        assert!(problem("faults: [{at: 1s, fault: kill, who: king}]").contains("king"));
    }
}
