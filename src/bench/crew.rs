//! The threads that drive a load's connections, from the first dial to the last answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::flame::Recording;
use super::process::{self, Usage};
use super::wire::{Dialer, Script, Signal, drive};

/// How long connecting and preparing may take.
const PREPARE_MAX: Duration = Duration::from_secs(120);
/// How long answers are waited for after the end.
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// Pause before a lost connection is dialled again.
const REDIAL: Duration = Duration::from_millis(50);
/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(50);

/// Where and for how long.
pub(crate) struct Plan<'a> {
    /// Connections go to them in turn.
    pub(crate) dialers: &'a [Dialer],
    /// How long.
    pub(crate) duration: Duration,
    /// Threads of the load itself.
    pub(crate) threads: usize,
    /// Requests a second of an open loop, over the connections from `paced_from` on.
    pub(crate) rate: Option<f64>,
    /// The first connection that asks; those before it only listen.
    pub(crate) paced_from: usize,
    /// Whose CPU and memory to measure.
    pub(crate) pids: &'a [u32],
    /// What the progress bar says.
    pub(crate) title: String,
    /// Where a profile of the servers is to be written.
    pub(crate) profile: Option<&'a Path>,
}

/// What it took, scripts aside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Took {
    /// From the start to the last answer.
    pub(crate) elapsed: Duration,
    /// The load's own CPU.
    pub(crate) client_cpu: Duration,
    /// CPU of the servers, if their process ids were given.
    pub(crate) server_cpu: Option<Duration>,
    /// Their resident memory at the end, in bytes.
    pub(crate) server_memory: Option<u64>,
    /// The most of it since they started.
    pub(crate) server_peak: Option<u64>,
}

