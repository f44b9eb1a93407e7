//! What a user sees: steps while it starts, then one screen.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Progress on a terminal; silent elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    start: Instant,
}

impl Progress {
    /// Begins to show it.
    pub fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, start: Instant::now() }
    }

    /// Names the step that begins.
    pub fn step(&self, what: &'static str) {
        tracing::info!(millis = self.elapsed().as_millis() as u64, "{what}");
        if let Some(bar) = &self.bar {
            bar.set_message(what);
        }
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Takes the progress off the screen.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What the last screen says.
pub struct Welcome {
    /// `https://HOST:PORT`.
    pub server: String,
    /// Where the store answers etcd clients.
    pub store: String,
    /// Path of the kubeconfig.
    pub kubeconfig: String,
    /// The etcd clients' certificates.
    pub store_pki: String,
    /// Why there is no node, if there is none.
    pub no_agent: Option<&'static str>,
    /// From the start until everything was up.
    pub took: Duration,
}

impl Welcome {
    /// Prints it.
    pub fn print(&self) {
        println!(
            "Keelson {} is up after {:.1} s",
            env!("CARGO_PKG_VERSION"),
            self.took.as_secs_f64()
        );
        println!();
        println!("  API server   {}", self.server);
        println!("  store        {}  (etcd v3; certificates in {})", self.store, self.store_pki);
        println!("  kubeconfig   {}", self.kubeconfig);
        if let Some(why) = self.no_agent {
            println!("  node agent   not running: {why}");
        }
        println!();
        println!("Try:");
        println!("  export KUBECONFIG={}", self.kubeconfig);
        println!("  kubectl get nodes");
        println!("  kubectl get pods --all-namespaces");
        println!();
        println!("Ctrl-C ends it and leaves containers running; `keelson down` stops them.");
    }
}
