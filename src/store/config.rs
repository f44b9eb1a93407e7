//! What a member does with its flags' values: checks in etcd's order and words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use keelson_etcd_api::{AuthToken, FaceConfig, HttpConfig};
use keelson_storage::compactor::Pace;

use super::compaction::Retention;
use super::flags::{Effect, GATES, Settings, Url};
use super::tls;
use crate::logging::{Outputs, Rotation, StoreLog, Zap};

/// Longest election timeout, in milliseconds.
const ELECTION_MS_MAX: u64 = 50_000;
/// The name of members that have none.
const DEFAULT_NAME: &str = "default";
/// Features that change nothing here when they are on: no request waits behind one that matters
/// less.
const IDLE_GATES: [&str; 1] = ["PriorityRequest"];
/// Above this a quota is thought to be a mistake.
const QUOTA_BYTES_USUAL_MAX: i64 = 8 << 30;

/// A founding member: its name and peer URLs.
pub type Founders = BTreeMap<String, Vec<String>>;

/// A member's configuration.
#[derive(Debug, Clone)]
pub struct Config(pub Settings);

impl Config {
    /// Where and how to log; wrong values are for [`Self::check`] to say.
    pub fn log(&self) -> anyhow::Result<StoreLog<'_>> {
        let settings = &self.0;
        let rotation: Option<Rotation> = match settings.is_on("enable-log-rotation") {
            true => serde_json::from_str(settings.text("log-rotation-config-json")).ok(),
            false => None,
        };
        let level = match settings.text("log-level") {
            "dpanic" | "panic" | "fatal" => "error",
            level => level,
        };
        let format = match settings.text("log-format") {
            "console" => Zap::Console,
            _ => Zap::Json,
        };
        let names = match settings.list("log-outputs") {
            [] => &["default".to_owned()][..],
            names => names,
        };
        let outputs = Outputs::open(names, rotation)
            .with_context(|| format!("couldn't open sink {}", names.join(",")))?;
        Ok(StoreLog { level, format, outputs })
    }

    /// The first thing that is wrong.
    // upstream: etcd v3.7, `embed.Config.Validate`
    pub fn check(&self) -> Result<(), String> {
        let settings = &self.0;
        self.check_log()?;
        for name in ["listen-peer-urls", "listen-client-urls", "listen-client-http-urls"] {
            settings.urls(name).iter().try_for_each(check_bound)?;
        }
        settings.urls("listen-metrics-urls").iter().try_for_each(check_bound)?;
        for url in settings.urls("initial-advertise-peer-urls") {
            check_host(url).map_err(|error| {
                let urls = joined(settings.urls("initial-advertise-peer-urls"));
                format!("--initial-advertise-peer-urls {urls:?} must be \"host:port\" ({error})")
            })?;
        }
        for url in settings.urls("advertise-client-urls") {
            check_host(url).map_err(|error| {
                let urls = joined(settings.urls("advertise-client-urls"));
                format!(
                    "--advertise-client-urls {urls:?} must be in the format \"host:port\", \
                     \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({error})"
                )
            })?;
        }
        self.check_bootstrap()?;
        self.check_times()?;
        if settings.is_given("listen-client-urls") && !settings.is_given("advertise-client-urls") {
            return Err(
                "--advertise-client-urls is required when --listen-client-urls is set explicitly"
                    .to_owned(),
            );
        }
        match settings.text("auto-compaction-mode") {
            "periodic" | "revision" => {}
            "" => return Err("undefined auto-compaction-mode".to_owned()),
            mode => return Err(format!("unknown auto-compaction-mode {mode:?}")),
        }
        if settings.gate("LeaseCheckpointPersist") && !settings.gate("LeaseCheckpoint") {
            return Err("enabling feature gate LeaseCheckpointPersist requires enabling feature \
                        gate LeaseCheckpoint"
                .to_owned());
        }
        if settings.duration("compact-hash-check-time").is_zero() {
            return Err("--compact-hash-check-time must be >0 (set to 0s)".to_owned());
        }
        let (min, max) = (settings.text("tls-min-version"), settings.text("tls-max-version"));
        let suites = settings.list("cipher-suites");
        tls::check_versions(min, max, !suites.is_empty())?;
        tls::check_suites(suites)?;
        self.retention()?;
        self.auth_token()?;
        if settings.text("discovery-fallback") == "proxy" {
            return Err("v2 proxy is deprecated, and --discovery-fallback can't be configured as \
                        \"proxy\""
                .to_owned());
        }
        Ok(())
    }

    fn check_log(&self) -> Result<(), String> {
        let settings = &self.0;
        match settings.text("logger") {
            "zap" => {}
            "capnslog" => return Err("--logger=capnslog is removed in v3.5".to_owned()),
            other => return Err(format!("unknown logger option {other:?}")),
        }
        let outputs = settings.list("log-outputs");
        if outputs.len() > 1 && outputs.iter().any(|output| output == "default") {
            return Err("multi logoutput for \"default\" is not supported yet".to_owned());
        }
        let level = settings.text("log-level");
        let levels = ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"];
        if !levels.contains(&level) {
            return Err(format!("unrecognized level: {level:?}"));
        }
        let format = settings.text("log-format");
        if !["", "json", "console"].contains(&format) {
            return Err(format!("unknown log format: {format}, supported values json, console"));
        }
        if settings.is_on("enable-log-rotation") {
            let is_file = |name: &String| {
                !["default", "stdout", "stderr", "systemd/journal"].contains(&name.as_str())
            };
            if outputs.len() != 1 || !outputs.iter().all(is_file) {
                return Err("--log-outputs requires a single file path when \
                            --log-rotate-config-json is defined"
                    .to_owned());
            }
            let rotation = settings.text("log-rotation-config-json");
            serde_json::from_str::<Rotation>(rotation)
                .map_err(|error| format!("improperly formatted log rotation config: {error}"))?;
        }
        Ok(())
    }

    fn check_bootstrap(&self) -> Result<(), String> {
        let settings = &self.0;
        let endpoints = settings.list("discovery-endpoints");
        let ways = [
            settings.is_given("initial-cluster") && !settings.text("initial-cluster").is_empty(),
            !settings.text("discovery-srv").is_empty(),
            !endpoints.is_empty(),
        ];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err("multiple discovery or bootstrap flags are set. Choose one of \
                        \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\""
                .to_owned());
        }
        if settings.text("discovery-token").is_empty() != endpoints.is_empty() {
            return Err("both --discovery-token and --discovery-endpoints must be set".to_owned());
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), String> {
        let heartbeat: u64 = self.0.number("heartbeat-interval", u64::MAX);
        let election: u64 = self.0.number("election-timeout", u64::MAX);
        if heartbeat == 0 {
            return Err("--heartbeat-interval must be >0 (set to 0ms)".to_owned());
        }
        if election == 0 {
            return Err("--election-timeout must be >0 (set to 0ms)".to_owned());
        }
        if heartbeat.saturating_mul(5) > election {
            return Err(format!(
                "--election-timeout[{election}ms] should be at least as 5 times as \
                 --heartbeat-interval[{heartbeat}ms]"
            ));
        }
        if election > ELECTION_MS_MAX {
            return Err(format!(
                "--election-timeout[{election}ms] is too long, and should be set less than \
                 {ELECTION_MS_MAX}ms"
            ));
        }
        Ok(())
    }

    /// Says what is accepted without effect, and what may be a mistake.
    pub fn warn(&self) {
        let settings = &self.0;
        for flag in settings.given() {
            if let Effect::Nothing(why) = flag.effect {
                tracing::warn!(flag = flag.name, reason = why, "flag has no effect");
            }
        }
        if settings.number("bootstrap-defrag-threshold-megabytes", u64::MAX) > 0 {
            tracing::info!("Skipping defragmentation");
        }
        if settings.is_given("max-snapshots") {
            tracing::warn!(
                "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."
            );
        }
        if settings.is_given("v2-deprecation") {
            tracing::warn!(
                "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default \
                 value is enforced, ignoring user input."
            );
        }
        if settings.urls("listen-client-http-urls").is_empty() {
            tracing::warn!(
                "Running http and grpc server on single port. This is not recommended for \
                 production."
            );
        }
        for gate in IDLE_GATES {
            if self.0.gate(gate) {
                tracing::warn!(feature = gate, "a feature gate is accepted without effect");
            }
        }
        if self.name() == DEFAULT_NAME {
            tracing::warn!(
                name = DEFAULT_NAME,
                "it isn't recommended to use default name, please set a value for --name. Note \
                 that etcd might run into issue when multiple members have the same default name"
            );
        }
        if settings.number::<i64>("quota-backend-bytes", i64::MAX) > QUOTA_BYTES_USUAL_MAX {
            tracing::warn!("quota exceeds the maximum value");
        }
        if settings.text("data-dir").is_empty() {
            tracing::warn!(
                "data-dir" = %self.data_dir().display(),
                "'data-dir' was empty; using default"
            );
        }
    }

    /// The member's name.
    pub fn name(&self) -> &str {
        self.0.text("name")
    }

    /// Where the data is.
    pub fn data_dir(&self) -> PathBuf {
        self.0.path("data-dir").unwrap_or_else(|| format!("{}.etcd", self.name()).into())
    }

    /// This member's peer URLs, as the others know them.
    pub fn peer_urls(&self) -> Vec<String> {
        self.0.urls("initial-advertise-peer-urls").iter().map(Url::to_string).collect()
    }

    /// What clients are told.
    pub fn client_urls(&self) -> Vec<String> {
        self.0.urls("advertise-client-urls").iter().map(Url::to_string).collect()
    }

    /// The members that `--initial-cluster` names, which must be this one among others.
    pub fn listed(&self) -> Result<Founders, String> {
        let listed = self.read_founders(self.0.text("initial-cluster"))?;
        match listed.contains_key(self.name()) {
            true => Ok(listed),
            false => Err(self.not_listed()),
        }
    }

    /// The founding members, as the flags name them.
    pub fn founders(&self) -> Result<Founders, String> {
        let list = self.0.text("initial-cluster");
        if list.is_empty() {
            return Ok(Founders::from([(self.name().to_owned(), self.peer_urls())]));
        }
        self.checked(self.read_founders(list)?)
    }

    /// Members by name, of a list in the form of `--initial-cluster`.
    pub fn read_founders(&self, list: &str) -> Result<Founders, String> {
        let mut founders = Founders::new();
        for item in list.split(',').filter(|item| !item.trim().is_empty()) {
            let (name, url) = item.split_once('=').unwrap_or((item, ""));
            if url.trim().is_empty() {
                return Err(format!(
                    "error setting up initial cluster: empty URL given for {:?}",
                    name.trim()
                ));
            }
            super::flags::read_url(url)
                .map_err(|error| format!("error setting up initial cluster: {error}"))?;
            founders.entry(name.trim().to_owned()).or_default().push(url.trim().to_owned());
        }
        let mut all: Vec<&String> = founders.values().flatten().collect();
        let count = all.len();
        all.sort();
        all.dedup();
        if all.len() < count {
            return Err(format!("initial cluster {list} has duplicate url"));
        }
        Ok(founders)
    }

    fn not_listed(&self) -> String {
        format!("couldn't find local name {:?} in the initial cluster configuration", self.name())
    }

    /// Founders among whom this member is known by its own peer URLs.
    // upstream: etcd v3.7, `ServerConfig.VerifyBootstrap`
    pub fn checked(&self, founders: Founders) -> Result<Founders, String> {
        let own = self.peer_urls();
        let Some(listed) = founders.get(self.name()) else { return Err(self.not_listed()) };
        let missing = |from: &[String], to: &[String]| -> Vec<String> {
            from.iter().filter(|url| !to.contains(url)).cloned().collect()
        };
        let named = |urls: &[String]| -> String {
            let named: Vec<String> =
                urls.iter().map(|url| format!("{}={url}", self.name())).collect();
            named.join(",")
        };
        if same_places(listed, &own) {
            return Ok(founders);
        }
        let (unadvertised, unlisted) = (missing(listed, &own), missing(&own, listed));
        if !unadvertised.is_empty() {
            return Err(format!(
                "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
                named(&unadvertised),
                own.join(",")
            ));
        }
        if !unlisted.is_empty() {
            return Err(format!(
                "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
                unlisted.join(","),
                named(listed)
            ));
        }
        Ok(founders)
    }

    /// What automatic compaction keeps.
    pub fn retention(&self) -> Result<Option<Retention>, String> {
        Retention::read(
            self.0.text("auto-compaction-mode"),
            self.0.text("auto-compaction-retention"),
        )
    }

    /// A leader is heard at least this often.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.0.number("heartbeat-interval", u64::MAX))
    }

    /// Without a leader for this long a member stands for election.
    pub fn election(&self) -> Duration {
        Duration::from_millis(self.0.number("election-timeout", u64::MAX))
    }

    /// How users prove who they are.
    fn auth_token(&self) -> Result<AuthToken, String> {
        let ttl = Duration::from_secs(self.0.number("auth-token-ttl", u64::MAX));
        AuthToken::parse(self.0.text("auth-token"), ttl).map_err(|error| error.to_string())
    }

    /// Limits of requests.
    pub fn face(&self) -> FaceConfig {
        let settings = &self.0;
        let mut face = FaceConfig {
            max_request_bytes: settings.number("max-request-bytes", usize::MAX / 8),
            auth_token: self.auth_token().unwrap_or_default(),
            bcrypt_cost: settings.number("bcrypt-cost", 10),
            max_txn_ops: settings.number("max-txn-ops", usize::MAX),
            quota_bytes: settings.number("quota-backend-bytes", i64::MAX),
            // As etcd: one and a half elections, in whole seconds.
            lease_ttl_seconds_min: i64::try_from(
                (self.election() * 3 / 2).as_millis().div_ceil(1000),
            )
            .unwrap_or(i64::MAX),
            strict_reconfig: settings.is_on("strict-reconfig-check"),
            learners_max: settings.number("max-learners", u32::MAX),
            leaderless_max: self.election() * 3,
            extensive_metrics: settings.text("metrics") == "extensive",
            features: self.features(),
            apply_warning: settings.duration("warning-apply-duration"),
            unary_warning: settings.duration("warning-unary-request-duration"),
            stop_on_defragment: settings.gate("StopGRPCServiceOnDefrag"),
            ..FaceConfig::default()
        };
        let progress = settings.duration("watch-progress-notify-interval");
        if !progress.is_zero() {
            face.progress_interval = progress;
        }
        face
    }

    /// How HTTP is spoken.
    pub fn http(&self) -> HttpConfig {
        let settings = &self.0;
        let never = Duration::from_secs(u32::MAX.into());
        let or_never = |time: Duration| if time.is_zero() { never } else { time };
        HttpConfig {
            cors: settings.list("cors").to_vec(),
            host_whitelist: settings.list("host-whitelist").to_vec(),
            gateway: settings.is_on("enable-grpc-gateway"),
            max_concurrent_streams: settings.number("max-concurrent-streams", u32::MAX),
            keep_alive_interval: or_never(settings.duration("grpc-keepalive-interval")),
            keep_alive_timeout: or_never(settings.duration("grpc-keepalive-timeout")),
            ping_min: settings.duration("grpc-keepalive-min-time"),
            client_cert_auth: settings.is_on("client-cert-auth"),
            profiles: settings.is_on("enable-pprof"),
        }
    }

    /// All features, with their stage, and whether each is on.
    fn features(&self) -> Vec<(&'static str, &'static str, bool)> {
        let stage = |is_beta: bool| if is_beta { "BETA" } else { "ALPHA" };
        let gates = GATES.iter();
        gates.map(|(name, _, is_beta)| (*name, stage(*is_beta), self.0.gate(name))).collect()
    }

    /// How compactions leave room for others.
    pub fn compaction_pace(&self) -> Pace {
        let (revisions, pause) = (
            self.0.number("compaction-batch-limit", usize::MAX),
            self.0.duration("compaction-sleep-interval"),
        );
        let usual = Pace::default();
        Pace {
            revisions: if revisions == 0 { usual.revisions } else { revisions },
            pause: if pause.is_zero() { usual.pause } else { pause },
        }
    }
}

