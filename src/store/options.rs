//! etcd's flags, for `keelson store` and for the binary called as `etcd`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

/// `keelson store`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Tools for the store's files; without one of them, a member is run.
    #[command(subcommand)]
    pub tool: Option<Tool>,
    /// Flags of a member.
    #[command(flatten)]
    pub member: Member,
}

/// Tools that work on the files of a store that is not running.
#[derive(Debug, Clone, Subcommand)]
pub enum Tool {
    /// Read every record of the log and say what is damaged, and how far the good part goes.
    Verify(Files),
    /// Print the log's entries as JSON lines: term, index, operation.
    DumpLog(Files),
}

/// Where the files are.
#[derive(Debug, Clone, Args)]
pub struct Files {
    /// The member's data directory.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// One member; names and defaults are etcd's.
#[derive(Debug, Clone, Args)]
pub struct Member {
    /// Name of this member.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Where the member keeps its data [default: NAME.etcd]
    #[arg(long, value_name = "DIR", env = "ETCD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// URLs to listen on for clients.
    #[arg(
        long,
        value_name = "URLS",
        value_delimiter = ',',
        env = "ETCD_LISTEN_CLIENT_URLS",
        default_value = "http://localhost:2379"
    )]
    pub listen_client_urls: Vec<String>,
    /// This member's client URLs, told to the others and to clients.
    #[arg(long, value_name = "URLS", value_delimiter = ',', env = "ETCD_ADVERTISE_CLIENT_URLS")]
    pub advertise_client_urls: Vec<String>,
    /// URLs to listen on for other members.
    #[arg(
        long,
        value_name = "URLS",
        value_delimiter = ',',
        env = "ETCD_LISTEN_PEER_URLS",
        default_value = "http://localhost:2380"
    )]
    pub listen_peer_urls: Vec<String>,
    /// This member's peer URLs, told to the others.
    #[arg(
        long,
        value_name = "URLS",
        value_delimiter = ',',
        env = "ETCD_INITIAL_ADVERTISE_PEER_URLS",
        default_value = "http://localhost:2380"
    )]
    pub initial_advertise_peer_urls: Vec<String>,
    /// All founding members: NAME=URL,NAME=URL [default: this one alone]
    #[arg(long, value_name = "MEMBERS", env = "ETCD_INITIAL_CLUSTER")]
    pub initial_cluster: Option<String>,
    /// `new` for a founding member.
    #[arg(long, value_name = "STATE", env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    pub initial_cluster_state: String,
    /// Keeps clusters apart that would otherwise have equal ids.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "ETCD_INITIAL_CLUSTER_TOKEN",
        default_value = "etcd-cluster"
    )]
    pub initial_cluster_token: String,
    /// Milliseconds between heartbeats.
    #[arg(long, value_name = "MS", env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100)]
    pub heartbeat_interval: u64,
    /// Milliseconds without a heartbeat until an election.
    #[arg(long, value_name = "MS", env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1000)]
    pub election_timeout: u64,
    /// Server certificate for clients (PEM).
    #[arg(long, value_name = "FILE", env = "ETCD_CERT_FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", env = "ETCD_KEY_FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Refuse clients without a certificate of the trusted authority.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    pub client_cert_auth: bool,
    /// The authority that clients' certificates must come from (PEM).
    #[arg(long, value_name = "FILE", env = "ETCD_TRUSTED_CA_FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// debug, info, warn, error.
    #[arg(long, value_name = "LEVEL", env = "ETCD_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// A founding member: its name and peer URLs.
pub type Founders = BTreeMap<String, Vec<String>>;

impl Member {
    /// The data directory, by etcd's default where none is given.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from(format!("{}.etcd", self.name)))
    }

    /// The founding members; every problem of the flags at once.
    pub fn founders(&self) -> Result<Founders> {
        let mut founders = Founders::new();
        match &self.initial_cluster {
            None => {
                founders.insert(self.name.clone(), self.initial_advertise_peer_urls.clone());
            }
            Some(list) => {
                for item in list.split(',').filter(|item| !item.is_empty()) {
                    let (name, url) = item
                        .split_once('=')
                        .with_context(|| format!("--initial-cluster: {item:?} is not NAME=URL"))?;
                    founders.entry(name.trim().to_owned()).or_default().push(url.trim().to_owned());
                }
            }
        }
        let mut problems = Vec::new();
        match founders.get(&self.name) {
            None => problems.push(format!(
                "couldn't find local name \"{}\" in the initial cluster configuration",
                self.name
            )),
            Some(urls) => {
                let sorted = |urls: &[String]| {
                    let mut urls = urls.to_vec();
                    urls.sort();
                    urls
                };
                if sorted(urls) != sorted(&self.initial_advertise_peer_urls) {
                    problems.push(format!(
                        "--initial-cluster has {} for {}, but --initial-advertise-peer-urls is {}",
                        urls.join(","),
                        self.name,
                        self.initial_advertise_peer_urls.join(",")
                    ));
                }
            }
        }
        if self.election_timeout < 5 * self.heartbeat_interval {
            problems.push(format!(
                "--election-timeout[{}ms] should be at least as 5 times as --heartbeat-interval[{}ms]",
                self.election_timeout, self.heartbeat_interval
            ));
        }
        if self.election_timeout > 50_000 {
            problems.push(format!(
                "--election-timeout[{}ms] is too long, and should be set less than 50000ms",
                self.election_timeout
            ));
        }
        if self.initial_cluster_state != "new" && self.initial_cluster_state != "existing" {
            problems.push(format!(
                "--initial-cluster-state: {:?} is neither new nor existing",
                self.initial_cluster_state
            ));
        }
        if self.client_cert_auth && self.trusted_ca_file.is_none() {
            problems.push("--client-cert-auth needs --trusted-ca-file".to_owned());
        }
        if problems.is_empty() { Ok(founders) } else { bail!("{}", problems.join("; ")) }
    }

    /// What clients are told.
    pub fn client_urls(&self) -> Vec<String> {
        if self.advertise_client_urls.is_empty() {
            return self.listen_client_urls.clone();
        }
        self.advertise_client_urls.clone()
    }
}

/// etcd's own way of calling: flags with one dash, no subcommand.
pub fn as_etcd(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut turned: Vec<OsString> = vec!["keelson".into(), "store".into()];
    turned.extend(arguments.into_iter().skip(1).map(|argument| match argument.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
            format!("-{text}").into()
        }
        _ => argument,
    }));
    turned
}
