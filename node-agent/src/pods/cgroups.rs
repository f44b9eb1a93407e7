//! The cgroups above containers: `kubepods`, the classes and the pods, on cgroup v1, v2 and hybrid hosts.
//!
//! Files are written as they are; no library, since the agent needs six of them.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keelson_proto::cri;

/// Where the controllers of this host are mounted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cgroups {
    /// The root of the v2 hierarchy when it has controllers.
    unified: Option<PathBuf>,
    /// v1: mount point by controller.
    controllers: BTreeMap<String, PathBuf>,
    /// Every v1 hierarchy and the unified one: where containers may have left something.
    all: Vec<PathBuf>,
    pids_max: Option<u64>,
}

const V1_CONTROLLERS: &[&str] = &["cpu", "memory", "pids"];

impl Cgroups {
    /// Reads the host's mounts.
    pub(crate) fn of_host(pids_max: Option<u64>) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self { pids_max, ..Self::parse(&mounts) }
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(point) = before.split(' ').nth(4) else { continue };
            let mut after = after.split(' ');
            match (after.next(), after.nth(1)) {
                (Some("cgroup2"), _) => {
                    found.unified = Some(PathBuf::from(point));
                    found.all.push(PathBuf::from(point));
                }
                (Some("cgroup"), Some(options)) => {
                    found.all.push(PathBuf::from(point));
                    for option in options.split(',').filter(|o| V1_CONTROLLERS.contains(o)) {
                        found.controllers.insert(option.to_owned(), PathBuf::from(point));
                    }
                }
                _ => {}
            }
        }
        if !found.controllers.is_empty() {
            // Hybrid: the controllers are v1's, the unified mount has none to give.
            found.unified = None;
        }
        found
    }

    /// Makes the cgroup of a pod with its parents and sets what the pod as a whole may use.
    pub(crate) fn create_pod(
        &self,
        path: &str,
        limits: Option<&cri::LinuxContainerResources>,
    ) -> std::io::Result<()> {
        let path = path.trim_start_matches('/');
        if let Some(root) = &self.unified {
            create_unified(root, path)?;
            if let Some(limits) = limits {
                self.limit_unified(&root.join(path), limits);
            }
            return Ok(());
        }
        for (controller, root) in &self.controllers {
            let folder = root.join(path);
            std::fs::create_dir_all(&folder)?;
            if let Some(limits) = limits {
                self.limit_v1(controller, &folder, limits);
            }
        }
        Ok(())
    }

    /// Removes the cgroup of a pod and what containers left below it.
    pub(crate) fn remove_pod(&self, path: &str) {
        let path = path.trim_start_matches('/');
        for root in &self.all {
            remove_tree(&root.join(path));
        }
    }

    fn limit_v1(&self, controller: &str, folder: &Path, limits: &cri::LinuxContainerResources) {
        match controller {
            "cpu" => {
                write(folder, "cpu.shares", limits.cpu_shares);
                if limits.cpu_quota > 0 {
                    write(folder, "cpu.cfs_period_us", limits.cpu_period);
                    write(folder, "cpu.cfs_quota_us", limits.cpu_quota);
                }
            }
            "memory" if limits.memory_limit_in_bytes > 0 => {
                write(folder, "memory.limit_in_bytes", limits.memory_limit_in_bytes);
            }
            "pids" => self.pids_max.iter().for_each(|max| write(folder, "pids.max", max)),
            _ => {}
        }
    }

    fn limit_unified(&self, folder: &Path, limits: &cri::LinuxContainerResources) {
        let weight = 1 + (limits.cpu_shares.max(2) - 2) * 9999 / 262_142;
        write(folder, "cpu.weight", weight);
        if limits.cpu_quota > 0 {
            write(folder, "cpu.max", format!("{} {}", limits.cpu_quota, limits.cpu_period));
        }
        if limits.memory_limit_in_bytes > 0 {
            write(folder, "memory.max", limits.memory_limit_in_bytes);
        }
        self.pids_max.iter().for_each(|max| write(folder, "pids.max", max));
    }
}

fn create_unified(root: &Path, path: &str) -> std::io::Result<()> {
    let mut folder = root.to_path_buf();
    for part in path.split('/') {
        // Children have only the controllers that their parent hands down.
        for controller in ["cpu", "memory", "pids", "cpuset", "io", "hugetlb"] {
            let _ = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        folder.push(part);
        if let Err(error) = std::fs::create_dir(&folder)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
    }
    Ok(())
}

fn write(folder: &Path, file: &str, value: impl ToString) {
    let path = folder.join(file);
    if let Err(error) = std::fs::write(&path, value.to_string()) {
        tracing::debug!(%error, path = %path.display(), "cgroup value not set");
    }
}

fn remove_tree(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    if let Err(error) = std::fs::remove_dir(folder) {
        tracing::debug!(%error, path = %folder.display(), "cgroup not removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hosts_are_v1() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = Cgroups::parse(v1);
        assert_eq!(found.unified, None);
        assert_eq!(found.controllers["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        let v2 = Cgroups::parse("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!(v2.unified.as_deref(), Some(Path::new("/sys/fs/cgroup")));
    }
}
