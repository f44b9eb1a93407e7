//! What this machine is and has, read once when the agent starts.
use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::agent::AgentConfig;
use crate::pods::Quantity;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) cpus: i64,
    pub(crate) memory_bytes: i64,
    storage_bytes: u64,
    /// Bytes that huge pages of a size hold, by resource name.
    hugepages: BTreeMap<String, u64>,
    machine_id: String,
    system_uuid: String,
    pub(crate) boot_id: String,
    kernel: String,
    os_image: String,
}

impl Machine {
    /// Reads the machine; what cannot be read is empty or zero.
    pub(crate) fn read(data_dir: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine_id = read("/etc/machine-id");
        let system_uuid = read("/sys/class/dmi/id/product_uuid");
        Self {
            cpus: std::thread::available_parallelism()
                .map_or(1, |n| i64::try_from(n.get()).unwrap_or(i64::MAX)),
            memory_bytes: memory_total(&read("/proc/meminfo")),
            storage_bytes: storage_bytes(data_dir),
            hugepages: hugepages(),
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: os_image(&read("/etc/os-release")),
        }
    }

    /// All that the machine has.
    pub(crate) fn capacity(&self, config: &AgentConfig) -> BTreeMap<String, ApiQuantity> {
        let mut all = BTreeMap::from([
            ("cpu".to_owned(), ApiQuantity(self.cpus.to_string())),
            ("memory".to_owned(), ApiQuantity(format!("{}Ki", self.memory_bytes / 1024))),
            ("pods".to_owned(), ApiQuantity(config.max_pods.to_string())),
            (
                "ephemeral-storage".to_owned(),
                ApiQuantity(format!("{}Ki", self.storage_bytes / 1024)),
            ),
        ]);
        for (name, bytes) in &self.hugepages {
            let value = if *bytes == 0 { "0".into() } else { format!("{}Ki", bytes / 1024) };
            all.insert(name.clone(), ApiQuantity(value));
        }
        all
    }

    /// What pods may use of it.
    pub(crate) fn allocatable_quantities(
        &self,
        config: &AgentConfig,
    ) -> BTreeMap<String, ApiQuantity> {
        let mut all = self.capacity(config);
        let reserved = i64::try_from(config.reserved_cpu_milli).unwrap_or(i64::MAX);
        if reserved > 0 {
            let milli = (self.cpus * 1000 - reserved).max(0);
            all.insert("cpu".into(), ApiQuantity(format!("{milli}m")));
        }
        let kept = config.reserved_memory_bytes + config.eviction_memory_bytes;
        let memory = (self.memory_bytes - i64::try_from(kept).unwrap_or(i64::MAX)).max(0);
        all.insert("memory".into(), ApiQuantity(format!("{}Ki", memory / 1024)));
        // The hard eviction threshold of the node's file system is 10 %.
        let storage = self.storage_bytes / 10 * 9;
        all.insert("ephemeral-storage".into(), ApiQuantity(storage.to_string()));
        all
    }

    /// The same as numbers.
    pub(crate) fn allocatable(&self, config: &AgentConfig) -> BTreeMap<String, Quantity> {
        let all = self.allocatable_quantities(config);
        all.iter().map(|(name, quantity)| (name.clone(), Quantity::of(quantity))).collect()
    }

    /// `status.nodeInfo`.
    pub(crate) fn node_info(&self, runtime: &str, kubelet_version: &str) -> NodeSystemInfo {
        NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: self.boot_id.clone(),
            container_runtime_version: runtime.to_owned(),
            kernel_version: self.kernel.clone(),
            kubelet_version: kubelet_version.to_owned(),
            machine_id: self.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: self.os_image.clone(),
            system_uuid: self.system_uuid.clone(),
            ..Default::default()
        }
    }
}

/// The machine's architecture in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn memory_total(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<i64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn storage_bytes(dir: &Path) -> u64 {
    // The directory may not be there yet; its file system is.
    let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    nix::sys::statvfs::statvfs(existing)
        .map(|fs| fs.blocks().saturating_mul(fs.fragment_size()))
        .unwrap_or_default()
}

fn hugepages() -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return found };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugepages-").and_then(|n| n.strip_suffix("kB"));
        let Some(kilobytes) = size.and_then(|size| size.parse::<u64>().ok()) else { continue };
        let count = std::fs::read_to_string(entry.path().join("nr_hugepages")).unwrap_or_default();
        let count: u64 = count.trim().parse().unwrap_or_default();
        let size = match kilobytes {
            k if k % (1 << 20) == 0 => format!("{}Gi", k >> 20),
            k if k % (1 << 10) == 0 => format!("{}Mi", k >> 10),
            k => format!("{k}Ki"),
        };
        found.insert(format!("hugepages-{size}"), count * kilobytes * 1024);
    }
    found
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocatable_is_what_is_left() {
        let machine = Machine {
            cpus: 2,
            memory_bytes: 1 << 30,
            storage_bytes: 1000 << 10,
            ..Default::default()
        };
        let config = AgentConfig { reserved_cpu_milli: 500, ..Default::default() };
        let capacity = machine.capacity(&config);
        assert_eq!(capacity["memory"].0, "1048576Ki");
        assert_eq!(capacity["pods"].0, "110");
        let allocatable = machine.allocatable_quantities(&config);
        assert_eq!(allocatable["cpu"].0, "1500m");
        assert_eq!(allocatable["memory"].0, "946176Ki");
        assert_eq!(allocatable["ephemeral-storage"].0, "921600");
    }

    #[test]
    fn files_of_the_machine_are_read() {
        assert_eq!(memory_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16384 * 1024);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
    }
}
