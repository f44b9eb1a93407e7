//! `keelson up` as a user starts it, with stock clients pointed at it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{Output, run};
use crate::{ports, wait};

/// How long one client command may take.
const COMMAND_MAX: Duration = Duration::from_secs(90);
/// How long `keelson up` may take to answer; generous, for machines that do other things too.
const START_MAX: Duration = Duration::from_secs(60);

/// Every cluster of a test run has ranges of its own, so that two can stand side by side.
static NEXT: AtomicU8 = AtomicU8::new(1);

/// What differs from the default.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Without a node agent.
    pub no_agent: bool,
    /// More flags for `keelson up`.
    pub flags: Vec<String>,
    /// Run as this user, from a copy of the binary that everybody may execute.
    pub user: Option<u32>,
}

/// A running control plane; taken down with everything it left when dropped.
pub struct Cluster {
    child: Option<Child>,
    dir: tempfile::TempDir,
    arguments: Vec<String>,
    user: Option<u32>,
    /// The API server's port.
    pub api_port: u16,
    /// The store's client port.
    pub store_port: u16,
}

/// The binary under test.
pub fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap_or_default();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("keelson")
}

impl Cluster {
    /// Starts one and waits until its API answers.
    pub fn start(settings: Settings) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("keelson-e2e-").tempdir()?;
        let ports = ports::free(3)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut arguments: Vec<String> = [
            ("--data-dir", dir.path().join("data").display().to_string()),
            ("--bind-address", "127.0.0.1".to_owned()),
            ("--secure-port", ports[0].to_string()),
            ("--listen-client-urls", format!("https://127.0.0.1:{}", ports[1])),
            ("--kubelet-port", ports[2].to_string()),
            ("--hostname-override", format!("node-{number}")),
            ("--cluster-cidr", format!("10.{}.0.0/16", 128 + number)),
            ("--service-cluster-ip-range", format!("10.{}.0.0/20", 64 + number)),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        if settings.no_agent {
            arguments.push("--no-agent".to_owned());
        }
        arguments.extend(settings.flags);
        let user = settings.user;
        if let Some(user) = user {
            let copy = dir.path().join("keelson");
            std::fs::copy(binary(), &copy).context("copy the binary")?;
            std::os::unix::fs::chown(dir.path(), Some(user), Some(user))?;
        }
        let mut cluster =
            Self { child: None, dir, arguments, user, api_port: ports[0], store_port: ports[1] };
        cluster.up()?;
        Ok(cluster)
    }

    /// Starts the process (again) on the same directory.
    pub fn up(&mut self) -> Result<()> {
        let log = File::options().append(true).create(true).open(self.log())?;
        let mut command = match self.user {
            None => Command::new(binary()),
            Some(user) => {
                let mut command = Command::new(self.dir.path().join("keelson"));
                command.uid(user).gid(user).env("HOME", self.dir.path());
                command
            }
        };
        let child = command
            .arg("up")
            .arg("-v")
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary().display()))?;
        self.child = Some(child);
        let kubeconfig = self.kubeconfig();
        wait::until("the API server", START_MAX, || {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("keelson up ended ({status}): {}", self.tail());
            }
            if !kubeconfig.exists() {
                return Ok(None);
            }
            let ready = self.kubectl(&["get", "--raw", "/readyz"])?;
            Ok((ready.code == 0).then_some(()))
        })
        .with_context(|| self.tail())
    }

    /// The process id of `keelson up`.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill_9(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends the process as Ctrl-C does; its containers stay.
    pub fn interrupt(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
            wait::until("keelson up to end", Duration::from_secs(30), || Ok(child.try_wait()?))?;
        }
        Ok(())
    }

    /// `keelson down` with more arguments.
    pub fn down(&mut self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary());
        command.arg("down").arg("--data-dir").arg(self.data_dir()).args(arguments);
        let output = run(command, None, COMMAND_MAX)?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(output)
    }

    /// The directory with all state.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("kubeconfig")
    }

    /// A folder for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("keelson.log")
    }

    /// Everything that the process has logged.
    pub fn log_text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.log())?).into_owned())
    }

    /// The end of the log, for messages.
    pub fn tail(&self) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let from = log.len().saturating_sub(6000);
        format!("log of keelson up:\n{}", String::from_utf8_lossy(&log[from..]))
    }

    /// A kubectl command that is not started yet.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let kubectl = std::env::var_os("KEELSON_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(kubectl);
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.dir.path()).args(arguments);
        command
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        run(self.kubectl_command(arguments), None, COMMAND_MAX)
    }

    /// Runs kubectl with a manifest on its standard input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<Output> {
        run(self.kubectl_command(arguments), Some(input), COMMAND_MAX)
    }

    /// Runs kubectl and expects success.
    pub fn k(&self, arguments: &str) -> Result<String> {
        let split: Vec<&str> = arguments.split_whitespace().collect();
        self.kubectl(&split)?.ok().with_context(|| format!("kubectl {arguments}\n{}", self.tail()))
    }

    /// Runs `kubectl apply -f -` and expects success.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest)?.ok().with_context(|| self.tail())
    }

    /// etcdctl with the store's client certificate.
    pub fn etcdctl_command(&self, arguments: &[&str]) -> Command {
        let pki = self.data_dir().join("pki/etcd");
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", format!("https://127.0.0.1:{}", self.store_port))
            .env("ETCDCTL_CACERT", pki.join("ca.crt"))
            .env("ETCDCTL_CERT", pki.join("healthcheck-client.crt"))
            .env("ETCDCTL_KEY", pki.join("healthcheck-client.key"))
            .args(arguments);
        command
    }

    /// Runs etcdctl, with input if given.
    pub fn etcdctl(&self, arguments: &[&str], input: Option<&str>) -> Result<Output> {
        run(self.etcdctl_command(arguments), input, COMMAND_MAX)
    }

    /// Waits until the node has registered itself and is Ready.
    pub fn node_ready(&self) -> Result<()> {
        let path = "{.items[*].status.conditions[?(@.type=='Ready')].status}";
        wait::until("the node to be Ready", START_MAX, || {
            Ok((self.field("nodes", path)? == "True").then_some(()))
        })
        .with_context(|| self.tail())
    }

    /// A field of an object, by JSONPath.
    pub fn field(&self, arguments: &str, path: &str) -> Result<String> {
        let mut split: Vec<&str> = vec!["get"];
        split.extend(arguments.split_whitespace());
        let output = format!("jsonpath={path}");
        split.extend(["-o", &output]);
        self.kubectl(&split)?.ok()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
        match self.down(&["--purge"]) {
            Ok(output) if output.code == 0 => {}
            Ok(output) => eprintln!("keelson down: {}{}", output.out, output.err),
            Err(error) => eprintln!("keelson down: {error:#}"),
        }
    }
}
