//! What the network keeps on disk: one file a sandbox, and one that names what is ours on the host.
//!
//! A record is written before anything is made for its sandbox and removed after everything of it is
//! gone, so a crash leaves at worst a record without a link. Files are replaced by rename. They are
//! not synced: after a power loss the links are gone too, and a file that cannot be read is a leak
//! to remove.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::api::{HostPort, PodNetworkError};

/// Format of the files; a number that is not known is refused.
const VERSION: u32 = 1;

/// What one sandbox holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PodRecord {
    pub(super) version: u32,
    pub(super) sandbox_id: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) netns_path: PathBuf,
    pub(super) link: String,
    pub(super) ips: Vec<IpAddr>,
    pub(super) host_ports: Vec<HostPort>,
}

/// What is ours on the host beside pods: all that tear-down needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct HostRecord {
    pub(super) version: u32,
    pub(super) tables: Vec<String>,
    pub(super) link_prefix: String,
    /// The node's own pod ranges, in force until others are set.
    pub(super) pod_ranges: Vec<IpNet>,
    pub(super) node_addresses: Vec<IpAddr>,
    pub(super) routes: Vec<IpNet>,
}

/// The directory with the records.
#[derive(Clone, Debug)]
pub(super) struct Records {
    dir: PathBuf,
}

impl PodRecord {
    pub(super) const VERSION: u32 = VERSION;
}

impl HostRecord {
    pub(super) const VERSION: u32 = VERSION;
}

impl Records {
    /// Opens, and makes when missing, the directory.
    pub(super) fn open(state_dir: &Path) -> Result<Self, PodNetworkError> {
        let records = Self { dir: state_dir.to_owned() };
        let pods = records.pods();
        fs::create_dir_all(&pods).map_err(at(&pods))?;
        Ok(records)
    }

    /// Reads all sandboxes' records; removes files that cannot be read, since nothing can be done
    /// with them and the runtime's next call writes them anew.
    pub(super) fn load_pods(&self) -> Result<Vec<PodRecord>, PodNetworkError> {
        let dir = self.pods();
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(at(&dir))? {
            let path = entry.map_err(at(&dir))?.path();
            match read::<PodRecord>(&path) {
                Ok(Some(record)) if record.version == VERSION => found.push(record),
                Ok(_) | Err(_) => {
                    tracing::warn!(file = %path.display(), "removing an unreadable pod network record");
                    fs::remove_file(&path).map_err(at(&path))?;
                }
            }
        }
        found.sort_by(|a, b| a.sandbox_id.cmp(&b.sandbox_id));
        Ok(found)
    }

    pub(super) fn save_pod(&self, record: &PodRecord) -> Result<(), PodNetworkError> {
        write(&self.pod_path(&record.sandbox_id), record)
    }

    pub(super) fn remove_pod(&self, sandbox_id: &str) -> Result<(), PodNetworkError> {
        let path = self.pod_path(sandbox_id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn load_host(&self) -> Result<Option<HostRecord>, PodNetworkError> {
        let path = self.host_path();
        match read::<HostRecord>(&path) {
            Ok(record) => Ok(record),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    pub(super) fn save_host(&self, record: &HostRecord) -> Result<(), PodNetworkError> {
        write(&self.host_path(), record)
    }

    fn pods(&self) -> PathBuf {
        self.dir.join("pods")
    }

    fn pod_path(&self, sandbox_id: &str) -> PathBuf {
        self.pods().join(format!("{sandbox_id}.json"))
    }

    fn host_path(&self) -> PathBuf {
        self.dir.join("host.json")
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> PodNetworkError + '_ {
    move |source| PodNetworkError::State { path: path.to_owned(), source }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), PodNetworkError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| at(path)(io::Error::from(e)))?;
    let partial = path.with_extension("partial");
    fs::write(&partial, text).map_err(at(&partial))?;
    fs::rename(&partial, path).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_torn_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let record = PodRecord {
            version: PodRecord::VERSION,
            sandbox_id: "abc".into(),
            namespace: "default".into(),
            name: "web".into(),
            uid: "u".into(),
            netns_path: "/run/netns/abc".into(),
            link: "klnabc".into(),
            ips: vec!["10.1.2.3".parse().unwrap()],
            host_ports: Vec::new(),
        };
        records.save_pod(&record).unwrap();
        fs::write(dir.path().join("pods/torn.json"), b"{\"version\":").unwrap();
        fs::write(dir.path().join("pods/abc.partial"), b"").unwrap();
        assert_eq!(records.load_pods().unwrap(), vec![record]);
        assert_eq!(fs::read_dir(dir.path().join("pods")).unwrap().count(), 1);
        records.remove_pod("abc").unwrap();
        records.remove_pod("abc").unwrap();
        assert!(records.load_pods().unwrap().is_empty());
    }
}
