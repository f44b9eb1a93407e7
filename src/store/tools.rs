//! Tools for the files of a store that is not running: `keelson store TOOL`, and `etcdutl`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use keelson_storage::engine::Engine as _;
use keelson_storage::machine::StateMachine;
use serde_json::json;

use super::completion::Shell;
use super::config::Config;
use super::export::{Export, Form};
use super::flags::Settings;
use super::{backup, files, offline, repair, timeline};
use crate::logging::{self, Outputs, StoreLog, Zap};

/// Tools for a store's files.
#[derive(Debug, Parser)]
#[command(name = "keelson store", version, max_term_width = 100)]
struct Tools {
    /// How answers are written.
    #[arg(short, long, global = true, value_enum, default_value = "simple")]
    write_out: Format,
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Simple,
    Fields,
    Json,
    Table,
}

#[derive(Debug, Clone, Subcommand)]
enum Tool {
    /// Read every record of the log and every key; say what is damaged, and how far the good part
    /// goes.
    Verify(Files),
    /// Print the log's entries as JSON lines: term, index, operation.
    DumpLog(Files),
    /// Cut a log at its first damage; the damaged one is kept aside.
    Repair(Files),
    /// Who the member is and how far it came; with `--timeline`, what running members were, when and
    /// why.
    Status {
        /// The member's data directory.
        #[arg(long, value_name = "DIR", required_unless_present = "timeline")]
        data_dir: Option<PathBuf>,
        #[command(flatten)]
        members: timeline::Members,
    },
    /// The hash that HashKV answers with, of a snapshot file or of a member's data.
    Hashkv {
        /// A snapshot file.
        file: Option<PathBuf>,
        /// The member's data directory, in its place.
        #[arg(long, value_name = "DIR", conflicts_with = "file", required_unless_present = "file")]
        data_dir: Option<PathBuf>,
        /// Of this revision; 0: the newest.
        #[arg(long, default_value_t = 0)]
        rev: i64,
        /// Take a file without a hash, such as one that was copied from a data directory.
        #[arg(long, conflicts_with = "data_dir")]
        skip_hash_check: bool,
    },
    /// Snapshot files.
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Make a new member of a new cluster from a snapshot of etcd, or from its `member/snap/db`:
    /// with every revision, lease, user and role. Copied from a data directory, it has no hash.
    Import(Restore),
    /// Print every key as puts that stock etcdctl reads, in a shell script; with `-w json`, as an
    /// object a line.
    Export(Export),
    /// Give the disk back what deleted data of a member that does not run still takes.
    Defrag(Files),
    /// Data of another etcd version: not a thing here.
    Migrate {
        /// Whatever is asked for.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// The versions.
    Version,
    /// Print a script that completes the tools' names and flags.
    Completion {
        /// The shell it is for.
        shell: Shell,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum Snapshot {
    /// Write the state of a member that does not run to a file.
    Save {
        /// The file.
        file: PathBuf,
        /// The member.
        #[command(flatten)]
        at: Files,
    },
    /// What a file holds.
    Status {
        /// The file.
        file: PathBuf,
    },
    /// Make a new member of a new cluster from a file.
    Restore(Restore),
}

#[derive(Debug, Clone, Args)]
struct Restore {
    /// The file.
    file: PathBuf,
    /// Where the new member's data goes [default: NAME.etcd]
    #[arg(long, default_value = "")]
    data_dir: String,
    /// Where its log goes, if elsewhere.
    #[arg(long, default_value = "")]
    wal_dir: String,
    /// Its name.
    #[arg(long, default_value = "default")]
    name: String,
    /// All founding members: NAME=URL,NAME=URL.
    #[arg(long, default_value = "")]
    initial_cluster: String,
    /// Keeps clusters apart.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Its peer URLs.
    #[arg(long, default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: String,
    /// Take a file without a hash, such as one that was copied from a data directory.
    #[arg(long)]
    skip_hash_check: bool,
    /// How much the newest revision is raised, so that no watcher takes it for an old one.
    #[arg(long, default_value_t = 0)]
    bump_revision: u32,
    /// Mark everything before as compacted, so that watchers are told.
    #[arg(long)]
    mark_compacted: bool,
}

/// Where the files are.
#[derive(Debug, Clone, Args)]
pub struct Files {
    /// The member's data directory.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// Whether this is a tool's name, and no flag of a member.
pub fn is_tool(name: &str) -> bool {
    name == "help" || Tools::command().find_subcommand(name).is_some()
}

/// Runs the tool that the first argument names.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let line = std::iter::once("keelson store").chain(arguments.iter().map(String::as_str));
    let tools = match Tools::try_parse_from(line) {
        Ok(tools) => tools,
        Err(error) => {
            let _printed = error.print();
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    let format = tools.write_out;
    match tools.tool {
        Tool::Verify(at) => files::verify(&at)?,
        Tool::DumpLog(at) => files::dump(&at)?,
        Tool::Repair(at) => repair::run(&at.data_dir)?,
        Tool::Status { members, .. } if members.timeline => {
            timeline::run(&members, matches!(format, Format::Json))?;
        }
        Tool::Status { data_dir, .. } => {
            status(&data_dir.context("--data-dir or --timeline is needed")?, format)?;
        }
        Tool::Hashkv { file: Some(file), rev, skip_hash_check, .. } => {
            let (machine, _engine) = backup::load(&file, !skip_hash_check)?;
            hash_kv(&machine, rev, format)?;
        }
        Tool::Hashkv { file: None, data_dir, rev, .. } => {
            let data_dir = data_dir.context("a snapshot file or --data-dir is needed")?;
            hash_kv(&offline::open(&data_dir)?.machine, rev, format)?;
        }
        Tool::Snapshot(Snapshot::Save { file, at }) => backup::save(&at.data_dir, &file)?,
        Tool::Snapshot(Snapshot::Status { file }) => {
            print_snapshot(&backup::status(&file)?, format)?
        }
        Tool::Import(restore) | Tool::Snapshot(Snapshot::Restore(restore)) => restore.run()?,
        Tool::Export(export) => export.run(match format {
            Format::Json => Form::JsonLines,
            Format::Simple | Format::Fields | Format::Table => Form::Script,
        })?,
        Tool::Defrag(at) => {
            offline::open(&at.data_dir)?.engine.defragment()?;
            println!("finished defragmenting directory[{}]", at.data_dir.display());
        }
        Tool::Migrate { rest: _ } => {
            bail!("migrate: keelson's files have one format; `keelson store import` takes etcd's")
        }
        Tool::Version => {
            println!("etcdutl version: {}", keelson_etcd_api::ETCD_VERSION);
            println!("API version: 3.7");
        }
        Tool::Completion { shell } => {
            print!("{}", shell.script(&Tools::command()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Restore {
    fn run(&self) -> Result<()> {
        let outputs = Outputs::open(&["stderr".to_owned()], None)?;
        logging::start_store(StoreLog { level: "info", format: Zap::Json, outputs });
        match (self.bump_revision > 0, self.mark_compacted) {
            (true, false) => bail!("--mark-compacted required if --revision-bump > 0"),
            (false, true) => bail!("--mark-compacted disallowed unless --bump-revision"),
            (true, true) | (false, false) => {}
        }
        let mut settings = Settings::default();
        for (flag, value) in [
            ("name", &self.name),
            ("data-dir", &self.data_dir),
            ("wal-dir", &self.wal_dir),
            ("initial-cluster", &self.initial_cluster),
            ("initial-cluster-token", &self.initial_cluster_token),
            ("initial-advertise-peer-urls", &self.initial_advertise_peer_urls),
        ] {
            if let Some(Err(error)) = settings.set(flag, value) {
                bail!("invalid value {value:?} for flag -{flag}: {error}");
            }
        }
        let with = backup::RestoreWith {
            checks_hash: !self.skip_hash_check,
            bump_revision: self.bump_revision.into(),
        };
        backup::restore(&self.file, &Config(settings), with)
    }
}

fn status(data_dir: &Path, format: Format) -> Result<()> {
    let member = offline::open(data_dir)?;
    let (view, applied) = (member.machine.view(), member.machine.applied());
    let id = |id: Option<u64>| id.map_or_else(String::new, |id| format!("{id:x}"));
    let log = &member.log;
    let shown = json!({
        "memberID": id(log.identity.map(|identity| identity.node_id)),
        "clusterID": id(log.identity.map(|identity| identity.cluster_id)),
        "term": log.term,
        "lastIndex": log.last,
        "committedIndex": log.committed,
        "appliedIndex": applied.index,
        "revision": view.revision(),
        "compactRevision": view.compacted(),
        "dbSize": view.size(),
        "logBytes": log.summary.end,
    });
    print_fields(&shown, format);
    Ok(())
}

fn hash_kv(machine: &StateMachine, revision: i64, format: Format) -> Result<()> {
    let hash = machine.view().hash_kv(revision)?;
    let shown = json!({
        "hash": hash.hash, "hashRevision": hash.revision, "compactRevision": hash.compacted,
    });
    print_fields(&shown, format);
    Ok(())
}

fn print_snapshot(status: &backup::Status, format: Format) -> Result<()> {
    let backup::Status { hash, revision, total_key, total_size, version } = status;
    match format {
        Format::Json => println!("{}", serde_json::to_string(status)?),
        Format::Fields => {
            println!("\"Hash\" : {hash}");
            println!("\"Revision\" : {revision}");
            println!("\"Keys\" : {total_key}");
            println!("\"Size\" : {total_size}");
            println!("\"Version\" : {version:?}");
        }
        Format::Simple => {
            println!("{hash:x}, {revision}, {total_key}, {}, {version}", size(*total_size));
        }
        Format::Table => {
            let mut table = comfy_table::Table::new();
            table.set_header(["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"]);
            table.add_row([
                format!("{hash:x}"),
                revision.to_string(),
                total_key.to_string(),
                size(*total_size),
                version.clone(),
            ]);
            println!("{table}");
        }
    }
    Ok(())
}

fn print_fields(shown: &serde_json::Value, format: Format) {
    let Some(members) = shown.as_object() else { return };
    match format {
        Format::Json => println!("{shown}"),
        Format::Simple => {
            let values: Vec<String> = members.values().map(text).collect();
            println!("{}", values.join(", "));
        }
        Format::Fields => members.iter().for_each(|(name, value)| println!("{name:?} : {value}")),
        Format::Table => {
            let mut table = comfy_table::Table::new();
            table.set_header(members.keys());
            table.add_row(members.values().map(text));
            println!("{table}");
        }
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Bytes in etcd's words: `20 kB`.
fn size(bytes: u64) -> String {
    let mut unit = "B";
    // Two digits are shown of what may be any size.
    #[allow(clippy::cast_precision_loss)]
    let mut number = bytes as f64;
    for next in ["kB", "MB", "GB", "TB"] {
        if number < 1000.0 {
            break;
        }
        number /= 1000.0;
        unit = next;
    }
    if number < 10.0 && unit != "B" {
        format!("{number:.1} {unit}")
    } else {
        format!("{number:.0} {unit}")
    }
}
