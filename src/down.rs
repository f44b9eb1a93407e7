//! `keelson down`: stops what `keelson up` left behind, and removes it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use keelson_node_agent::{network, runtime};

use crate::dirs::Dirs;
use crate::lock;
use crate::up::names;

/// How long a running `keelson up` may take to end.
const STOP_MAX: Duration = Duration::from_secs(20);

/// `keelson down`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The data directory that `keelson up` was given.
    #[arg(long, value_name = "DIR", env = "KEELSON_DATA_DIR", default_value_os_t = crate::dirs::default_root())]
    pub data_dir: PathBuf,
    /// Also delete the data: objects, certificates, images, everything.
    #[arg(long)]
    pub purge: bool,
}

/// Ends the process that holds the directory, then its containers, then what they left.
pub fn run(options: &Options) -> Result<()> {
    if !options.data_dir.exists() {
        println!("{} does not exist: nothing to stop", options.data_dir.display());
        return Ok(());
    }
    let dirs = Dirs::prepare(&options.data_dir)?;
    stop_holder(&dirs)?;
    let _lock = lock::take(&dirs.root)?;
    let node = dirs.node();
    let mut problems = Vec::new();
    if node.exists() {
        let names = names::of(&dirs.root);
        let left = runtime::tear_down(&node.join("runtime"), &names.shim_cgroup());
        problems.extend(left.into_iter().map(|what| format!("containers: {what}")));
        let kubelet = node.join("kubelet");
        if let Err(error) = keelson_node_agent::tear_down_volumes(&kubelet) {
            problems.push(format!("volumes in {}: {error}", kubelet.display()));
        }
        let clean = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tables = [names.service_table()];
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        if let Err(error) = clean.block_on(network::tear_down(&node.join("network"), &tables)) {
            problems.push(format!("network: {error}"));
        }
    }
    if !problems.is_empty() {
        bail!("some of it is still there: {}", problems.join("; "));
    }
    if options.purge {
        std::fs::remove_dir_all(&dirs.root)
            .with_context(|| format!("delete {}", dirs.root.display()))?;
        println!("stopped; {} is deleted", dirs.root.display());
    } else {
        println!("stopped; the data stays in {} (--purge deletes it)", dirs.root.display());
    }
    Ok(())
}

/// Asks the process that runs on the directory to end, and waits for it.
fn stop_holder(dirs: &Dirs) -> Result<()> {
    let Some(holder) = lock::holder(&dirs.root) else { return Ok(()) };
    println!("ending keelson, process id {holder}");
    kill(Pid::from_raw(holder), Signal::SIGTERM)
        .with_context(|| format!("signal process {holder}"))?;
    let end = Instant::now() + STOP_MAX;
    while lock::holder(&dirs.root).is_some() {
        if Instant::now() > end {
            bail!("process {holder} did not end within {} s", STOP_MAX.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
