//! `keelson sim`: a cluster, its clients and its faults from one seed; every promise is checked.

mod options;
mod show;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use keelson_sim::{Failure, Report, Scenario, shrink};

pub use options::Options;

/// Looking for a smaller failure takes no longer than this.
const SHRINK_MAX: Duration = Duration::from_secs(60);

/// Runs seeds until they end, time is up, or one breaks a promise; then the exit code is 1.
pub fn run(options: &Options) -> Result<ExitCode> {
    plant(options)?;
    // What members log is not shown; without anybody who says so, it would be made for the `log` crate.
    let _nobody_else_listens =
        tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
    let mut trace = match &options.trace {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
            Some(BufWriter::new(file))
        }
        None => None,
    };
    let begun = cpu_time()?;
    let mut sum = Sum::default();
    for seed in options.chosen() {
        let scenario = options.scenario(seed)?;
        let outcome = keelson_sim::run(&scenario);
        if let Some(trace) = &mut trace {
            let report = match &outcome {
                Ok(report) => report,
                Err(failure) => &failure.report,
            };
            let wrote = report.lines.iter().try_for_each(|line| writeln!(trace, "{line}"));
            wrote.and_then(|()| trace.flush()).context("write the trace")?;
        }
        match outcome {
            Ok(report) => sum.add(&report, options.quiet),
            Err(failure) => return failed(options, &scenario, failure),
        }
        sum.cpu = cpu_time()?.saturating_sub(begun);
        if options.is_time_up(sum.cpu).is_break() {
            break;
        }
    }
    println!("{}", show::sum(&sum));
    Ok(ExitCode::SUCCESS)
}

/// What all seeds were together.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    time: Duration,
    operations: u64,
    answered: u64,
    faults: u64,
    cpu: Duration,
}

impl Sum {
    fn add(&mut self, report: &Report, quiet: bool) {
        self.seeds += 1;
        self.time += report.time;
        self.operations += report.operations;
        self.answered += report.answered;
        self.faults += report.faults;
        if !quiet {
            println!("{}", show::line(report));
        }
    }
}

fn failed(options: &Options, scenario: &Scenario, failure: Box<Failure>) -> Result<ExitCode> {
    println!("{failure}");
    let (scenario, failure) = match options.no_shrink {
        true => (scenario.clone(), failure),
        false => {
            println!("looking for a smaller run that breaks it too ...");
            shrink(scenario, failure, SHRINK_MAX)
        }
    };
    // The same run again, with everything that happened in it.
    let whole = keelson_sim::run(&Scenario { trace: true, ..scenario.clone() });
    let lines = match &whole {
        Err(whole) => &whole.report.lines,
        Ok(_) => &failure.report.lines,
    };
    println!("\n{}\n", show::story(lines, &failure.report.lines));
    println!("{failure}");
    println!(
        "{} operations, {} faults. Again, with everything that happened in a file:\n\n    {}\n",
        failure.report.operations,
        failure.report.faults,
        options.command(&scenario)
    );
    Ok(ExitCode::FAILURE)
}

#[cfg(feature = "failpoints")]
fn plant(options: &Options) -> Result<()> {
    use keelson_failpoint::planted;
    let Some(name) = &options.bug else { return Ok(()) };
    if !planted::plant(name) {
        let names: Vec<&str> = planted::ALL.iter().map(|(name, _)| *name).collect();
        bail!("there is no bug {name:?}; there are {}", names.join(", "));
    }
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
fn plant(options: &Options) -> Result<()> {
    match &options.bug {
        None => Ok(()),
        Some(_) => bail!("this build has no planted bugs: `make failpoints` makes one that has"),
    }
}

fn cpu_time() -> Result<Duration> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("ask for the CPU time")?;
    let time = |value: nix::sys::time::TimeVal| {
        let micros = value.tv_sec() * 1_000_000 + value.tv_usec();
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

impl Options {
    fn is_time_up(&self, cpu: Duration) -> ControlFlow<()> {
        match self.time {
            Some(most) if cpu >= most => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}
