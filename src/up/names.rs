//! Names of things on the host, so that two data directories can be up side by side.

use std::path::Path;

/// What this data directory calls its things.
pub struct Names {
    suffix: Option<String>,
}

/// The usual names for the usual directory; a short mark of the path for any other.
pub fn of(root: &Path) -> Names {
    if root == Path::new("/var/lib/keelson") {
        return Names { suffix: None };
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, root.as_os_str().as_encoded_bytes());
    let suffix = hash.as_ref().iter().take(2).map(|byte| format!("{byte:02x}")).collect();
    Names { suffix: Some(suffix) }
}

impl Names {
    fn table(&self, base: &str) -> String {
        self.suffix.as_ref().map_or_else(|| base.to_owned(), |mark| format!("{base}-{mark}"))
    }

    /// The table of pod rules.
    pub fn pod_table(&self) -> String {
        self.table("keelson-pods")
    }

    /// The table of Service rules.
    pub fn service_table(&self) -> String {
        self.table("keelson-services")
    }

    /// The cgroup of the pods' shims.
    pub fn shim_cgroup(&self) -> String {
        self.table("/keelson-shims")
    }

    /// How links begin.
    pub fn link_prefix(&self) -> String {
        self.suffix.as_ref().map_or_else(|| "kln".to_owned(), |mark| format!("k{}", &mark[..3]))
    }
}
