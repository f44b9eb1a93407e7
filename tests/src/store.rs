//! One process of the store with flags of the test's choice, and etcd's own beside it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::binary;
use crate::command::{self, Output};
use crate::wait;

/// How long a client may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Flags of a member that founds a cluster of its own below `dir`.
pub struct Alone {
    /// All of them.
    pub flags: Vec<String>,
    /// Its client URL.
    pub url: String,
    /// The port in it.
    pub port: u16,
}

impl Alone {
    /// On free ports; clients use `scheme`.
    pub fn new(dir: &Path, scheme: &str) -> Result<Self> {
        let ports = crate::ports::free(2)?;
        let url = format!("{scheme}://127.0.0.1:{}", ports[0]);
        let peer = format!("http://127.0.0.1:{}", ports[1]);
        let flags = [
            ("--name", "m".to_owned()),
            ("--data-dir", dir.join("data").display().to_string()),
            ("--listen-client-urls", url.clone()),
            ("--advertise-client-urls", url.clone()),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer.clone()),
            ("--initial-cluster", format!("m={peer}")),
            ("--logger", "zap".to_owned()),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Ok(Self { flags, url, port: ports[0] })
    }

    /// One more flag.
    #[must_use]
    pub fn with(mut self, flag: &str, value: &str) -> Self {
        self.flags.push(format!("--{flag}={value}"));
        self
    }

    /// Starts it, and waits until it serves.
    pub fn start(&self, dir: &Path) -> Result<StoreProcess> {
        let mut process = StoreProcess::start(&self.flags, &[], &dir.join("log"))?;
        process.ready()?;
        Ok(process)
    }
}

/// A store; killed when dropped.
pub struct StoreProcess {
    child: Child,
    log: PathBuf,
}

impl StoreProcess {
    /// `keelson store` with these flags and variables; its log goes to `log`.
    pub fn start(arguments: &[String], variables: &[(&str, &str)], log: &Path) -> Result<Self> {
        Self::start_of(&binary(), arguments, variables, log)
    }

    /// The same of another binary.
    pub fn start_of(
        binary: &Path,
        arguments: &[String],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("store").args(arguments).envs(variables.iter().copied());
        Self::spawn(command, log)
    }

    /// `keelson store` that sees another `/etc/resolv.conf`.
    pub fn start_with_resolv(arguments: &[String], resolv: &Path, log: &Path) -> Result<Self> {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script]).arg(resolv).arg(binary());
        command.arg("store").args(arguments);
        Self::spawn(command, log)
    }

    /// The machine's own etcd, if there is one.
    pub fn start_etcd(arguments: &[String], log: &Path) -> Result<Self> {
        let mut command = Command::new("etcd");
        command.args(arguments);
        Self::spawn(command, log)
    }

    fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        // What an earlier process said is not this one's.
        let _none_yet = std::fs::remove_file(log);
        let file = File::options().append(true).create(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that was logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has logged this.
    pub fn logged(&mut self, wanted: &str) -> Result<()> {
        let found = wait::until(wanted, Duration::from_secs(30), || {
            if self.log().contains(wanted) {
                return Ok(Some(()));
            }
            match self.child.try_wait()? {
                Some(status) => bail!("it ended with {status}"),
                None => Ok(None),
            }
        });
        found.with_context(|| format!("no {wanted:?} in the log:\n{}", self.log()))
    }

    /// Waits until it serves.
    pub fn ready(&mut self) -> Result<()> {
        self.logged("ready to serve client requests")
    }

    /// Sends a signal, and waits for the end.
    pub fn signal(&mut self, signal: nix::sys::signal::Signal) -> Result<std::process::ExitStatus> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, signal)?;
        self.ended()
    }

    /// Waits for the end.
    pub fn ended(&mut self) -> Result<std::process::ExitStatus> {
        self.ended_within(Duration::from_secs(20))
    }

    /// Waits so long for the end.
    pub fn ended_within(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        wait::until("the store to end", limit, || Ok(self.child.try_wait()?))
            .with_context(|| self.log())
    }

    /// `kill -9`.
    pub fn kill_9(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for StoreProcess {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The binary built with the feature `failpoints`, which a variable names.
pub fn failpoint_binary() -> Result<PathBuf> {
    const VARIABLE: &str = "KEELSON_FAILPOINTS";
    let path = std::env::var_os(VARIABLE).map(PathBuf::from);
    path.filter(|path| path.is_file()).with_context(|| {
        format!("{VARIABLE} names no binary: `make failpoints` builds it, `make test` names it")
    })
}

/// Runs the binary to its end under the name `name` (`keelson`, `etcd`, `etcdutl`).
pub fn run_as(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(binary());
    command.arg0(name).args(arguments).envs(variables.iter().copied());
    command::run(command, None, LIMIT)
}

/// What `curl` printed: the body, then a line with the status.
pub fn curl(arguments: &[&str]) -> Result<(u16, String)> {
    let mut command = Command::new("curl");
    command.args(["-s", "-S", "-w", "\n%{http_code}", "--max-time", "20"]).args(arguments);
    let output = command::run(command, None, LIMIT)?;
    let (body, status) = output.out.rsplit_once('\n').context("a status")?;
    if output.code != 0 {
        bail!("curl {arguments:?}: {} {}", output.code, output.err);
    }
    Ok((status.parse()?, body.to_owned()))
}
