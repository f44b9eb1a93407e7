//! What a whole control plane costs: start, idle memory, CPU and disk, and how fast pods come.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::api::Api;
use super::process::Usage;
use super::{image, ports};
use crate::pki::Pair;
use crate::tls;

/// How long anything that is waited for may take.
const WAIT_MAX: Duration = Duration::from_secs(120);
const IMAGE: &str = "bench.local/idle:1";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// `keelson bench cluster`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Starts from nothing; the first of them goes on to the other measurements.
    #[arg(long, default_value_t = 5)]
    pub starts: usize,
    /// Seconds that the idle cluster is left alone before it is measured.
    #[arg(long, default_value_t = 60)]
    pub settle: u64,
    /// Seconds over which the idle cluster is measured.
    #[arg(long, default_value_t = 60)]
    pub idle: u64,
    /// Single pods to start, one after the other.
    #[arg(long, default_value_t = 10)]
    pub pods: usize,
    /// Replicas of the Deployment.
    #[arg(long, default_value_t = 50)]
    pub replicas: usize,
    /// A static program that makes the pods' image; it is called as `PROGRAM sleep 3600`.
    #[arg(long, default_value = image::PROGRAM)]
    pub program: PathBuf,
    /// Where the cluster keeps its data while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
}

/// Runs all of it and prints one table. Needs root: it starts containers.
pub async fn run(options: Options) -> Result<()> {
    tls::install_provider();
    let dir = options.work_dir.join(format!("keelson-bench-cluster-{}", std::process::id()));
    let layout = dir.join("image");
    std::fs::create_dir_all(&layout).with_context(|| format!("make {}", layout.display()))?;
    image::write(&options.program, IMAGE, &layout)?;
    let outcome = measure(&options, &dir, &layout).await;
    if outcome.is_ok() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    outcome.with_context(|| format!("the logs are in {}", dir.display()))
}

async fn measure(options: &Options, dir: &Path, layout: &Path) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["WHAT", "MEDIAN", "LEAST", "MOST"]);
    let mut line = |what: &str, unit: &str, figures: &[f64]| {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).map_or(String::new(), |f| format!("{f:.3}"));
        let what = format!("{what}, {unit}");
        table.add_row([what, at(sorted.len() / 2), at(0), at(sorted.len().saturating_sub(1))]);
    };

    let (mut answers, mut ready, mut first) = (Vec::new(), Vec::new(), None);
    for index in 0..options.starts.max(1) {
        let plane = Plane::start(&dir.join(format!("start-{index}")), layout).await?;
        answers.push(plane.answered.as_secs_f64());
        ready.push(plane.ready.as_secs_f64());
        match first {
            None => first = Some(plane),
            Some(_) => plane.stop()?,
        }
    }
    line("start to an API that answers", "s", &answers);
    line("start to node Ready", "s", &ready);
    let plane = first.context("no start")?;

    tokio::time::sleep(Duration::from_secs(options.settle)).await;
    let pid = plane.child.id();
    let (before, written, start) = (Usage::of(&[pid])?, written(pid)?, Instant::now());
    tokio::time::sleep(Duration::from_secs(options.idle)).await;
    let after = Usage::of(&[pid])?;
    let elapsed = start.elapsed().as_secs_f64();
    line("idle, resident memory", "MiB", &[after.memory as f64 / f64::from(1 << 20)]);
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    line("idle, CPU", "% of a core", &[cpu / elapsed * 100.0]);
    let bytes = self::written(pid)?.saturating_sub(written);
    line("idle, written to disk", "KiB a minute", &[bytes as f64 / 1024.0 / elapsed * 60.0]);

    let mut single = Vec::new();
    for index in 0..options.pods {
        single.push(plane.pod(&format!("single-{index}")).await?.as_secs_f64());
    }
    line("pod, create to Running", "s", &single);
    let took = plane.deployment(options.replicas).await?.as_secs_f64();
    line(&format!("Deployment of {} pods, create to all Running", options.replicas), "s", &[took]);
    let memory = Usage::of(&[pid])?.memory as f64 / f64::from(1 << 20);
    line("with them, resident memory", "MiB", &[memory]);
    let shims = shims(pid)?;
    line("a pod's shim, private memory", "MiB", &shims);
    plane.stop()?;

    let binary = std::fs::metadata(std::env::current_exe()?)?.len();
    line("binary", "MiB", &[binary as f64 / f64::from(1 << 20)]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}

/// A control plane that runs; taken down with all it left when dropped.
struct Plane {
    child: Child,
    dir: PathBuf,
    api: Api,
    /// From the start of the process until its API said that it is ready.
    answered: Duration,
    /// From the start of the process until its node was.
    ready: Duration,
}