/// Runs each script on a connection of its own; hands them back when all are done.
pub(crate) async fn run<S: Script + 'static>(
    plan: &Plan<'_>,
    scripts: Vec<S>,
) -> Result<(Vec<S>, Took)> {
    let signal = Arc::new(Signal::new(scripts.len()));
    let count = scripts.len();
    let threads = plan.threads.clamp(1, count.max(1));
    let mut parts: Vec<Vec<(usize, Dialer, S)>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, script) in scripts.into_iter().enumerate() {
        let dialer = plan.dialers[index % plan.dialers.len()].clone();
        parts[index % threads].push((index, dialer, script));
    }
    let mut handles = Vec::new();
    for part in parts {
        let signal = Arc::clone(&signal);
        let thread = std::thread::Builder::new().name("load".to_owned());
        handles.push(thread.spawn(move || thread_main(part, &signal))?);
    }

    let begin = Instant::now();
    while signal.prepared.load(Ordering::Acquire) < count {
        let ended_early = handles.iter().any(std::thread::JoinHandle::is_finished);
        if ended_early || begin.elapsed() > PREPARE_MAX {
            abandon(&signal);
            collect::<S>(handles)?;
            bail!("the load was not prepared within {} s", PREPARE_MAX.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let bar = progress(&plan.title, plan.duration);
    let recording = plan.profile.map(|dir| Recording::start(dir, plan.pids)).transpose()?;
    let servers = Usage::of(plan.pids)?;
    let client = process::own_cpu()?;
    let start = Instant::now();
    let _only_we_set_it = signal.started.set(start);
    signal.wake_all();
    let pacer = plan.rate.map(|rate| pace(rate, start, plan.paced_from, &signal)).transpose()?;
    let end = start + plan.duration;
    while Instant::now() < end {
        let ended_early = handles.iter().any(std::thread::JoinHandle::is_finished);
        if ended_early || signal.over.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep((end - Instant::now()).min(TICK)).await;
        bar.set_position(start.elapsed().as_millis() as u64);
        bar.set_message(signal.done.load(Ordering::Relaxed).to_string());
    }
    let end = Instant::now();
    signal.stopped.store(true, Ordering::Relaxed);
    signal.wake_all();
    while !handles.iter().all(std::thread::JoinHandle::is_finished) {
        if end.elapsed() > DRAIN_MAX {
            abandon(&signal);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let elapsed = start.elapsed();
    let client_cpu = process::own_cpu()?.saturating_sub(client);
    let after = Usage::of(plan.pids)?;
    if let Some(pacer) = pacer {
        let _it_only_sleeps = pacer.join();
    }
    bar.finish_and_clear();
    if let Some(recording) = recording {
        recording.finish(&plan.title)?;
    }
    let scripts = collect(handles)?;
    let mut took = Took { elapsed, client_cpu, ..Took::default() };
    if !plan.pids.is_empty() {
        took.server_cpu = Some(after.cpu.saturating_sub(servers.cpu));
        took.server_memory = Some(after.memory);
        took.server_peak = Some(after.peak);
    }
    Ok((scripts, took))
}

type Part<S> = Result<Vec<(usize, S)>>;

fn collect<S>(handles: Vec<std::thread::JoinHandle<Part<S>>>) -> Result<Vec<S>> {
    let mut scripts = Vec::new();
    for handle in handles {
        let Ok(part) = handle.join() else { bail!("a thread of the load panicked") };
        scripts.extend(part?);
    }
    scripts.sort_by_key(|(index, _)| *index);
    Ok(scripts.into_iter().map(|(_, script)| script).collect())
}

fn abandon(signal: &Signal) {
    signal.stopped.store(true, Ordering::Relaxed);
    signal.abandoned.store(true, Ordering::Relaxed);
    signal.wake_all();
}

/// Wakes the connections in turn when a request of an open loop is due: a runtime's own timers
/// are as coarse as a whole request takes.
fn pace(
    rate: f64,
    start: Instant,
    first: usize,
    signal: &Arc<Signal>,
) -> Result<std::thread::JoinHandle<()>> {
    let signal = Arc::clone(signal);
    let thread = std::thread::Builder::new().name("pacer".to_owned());
    Ok(thread.spawn(move || {
        let mut next = 0_u64;
        while !signal.stopped.load(Ordering::Relaxed) {
            let due = start + Duration::from_secs_f64(next as f64 / rate);
            let now = Instant::now();
            if due > now {
                std::thread::sleep((due - now).min(TICK));
            } else {
                signal.wake(first + (next % (signal.connections() - first) as u64) as usize);
                next += 1;
            }
        }
    })?)
}

fn thread_main<S: Script + 'static>(
    part: Vec<(usize, Dialer, S)>,
    signal: &Arc<Signal>,
) -> Part<S> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (index, dialer, script) in part {
            let signal = Arc::clone(signal);
            tasks.spawn(async move {
                let script = connection_main(&dialer, script, &signal, index).await?;
                anyhow::Ok((index, script))
            });
        }
        let mut done = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            done.push(ended.context("a connection's task")??);
        }
        Ok(done)
    })
}

/// One connection's life. That the first cannot be made is a failure; losing one later is not.
async fn connection_main<S: Script>(
    dialer: &Dialer,
    mut script: S,
    signal: &Signal,
    number: usize,
) -> Result<S> {
    let window = script.window();
    let mut link = dialer.dial(window).await?;
    loop {
        let Err(error) = drive(&mut link, &mut script, signal, number).await else {
            return Ok(script);
        };
        if signal.started.get().is_none() {
            return Err(error);
        }
        if !script.lost(&format!("{error:#}")) {
            return Ok(script);
        }
        loop {
            if signal.stopped.load(Ordering::Relaxed) {
                return Ok(script);
            }
            tokio::time::sleep(REDIAL).await;
            if let Ok(again) = dialer.dial(window).await {
                link = again;
                break;
            }
        }
    }
}

/// Reads a flag's number of seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    // Up to a day; nobody means more.
    let meant = seconds > 0.0 && seconds <= 86_400.0;
    if meant { Ok(seconds) } else { Err("must be more than 0, and a day at most".to_owned()) }
}

fn progress(title: &str, duration: Duration) -> ProgressBar {
    let bar = ProgressBar::new(duration.as_millis() as u64);
    let style = ProgressStyle::with_template("{prefix:>28} {bar:30} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_prefix(title.to_owned());
    bar
}
