//! `keelson store export`: every key that exists, as puts that stock etcdctl reads, or as JSON lines.
//!
//! The puts come as a shell script of `etcdctl txn` calls with what they read from their standard
//! input: a transaction takes many keys at once, and its lines may quote any byte.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use clap::Args;
use keelson_client::{GrpcStore, GrpcStoreConfig};
use keelson_proto::etcdserverpb as pb;
use keelson_proto::mvccpb::KeyValue;
use keelson_storage::engine::{Direction, Reader as _};
use keelson_storage::mvcc::keys;
use pb::auth_client::AuthClient;
use pb::kv_client::KvClient;
use prost::Message as _;
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};

use super::offline;

/// What etcd takes in one transaction, by default.
const TXN_OPS: usize = 100;
/// And about in bytes: a single larger value has a transaction of its own.
const TXN_BYTES: usize = 512 << 10;
/// Keys asked for at once from a member that runs.
const PAGE_KEYS: i64 = 500;
/// Ends what etcdctl reads; no quoted line is equal to it.
const END: &str = "END";

/// Where the keys are read from.
#[derive(Debug, Clone, Args)]
pub struct Export {
    /// The data directory of a member that does not run.
    #[arg(long, value_name = "DIR", conflicts_with = "endpoints")]
    data_dir: Option<PathBuf>,
    /// Client URLs of members that run, of this store or of an etcd.
    #[arg(long, value_delimiter = ',', required_unless_present = "data_dir")]
    endpoints: Vec<String>,
    /// The authority their certificates come from (PEM).
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The certificate shown to them (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// NAME:PASSWORD, where authentication is on.
    #[arg(long)]
    user: Option<String>,
}

/// How they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A shell script of etcdctl calls.
    Script,
    /// An object a line, with bytes in base64.
    JsonLines,
}

impl Export {
    /// Writes all keys to standard output.
    pub fn run(&self, form: Form) -> Result<()> {
        let mut out = Writer::new(form, io::BufWriter::new(io::stdout().lock()))?;
        match &self.data_dir {
            Some(dir) => read_files(dir, &mut out)?,
            None => {
                crate::tls::install_provider();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.read_members(&mut out))?;
            }
        }
        out.finish().context("write the output")
    }

    /// One revision, page by page.
    async fn read_members(&self, out: &mut Writer<impl Write>) -> Result<()> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("read {}", path.display()))
        };
        let with_scheme = |endpoint: &String| match endpoint.contains("://") {
            true => endpoint.clone(),
            false if self.cacert.is_some() || self.cert.is_some() => format!("https://{endpoint}"),
            false => format!("http://{endpoint}"),
        };
        let store = GrpcStore::new(&GrpcStoreConfig {
            endpoints: self.endpoints.iter().map(with_scheme).collect(),
            ca_pem: self.cacert.as_ref().map(read).transpose()?,
            identity_pem: match (&self.cert, &self.key) {
                (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
                _ => None,
            },
            connections: 1,
        })?;
        let token = self.token(&store).await?;
        let with_token = |mut request: tonic::Request<()>| {
            if let Some(token) = &token {
                request.metadata_mut().insert("token", token.clone());
            }
            Ok(request)
        };
        let mut client = KvClient::with_interceptor(store.channel(), with_token)
            .max_decoding_message_size(i32::MAX as usize);
        let mut request = pb::RangeRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            limit: PAGE_KEYS,
            ..Default::default()
        };
        loop {
            let page = client.range(request.clone()).await?.into_inner();
            for kv in &page.kvs {
                out.put(kv)?;
            }
            let (true, Some(last)) = (page.more, page.kvs.last()) else { return Ok(()) };
            // What is written meanwhile does not count.
            request.revision = request.revision.max(page.header.map_or(0, |head| head.revision));
            request.key = [&last.key[..], b"\0"].concat().into();
        }
    }

    async fn token(&self, store: &GrpcStore) -> Result<Option<MetadataValue<Ascii>>> {
        let Some(user) = &self.user else { return Ok(None) };
        let Some((name, password)) = user.split_once(':') else {
            bail!("--user is NAME:PASSWORD");
        };
        let (name, password) = (name.to_owned(), password.to_owned());
        let asked = pb::AuthenticateRequest { name, password };
        let answer = AuthClient::new(store.channel()).authenticate(asked).await?.into_inner();
        Ok(Some(answer.token.parse().context("the token")?))
    }
}

