//! `etcd gateway start`: one address for the members' client ports, connection by connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::logging::{self, Outputs, StoreLog, Zap};

/// How long a member may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Forwards TCP connections to the members' client ports.
#[derive(Debug, Parser)]
#[command(name = "etcd gateway", max_term_width = 100)]
struct Gateway {
    #[command(flatten)]
    start: Start,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the gateway.
    Start,
}

#[derive(Debug, Args)]
struct Start {
    /// Where to listen.
    #[arg(long, global = true, default_value = "127.0.0.1:23790")]
    listen_addr: String,
    /// Client addresses of members.
    #[arg(long, global = true, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// Not available: members are named by --endpoints.
    #[arg(long, global = true, value_name = "DOMAIN")]
    discovery_srv: Option<String>,
    /// How long a member that did not accept is left alone.
    #[arg(long, global = true, default_value = "1m0s")]
    retry_delay: String,
}

struct Endpoint {
    address: String,
    /// Not asked again before.
    rests_until: Mutex<Option<Instant>>,
}

/// Forwards until the process is ended.
pub fn run(arguments: &[String]) -> Result<std::process::ExitCode> {
    let line = std::iter::once("etcd gateway").chain(arguments.iter().map(String::as_str));
    let start = match Gateway::try_parse_from(line) {
        Ok(Gateway { start, command: Command::Start }) => start,
        Err(error) => {
            let _printed = error.print();
            return Ok(std::process::ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    let outputs = Outputs::open(&["stderr".to_owned()], None)?;
    logging::start_store(StoreLog { level: "info", format: Zap::Json, outputs });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(forward(start))?;
    Ok(std::process::ExitCode::SUCCESS)
}

async fn forward(start: Start) -> Result<()> {
    if start.discovery_srv.is_some() {
        bail!("--discovery-srv is not available here: name the members by --endpoints");
    }
    let delay = super::flags::duration(&start.retry_delay).context("--retry-delay")?;
    let delay = Duration::from_nanos(u64::try_from(delay).unwrap_or(0));
    let bare = |url: &String| {
        let address = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        Endpoint { address: address.to_owned(), rests_until: Mutex::new(None) }
    };
    let endpoints: Arc<[Endpoint]> = start.endpoints.iter().map(bare).collect();
    if endpoints.is_empty() {
        bail!("no --endpoints");
    }
    let listener = TcpListener::bind(&start.listen_addr)
        .await
        .with_context(|| format!("listen tcp {}", start.listen_addr))?;
    tracing::info!(endpoints = start.endpoints.join(","), "ready to proxy client requests");
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        let (client, _) = listener.accept().await?;
        let (endpoints, turn) = (endpoints.clone(), turn.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(client, &endpoints, &turn, delay).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

/// Joins a client with the next member that accepts.
async fn serve(
    mut client: TcpStream,
    endpoints: &[Endpoint],
    turn: &AtomicUsize,
    delay: Duration,
) -> Result<()> {
    let first = turn.fetch_add(1, Ordering::Relaxed);
    for index in 0..endpoints.len() {
        let endpoint = &endpoints[(first + index) % endpoints.len()];
        let rests = *endpoint.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if rests.is_some_and(|until| until > Instant::now()) {
            continue;
        }
        match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(&endpoint.address)).await {
            Ok(Ok(mut member)) => {
                tokio::io::copy_bidirectional(&mut client, &mut member).await?;
                return Ok(());
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(address = endpoint.address, "deactivated endpoint");
                let mut rests = endpoint.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
                *rests = Some(Instant::now() + delay);
            }
        }
    }
    bail!("no member accepts")
}
