//! Options of `keelson sim`, and the command that repeats a run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use keelson_sim::{Kind, Part, Profile, Scenario};
use rand::Rng;

use crate::up::duration;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What to simulate.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The seed that decides everything; NUMBER@VERSION refuses to run in another version.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<String>,
    /// All seeds from A up to B, without B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Members at the beginning: 1, 3 or 5. Without it the seed decides.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    members: Option<u64>,
    /// Simulated time of each seed.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "20s")]
    length: Duration,
    /// Write down everything that happens.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Go on with new seeds for so much CPU time, or end early.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub time: Option<Duration>,
    /// Kinds of faults that do not happen.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    without: Vec<String>,
    /// Kinds of clients that there are not.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    without_clients: Vec<String>,
    /// Only the faults of these numbers.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', num_args = 0..)]
    faults: Option<Vec<usize>>,
    /// Clients ask for so much, and then no more.
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    /// Plant a bug, in a build that has them.
    #[arg(long, value_name = "NAME")]
    pub bug: Option<String>,
    /// A failure is shown as it is.
    #[arg(long)]
    pub no_shrink: bool,
    /// No line for each seed.
    #[arg(long, short)]
    pub quiet: bool,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is not a range of seeds such as 1..101");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let from = from.parse().map_err(|_| wrong())?;
    let to = to.parse().map_err(|_| wrong())?;
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

fn names<'a, T: Ord>(
    texts: impl IntoIterator<Item = &'a String>,
    what: &str,
    known: impl Iterator<Item = &'static str>,
    from_name: fn(&str) -> Option<T>,
) -> Result<BTreeSet<T>> {
    let known: Vec<&str> = known.collect();
    let mut found = BTreeSet::new();
    for text in texts {
        match from_name(text) {
            Some(one) => found.insert(one),
            None => bail!("there is no kind of {what} {text:?}; there are {}", known.join(", ")),
        };
    }
    Ok(found)
}

impl Options {
    /// The seeds to run; without any that is named, one after the other from a random one.
    pub fn chosen(&self) -> Box<dyn Iterator<Item = String>> {
        if let Some(seed) = &self.seed {
            return Box::new(std::iter::once(seed.clone()));
        }
        let (from, to) = match (self.seeds, self.time) {
            (Some((from, to)), _) => (from, to),
            (None, Some(_)) => (rand::rng().random_range(1..1 << 40), u64::MAX),
            (None, None) => {
                let from = rand::rng().random_range(1..1 << 40);
                (from, from + 1)
            }
        };
        Box::new((from..to).map(|seed| seed.to_string()))
    }

    /// The scenario of one seed.
    pub fn scenario(&self, seed: String) -> Result<Scenario> {
        let number = match seed.split_once('@') {
            Some((_, version)) if version != VERSION => bail!(
                "seed {seed} is of version {version}, and this is {VERSION}, where the number means another run"
            ),
            Some((number, _)) => number,
            None => &seed,
        };
        let Ok(seed) = number.parse() else { bail!("{seed:?} is not a seed") };
        let without = names(&self.without, "fault", Kind::names(), Kind::from_name)?;
        let clients = names(&self.without_clients, "client", Part::names(), Part::from_name)?;
        Ok(Scenario {
            members: self.members,
            length: self.length,
            profile: Profile { without },
            faults: self.faults.as_ref().map(|faults| faults.iter().copied().collect()),
            without: clients,
            operations: self.operations,
            trace: self.trace.is_some(),
            ..Scenario::new(seed)
        })
    }

    /// The command that runs a scenario again.
    pub fn command(&self, scenario: &Scenario) -> String {
        let mut command = format!(
            "keelson sim --seed {}@{VERSION} --for {}ms",
            scenario.seed,
            scenario.length.as_millis()
        );
        // Writing to a string cannot fail.
        let mut add = |text: std::fmt::Arguments<'_>| {
            let _written = command.write_fmt(text);
        };
        if let Some(members) = scenario.members {
            add(format_args!(" --members {members}"));
        }
        if !self.without.is_empty() {
            add(format_args!(" --without {}", self.without.join(",")));
        }
        if !scenario.without.is_empty() {
            let parts = Part::names().filter(|name| {
                Part::from_name(name).is_some_and(|part| scenario.without.contains(&part))
            });
            add(format_args!(" --without-clients {}", parts.collect::<Vec<_>>().join(",")));
        }
        if let Some(operations) = scenario.operations {
            add(format_args!(" --operations {operations}"));
        }
        if let Some(faults) = &scenario.faults {
            let numbers: Vec<String> = faults.iter().map(ToString::to_string).collect();
            add(format_args!(
                " --faults={}",
                if numbers.is_empty() { "0".to_owned() } else { numbers.join(",") }
            ));
        }
        if let Some(bug) = &self.bug {
            add(format_args!(" --bug {bug}"));
        }
        add(format_args!(" --no-shrink --trace sim.trace"));
        command
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Options {
        Line::try_parse_from(line.split_whitespace().skip(1)).unwrap().options
    }

    #[test]
    fn the_command_that_is_printed_means_the_same_run() {
        let options = parse("keelson sim --seed 7 --without rot,clock --members 3");
        let mut scenario = options.scenario("7".to_owned()).unwrap();
        scenario.faults = Some([3, 9].into());
        scenario.operations = Some(40);
        scenario.without.extend(Part::from_name("leases"));
        scenario.trace = true;
        let command = options.command(&scenario);
        let again = parse(&command);
        let seed = again.chosen().next().unwrap();
        assert_eq!(again.scenario(seed).unwrap(), scenario, "{command}");
    }

    #[test]
    fn wrong_seeds_and_kinds_are_refused_with_what_there_is() {
        let options = parse("keelson sim --without nothing");
        let refusal = options.scenario("7".to_owned()).unwrap_err().to_string();
        assert!(refusal.contains("crash-all"), "{refusal}");
        let options = parse("keelson sim");
        let refusal = options.scenario("7@0.0.1".to_owned()).unwrap_err().to_string();
        assert!(refusal.contains("version 0.0.1"), "{refusal}");
        assert!(options.scenario("x".to_owned()).is_err());
        assert!(range("5..5").is_err());
    }
}