impl Plane {
    async fn start(dir: &Path, layout: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let ports = ports::free(3)?;
        let log = File::create(dir.join("log"))?;
        let data = dir.join("data");
        let begin = Instant::now();
        let child = Command::new(std::env::current_exe()?)
            .arg("up")
            .arg("--data-dir")
            .arg(&data)
            .args(["--bind-address", "127.0.0.1", "--secure-port", &ports[0].to_string()])
            .args(["--listen-client-urls", &format!("https://127.0.0.1:{}", ports[1])])
            .args(["--kubelet-port", &ports[2].to_string(), "--hostname-override", "bench"])
            .args(["--cluster-cidr", "10.222.0.0/16"])
            .args(["--service-cluster-ip-range", "10.223.0.0/20", "--import-image"])
            .arg(layout)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        // Dropped from here on, it is taken down again.
        let empty = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let api = Api { port: ports[0], tls: std::sync::Arc::new(empty) };
        let (answered, ready) = (Duration::ZERO, Duration::ZERO);
        let mut plane = Self { child, dir: data.clone(), api, answered, ready };
        let kubeconfig = data.join("kubeconfig");
        plane.until(begin, || kubeconfig.exists()).await?;
        let pair = |name: &str| -> Result<Pair> {
            let read = |end: &str| std::fs::read_to_string(data.join(format!("pki/{name}.{end}")));
            Ok(Pair { certificate: read("crt")?, key: read("key")? })
        };
        plane.api.tls = tls::client(&pair("ca")?, &pair("admin")?)?;
        while plane.api.call("GET", "/readyz", None).await.is_err() {
            plane.until(begin, || true).await?;
        }
        plane.answered = begin.elapsed();
        let node = "/api/v1/nodes/bench";
        while !plane.api.call("GET", node, None).await.is_ok_and(|node| is_ready(&node)) {
            plane.until(begin, || true).await?;
        }
        plane.ready = begin.elapsed();
        Ok(plane)
    }

    /// Polls every few milliseconds, as long as the process lives and time is left.
    async fn until(&mut self, begin: Instant, done: impl Fn() -> bool) -> Result<()> {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Some(status) = self.child.try_wait()? {
                bail!("keelson up ended early ({status})");
            }
            if begin.elapsed() > WAIT_MAX {
                bail!("keelson up was not ready within {} s", WAIT_MAX.as_secs());
            }
            if done() {
                return Ok(());
            }
        }
    }

    /// Starts one pod; how long until it was Running.
    async fn pod(&self, name: &str) -> Result<Duration> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(),
        });
        let mut watch = self.api.watch(PODS).await?;
        let begin = Instant::now();
        self.api.call("POST", PODS, Some(&pod)).await?;
        let running = async {
            loop {
                let pod = watch.next().await?;
                if pod["metadata"]["name"] == name && pod["status"]["phase"] == "Running" {
                    return anyhow::Ok(begin.elapsed());
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, running)
            .await
            .with_context(|| format!("pod {name} did not run"))?
    }

    /// Starts a Deployment; how long until all its pods were Running.
    async fn deployment(&self, replicas: usize) -> Result<Duration> {
        let labels = json!({"app": "many"});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod_spec()}},
        });
        let mut watch = self.api.watch(PODS).await?;
        let begin = Instant::now();
        self.api.call("POST", DEPLOYMENTS, Some(&deployment)).await?;
        let mut seen = BTreeSet::new();
        let running = async {
            while seen.len() < replicas {
                let pod = watch.next().await?;
                if pod["metadata"]["labels"]["app"] == "many" && pod["status"]["phase"] == "Running"
                {
                    seen.insert(pod["metadata"]["uid"].to_string());
                }
            }
            anyhow::Ok(begin.elapsed())
        };
        tokio::time::timeout(WAIT_MAX, running).await.context("the Deployment did not come up")?
    }

    fn stop(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        let down = Command::new(std::env::current_exe()?)
            .args(["down", "--purge", "--data-dir"])
            .arg(&self.dir)
            .stdout(Stdio::null())
            .status()?;
        self.child.wait()?;
        if down.success() { Ok(()) } else { bail!("keelson down failed ({down})") }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _left_for_the_reader = self.take_down();
        }
    }
}

fn pod_spec() -> Value {
    json!({"terminationGracePeriodSeconds": 0, "containers": [{
        "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
        "command": [image::PROGRAM, "sleep", "3600"],
    }]})
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    })
}

/// Bytes that a process had the kernel write to disk.
fn written(pid: u32) -> Result<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).context("/proc/PID/io has no write_bytes")
}

/// Private memory of every shim that was started from this binary on behalf of `server`, in MiB.
fn shims(server: u32) -> Result<Vec<f64>> {
    let binary = std::fs::read_link(format!("/proc/{server}/exe"))?;
    let mut figures = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let is_shim = command.split(|byte| *byte == 0).nth(1) == Some(b"shim");
        if !is_shim || std::fs::read_link(path.join("exe")).ok().as_ref() != Some(&binary) {
            continue;
        }
        let Ok(maps) = std::fs::read_to_string(path.join("smaps_rollup")) else { continue };
        let kib: f64 = maps
            .lines()
            .filter(|line| line.starts_with("Private_"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
            .sum();
        figures.push(kib / 1024.0);
    }
    Ok(figures)
}