/// Whether URLs are the same, or their hosts have the same addresses.
pub fn same_places(one: &[String], other: &[String]) -> bool {
    let sorted = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<String>>();
    let placed = |urls: &[String]| urls.iter().map(|url| place(url)).collect::<BTreeSet<String>>();
    sorted(one) == sorted(other) || placed(one) == placed(other)
}

/// A URL whose host is an address, if it can be found.
fn place(url: &str) -> String {
    let Some((scheme, host)) = url.split_once("://") else { return url.to_owned() };
    let found = host.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.map_or_else(|| url.to_owned(), |address| format!("{scheme}://{address}"))
}

fn joined(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}

/// Names are not listened on, but for the one that everybody has.
fn check_bound(url: &Url) -> Result<(), String> {
    let Some((host, _)) = url.host_and_port().filter(|_| !url.is_unix()) else { return Ok(()) };
    if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("expected IP in URL for binding ({url})"))
}

fn check_host(url: &Url) -> Result<(), String> {
    match url.host_and_port() {
        Some(("", _)) if !url.is_unix() => Err(format!("unexpected empty host ({url})")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::flags::gather;
    use super::*;

    fn of(line: &str) -> Config {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Config(gather(&arguments, &[]).unwrap().0)
    }

    #[test]
    fn defaults_are_well_and_every_getter_works() {
        let config = of("");
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.founders().unwrap().len(), 1);
        assert_eq!(config.retention(), Ok(None));
        assert_eq!(config.face().lease_ttl_seconds_min, 2);
        assert_eq!(config.http().max_concurrent_streams, u32::MAX);
        assert_eq!(config.data_dir(), PathBuf::from("default.etcd"));
        assert!(config.log().is_ok());
    }

    // upstream: etcd v3.7, texts of `Validate` and `VerifyBootstrap`
    #[test]
    fn what_is_wrong_is_said_in_etcds_words() {
        let check = |line: &str, expected: &str| {
            let config = of(line);
            let said = config.check().and_then(|()| config.founders().map(drop));
            assert_eq!(said.unwrap_err(), expected, "{line}");
        };
        check("--logger capnslog", "--logger=capnslog is removed in v3.5");
        check(
            "--listen-client-urls http://nobody.example:2379 --advertise-client-urls http://x:1",
            "expected IP in URL for binding (http://nobody.example:2379)",
        );
        check(
            "--listen-client-urls http://127.0.0.1:2379",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        );
        check(
            "--election-timeout 400",
            "--election-timeout[400ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        );
        check(
            "--election-timeout 60000",
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        );
        check("--auto-compaction-mode never", "unknown auto-compaction-mode \"never\"");
        check("--cipher-suites NOBODY", "unexpected TLS cipher suite \"NOBODY\"");
        check(
            "--tls-min-version TLS1.3 --tls-max-version TLS1.2",
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        );
        check(
            "--initial-cluster a=http://h:1 --discovery-srv example.org",
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        );
        check(
            "--discovery-token t",
            "both --discovery-token and --discovery-endpoints must be set",
        );
        check(
            "--name b --initial-cluster a=http://localhost:2380",
            "couldn't find local name \"b\" in the initial cluster configuration",
        );
        check(
            "--name a --initial-cluster a=http://localhost:2381",
            "--initial-cluster has a=http://localhost:2381 but missing from \
             --initial-advertise-peer-urls=http://localhost:2380",
        );
        check(
            "--feature-gates LeaseCheckpointPersist=true",
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
             LeaseCheckpoint",
        );
    }
}