fn read_files(dir: &Path, out: &mut Writer<impl Write>) -> Result<()> {
    let member = offline::open(dir)?;
    let (start, end) = keys::newest_bounds(b"", b"\0");
    let mut failed = None;
    member.engine.walk(&start, &end, Direction::Forward, &mut |_, value| {
        let put = KeyValue::decode(value).context("a key is damaged");
        match put.and_then(|kv| Ok(out.put(&kv)?)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// Puts on their way out.
struct Writer<W> {
    form: Form,
    out: W,
    /// Of the transaction begun.
    ops: usize,
    bytes: usize,
    leased: u64,
}

impl<W: Write> Writer<W> {
    fn new(form: Form, mut out: W) -> Result<Self> {
        if form == Form::Script {
            writeln!(out, "#!/bin/sh")?;
            writeln!(out, "# Every key, for ETCDCTL_ENDPOINTS=... sh THIS-FILE")?;
            writeln!(out, "set -e\nexport ETCDCTL_API=3")?;
        }
        Ok(Self { form, out, ops: 0, bytes: 0, leased: 0 })
    }

    fn put(&mut self, kv: &KeyValue) -> io::Result<()> {
        self.leased += u64::from(kv.lease != 0);
        if self.form == Form::JsonLines {
            let line = json!({
                "key": BASE64_STANDARD.encode(&kv.key),
                "value": BASE64_STANDARD.encode(&kv.value),
                "create_revision": kv.create_revision,
                "mod_revision": kv.mod_revision,
                "version": kv.version,
                "lease": kv.lease,
            });
            return writeln!(self.out, "{line}");
        }
        let bytes = kv.key.len() + kv.value.len();
        if self.ops == TXN_OPS || (self.ops > 0 && self.bytes + bytes > TXN_BYTES) {
            self.end_txn()?;
        }
        if self.ops == 0 {
            // No compares: what follows is done always.
            writeln!(self.out, "etcdctl txn >/dev/null <<'{END}'\n")?;
        }
        self.ops += 1;
        self.bytes += bytes;
        // What begins with a dash would be taken for a flag.
        writeln!(self.out, "put -- {} {}", quoted(&kv.key), quoted(&kv.value))
    }

    /// An empty line ends the puts, another what would be done otherwise: nothing.
    fn end_txn(&mut self) -> io::Result<()> {
        (self.ops, self.bytes) = (0, 0);
        writeln!(self.out, "\n\n{END}")
    }

    fn finish(mut self) -> io::Result<()> {
        if self.ops > 0 {
            self.end_txn()?;
        }
        if self.form == Form::Script && self.leased > 0 {
            writeln!(self.out, "# {} of these keys had leases, and stay now.", self.leased)?;
        }
        self.out.flush()
    }
}

/// As Go quotes strings, in ASCII alone.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(*byte)),
            byte => {
                let _never_fails = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(kvs: &[(&[u8], Bytes)]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(Form::Script, &mut out).unwrap();
        for (key, value) in kvs {
            let key = Bytes::copy_from_slice(key);
            writer.put(&KeyValue { key, value: value.clone(), ..Default::default() }).unwrap();
        }
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn any_byte_is_quoted() {
        let text = script(&[(b"-a\"\\\n\0\xff'$", Bytes::from_static(b""))]);
        assert!(text.contains("\nput -- \"-a\\\"\\\\\\n\\x00\\xff'$\" \"\"\n\n\nEND\n"), "{text}");
    }

    #[test]
    fn transactions_have_a_size_that_etcd_takes() {
        let small: Vec<(&[u8], Bytes)> = vec![(b"k", Bytes::from_static(b"v")); 250];
        assert_eq!(script(&small).matches("etcdctl txn").count(), 3);
        let large: Vec<(&[u8], Bytes)> = vec![(b"k", Bytes::from(vec![b'v'; 300 << 10])); 3];
        assert_eq!(script(&large).matches("etcdctl txn").count(), 3);
        assert_eq!(script(&[]).matches("etcdctl").count(), 0);
    }
}
