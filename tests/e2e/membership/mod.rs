//! Members come and go: stock etcdctl, members of the built binary on loopback.

mod changes;
mod discovery;
mod ends;
mod founding;
mod joins;
mod load;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::command::{Output, run};
use keelson_tests::store::StoreProcess;
use keelson_tests::{ports, scratch, wait};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// Members that may be; each has its ports from the beginning, and runs when it is started.
struct Cluster {
    dir: tempfile::TempDir,
    seats: Vec<Seat>,
    /// Flags of all.
    flags: Vec<String>,
    /// In the place of the machine's `/etc/resolv.conf`.
    resolv: Option<std::path::PathBuf>,
}

struct Seat {
    name: String,
    client: String,
    peer: String,
    process: Option<StoreProcess>,
}

impl Cluster {
    fn new(seats: usize) -> Result<Self> {
        Self::with(seats, &[])
    }

    fn with(seats: usize, flags: &[&str]) -> Result<Self> {
        let ports = ports::free(seats * 2)?;
        let seats = ports.chunks(2).enumerate().map(|(index, ports)| Seat {
            name: format!("m{index}"),
            client: format!("http://127.0.0.1:{}", ports[0]),
            peer: format!("http://127.0.0.1:{}", ports[1]),
            process: None,
        });
        let usual = ["--heartbeat-interval=50", "--election-timeout=500"];
        let flags = usual.iter().chain(flags).map(|&flag| flag.to_owned()).collect();
        let dir = scratch::dir("membership")?;
        Ok(Self { dir, seats: seats.collect(), flags, resolv: None })
    }

    /// `--initial-cluster` of these members.
    fn list(&self, seats: &[usize]) -> String {
        let named = seats.iter().map(|&seat| {
            let Seat { name, peer, .. } = &self.seats[seat];
            format!("{name}={peer}")
        });
        named.collect::<Vec<_>>().join(",")
    }

    /// Starts a member, with flags beside those that say where it is.
    fn start(&mut self, seat: usize, flags: &[&str]) -> Result<()> {
        let data = self.data_dir(seat);
        let log = self.dir.path().join(format!("m{seat}.log"));
        let Seat { name, client, peer, process } = &mut self.seats[seat];
        let own = [
            ("name", name.as_str()),
            ("data-dir", &data),
            ("listen-client-urls", client),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer),
            ("initial-advertise-peer-urls", peer),
        ];
        let own = own.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
        let given = flags.iter().map(|&flag| flag.to_owned());
        let arguments: Vec<String> = own.chain(self.flags.iter().cloned()).chain(given).collect();
        *process = Some(match &self.resolv {
            None => StoreProcess::start(&arguments, &[], &log)?,
            Some(resolv) => StoreProcess::start_with_resolv(&arguments, resolv, &log)?,
        });
        Ok(())
    }

    /// Starts the founders, and waits until each of them serves.
    fn found(&mut self, seats: &[usize]) -> Result<()> {
        let list = format!("--initial-cluster={}", self.list(seats));
        for &seat in seats {
            self.start(seat, &[&list])?;
        }
        seats.iter().try_for_each(|&seat| self.ready(seat))
    }

    /// Starts a member that has been added, and waits until it serves.
    fn join(&mut self, seat: usize, all: &[usize]) -> Result<()> {
        let list = format!("--initial-cluster={}", self.list(all));
        self.start(seat, &[&list, "--initial-cluster-state=existing"])?;
        self.ready(seat)
    }

    fn process(&mut self, seat: usize) -> Result<&mut StoreProcess> {
        self.seats[seat].process.as_mut().context("it was not started")
    }

    fn ready(&mut self, seat: usize) -> Result<()> {
        self.process(seat)?.ready()
    }

    fn kill_9(&mut self, seat: usize) -> Result<()> {
        self.process(seat)?.kill_9()
    }

    fn data_dir(&self, seat: usize) -> String {
        self.dir.path().join(format!("m{seat}")).display().to_string()
    }

    /// Runs etcdctl against one member.
    fn ctl(&self, seat: usize, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.seats[seat].client, "--command-timeout=15s"])
            .args(arguments);
        run(command, None, LIMIT)
    }

    /// The same, with its answer as JSON.
    fn json(&self, seat: usize, arguments: &[&str]) -> Result<Value> {
        let text = self.ctl(seat, &[arguments, &["-w", "json"]].concat())?.ok()?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// Runs etcdctl until it succeeds: a cluster is healthy a while after all are reached.
    fn ctl_until(&self, seat: usize, arguments: &[&str]) -> Result<String> {
        wait::until(&arguments.join(" "), LIMIT, || self.ctl(seat, arguments)?.ok().map(Some))
    }

    /// The id of a member, as another one knows it, in hexadecimal digits.
    fn id(&self, ask: usize, seat: usize) -> Result<String> {
        let members = self.members(ask)?;
        let found = members.iter().find(|member| member["peerURLs"][0] == *self.seats[seat].peer);
        let id = found.and_then(|member| member["ID"].as_u64()).context("no such member")?;
        Ok(format!("{id:x}"))
    }

    fn members(&self, ask: usize) -> Result<Vec<Value>> {
        let list = self.json(ask, &["member", "list"])?;
        Ok(list["members"].as_array().cloned().unwrap_or_default())
    }

    fn status(&self, seat: usize) -> Result<Value> {
        Ok(self.json(seat, &["endpoint", "status"])?[0]["Status"].clone())
    }

    /// The seat of the leader among these.
    fn leader(&self, seats: &[usize]) -> Result<usize> {
        wait::until("a leader", LIMIT, || {
            for &seat in seats {
                let status = self.status(seat)?;
                if status["leader"].is_u64() && status["leader"] == status["header"]["member_id"] {
                    return Ok(Some(seat));
                }
            }
            Ok(None)
        })
    }

    fn put(&self, seat: usize, key: &str, value: &str) -> Result<()> {
        self.ctl_until(seat, &["put", key, value]).map(drop)
    }

    fn expect(&self, seat: usize, key: &str, value: &str) -> Result<()> {
        let read = self.ctl_until(seat, &["get", key, "--print-value-only"])?;
        ensure!(read.trim_end() == value, "member {seat} reads {read:?} at {key}, not {value:?}");
        Ok(())
    }
}
