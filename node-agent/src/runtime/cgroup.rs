//! Control groups on v1, v2 and hybrid hosts: one path, a folder in each hierarchy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keelson_proto::cri::LinuxContainerResources;

/// Below here all hierarchies are mounted, on the host and in containers.
const ROOT: &str = "/sys/fs/cgroup";

/// One mounted hierarchy.
#[derive(Debug, Clone)]
struct Hierarchy {
    mount: PathBuf,
    /// The v1 controllers; empty for v2 and for a named hierarchy without controllers.
    controllers: Vec<String>,
    v2: bool,
}

/// The host's hierarchies.
#[derive(Debug, Clone)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    unified: bool,
}

/// What a group uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in nanoseconds, since the group was made.
    pub cpu_nanos: u64,
    /// All memory charged to it.
    pub memory_bytes: u64,
    /// Memory that cannot simply be dropped.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// The limit, if there is one.
    pub memory_limit_bytes: Option<u64>,
    /// Page faults.
    pub faults: u64,
    /// Page faults that read from disk.
    pub major_faults: u64,
    /// Processes and threads.
    pub tasks: u64,
}

impl Cgroups {
    /// Finds out what this host has.
    pub fn detect() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut hierarchies = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            let kind = right.next().unwrap_or_default();
            let options = right.nth(1).unwrap_or_default();
            // A container of its own may show hierarchies elsewhere: only the host's count.
            if !mount.starts_with(ROOT) {
                continue;
            }
            let known = |name: &&str| {
                !matches!(*name, "rw" | "ro" | "xattr" | "clone_children" | "noprefix")
                    && !name.contains('=')
            };
            match kind {
                "cgroup" => {
                    let controllers = options.split(',').filter(known).map(str::to_owned).collect();
                    hierarchies.push(Hierarchy { mount, controllers, v2: false });
                }
                "cgroup2" => {
                    hierarchies.push(Hierarchy { mount, controllers: Vec::new(), v2: true });
                }
                _ => {}
            }
        }
        let unified = hierarchies.iter().all(|one| one.v2);
        Self { hierarchies, unified }
    }

    /// Whether v2 alone manages resources.
    pub fn unified(&self) -> bool {
        self.unified
    }

    /// Where a container sees hierarchies, the outermost first.
    pub fn mount_points(&self) -> Vec<PathBuf> {
        let mut all = vec![PathBuf::from(ROOT)];
        all.extend(self.hierarchies.iter().map(|one| one.mount.clone()));
        all.sort();
        all.dedup();
        all
    }

    /// The group's folder in every hierarchy.
    pub fn folders(&self, path: &str) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|one| one.folder(path)).collect()
    }

    /// The group's folder in those hierarchies that a container's processes are put into.
    pub fn container_folders(&self, path: &str) -> Vec<PathBuf> {
        let has_part = |one: &&Hierarchy| self.unified || !one.controllers.is_empty();
        self.hierarchies.iter().filter(has_part).map(|one| one.folder(path)).collect()
    }

    fn of(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|one| self.unified || one.controllers.iter().any(|name| name == controller))
    }

    /// Makes a group that will have groups below it, but no processes.
    pub fn create(&self, path: &str) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            let mut folder = hierarchy.mount.clone();
            for part in parts(path) {
                if hierarchy.v2 {
                    enable_all(&folder);
                }
                let parent = folder.clone();
                folder.push(part);
                match fs::create_dir(&folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    if !hierarchy.v2 {
                        inherit(&parent, &folder, file);
                    }
                }
            }
            if hierarchy.v2 && self.unified {
                enable_all(&folder);
            }
        }
        Ok(())
    }

    /// Sets the limits that are given; zero means: as it is.
    pub fn set(&self, path: &str, wanted: &LinuxContainerResources) -> io::Result<()> {
        for (controller, file, value) in self.settings(wanted) {
            let Some(hierarchy) = self.of(controller) else { continue };
            let file = hierarchy.folder(path).join(file);
            fs::write(&file, &value).map_err(|error| {
                io::Error::new(error.kind(), format!("{}={value}: {error}", file.display()))
            })?;
        }
        Ok(())
    }

    fn settings(&self, wanted: &LinuxContainerResources) -> Vec<(&'static str, String, String)> {
        let mut settings = Vec::new();
        let mut add = |controller: &'static str, v1: &str, v2: &str, value: String| {
            let file = if self.unified { v2 } else { v1 };
            if !file.is_empty() {
                settings.push((controller, file.to_owned(), value));
            }
        };
        if wanted.cpu_shares > 0 {
            let value = match self.unified {
                true => weight(wanted.cpu_shares),
                false => wanted.cpu_shares,
            };
            add("cpu", "cpu.shares", "cpu.weight", value.to_string());
        }
        let period = if wanted.cpu_period > 0 { wanted.cpu_period } else { 100_000 };
        if wanted.cpu_quota != 0 {
            let quota = match (self.unified, wanted.cpu_quota) {
                (true, ..0) => format!("max {period}"),
                (true, quota) => format!("{quota} {period}"),
                (false, quota) => quota.to_string(),
            };
            add("cpu", "cpu.cfs_period_us", "", period.to_string());
            add("cpu", "cpu.cfs_quota_us", "cpu.max", quota);
        }
        if wanted.memory_limit_in_bytes != 0 {
            let value = match (self.unified, wanted.memory_limit_in_bytes) {
                (true, ..0) => "max".to_owned(),
                (_, limit) => limit.to_string(),
            };
            add("memory", "memory.limit_in_bytes", "memory.max", value);
        }
        if !wanted.cpuset_cpus.is_empty() {
            add("cpuset", "cpuset.cpus", "cpuset.cpus", wanted.cpuset_cpus.clone());
        }
        if !wanted.cpuset_mems.is_empty() {
            add("cpuset", "cpuset.mems", "cpuset.mems", wanted.cpuset_mems.clone());
        }
        if self.unified {
            for (file, value) in &wanted.unified {
                add("", "", file, value.clone());
            }
        }
        settings
    }

    /// Kills what is in the group and the groups below it.
    pub fn kill(&self, path: &str) {
        for folder in self.folders(path) {
            kill_tree(&folder);
        }
    }

    /// Removes the group and the groups below it; they must have no processes. Gone is fine.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let mut outcome = Ok(());
        for folder in self.folders(path) {
            if let Err(error) = remove_tree(&folder) {
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Removes the group if nothing is in it or below it.
    pub fn remove_if_empty(&self, path: &str) {
        for folder in self.folders(path) {
            let _ = fs::remove_dir(folder);
        }
    }

    /// What the group uses; zero for what cannot be read.
    pub fn usage(&self, path: &str) -> Usage {
        let folder = |controller| self.of(controller).map(|one| one.folder(path));
        let mut usage = Usage::default();
        if self.unified {
            let Some(folder) = folder("") else { return usage };
            usage.cpu_nanos = field(&folder.join("cpu.stat"), "usage_usec") * 1000;
            usage.memory_bytes = number(&folder.join("memory.current"));
            usage.memory_limit_bytes = limit(&folder.join("memory.max"));
            let stat = folder.join("memory.stat");
            usage.rss_bytes = field(&stat, "anon");
            let idle = field(&stat, "inactive_file");
            usage.working_set_bytes = usage.memory_bytes.saturating_sub(idle);
            usage.faults = field(&stat, "pgfault");
            usage.major_faults = field(&stat, "pgmajfault");
            usage.tasks = number(&folder.join("pids.current"));
            return usage;
        }
        if let Some(folder) = folder("cpuacct") {
            usage.cpu_nanos = number(&folder.join("cpuacct.usage"));
        }
        if let Some(folder) = folder("memory") {
            usage.memory_bytes = number(&folder.join("memory.usage_in_bytes"));
            usage.memory_limit_bytes = limit(&folder.join("memory.limit_in_bytes"));
            let stat = folder.join("memory.stat");
            usage.rss_bytes = field(&stat, "total_rss");
            let idle = field(&stat, "total_inactive_file");
            usage.working_set_bytes = usage.memory_bytes.saturating_sub(idle);
            usage.faults = field(&stat, "total_pgfault");
            usage.major_faults = field(&stat, "total_pgmajfault");
        }
        if let Some(folder) = folder("pids") {
            usage.tasks = number(&folder.join("pids.current"));
        }
        usage
    }
}

impl Hierarchy {
    fn folder(&self, path: &str) -> PathBuf {
        let mut folder = self.mount.clone();
        folder.extend(parts(path));
        folder
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..")
}

/// v1 shares as a v2 weight.
///
/// upstream: Kubernetes node resources, "1 + (shares - 2) * 9999 / 262142"
pub fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn enable_all(folder: &Path) {
    let Ok(all) = fs::read_to_string(folder.join("cgroup.controllers")) else { return };
    for controller in all.split_whitespace() {
        // Each on its own: one that cannot be had must not keep the others away.
        let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// On v1 a new cpuset is empty and takes no process.
fn inherit(parent: &Path, folder: &Path, file: &str) {
    if let (Ok(theirs), Ok(own)) =
        (fs::read_to_string(parent.join(file)), fs::read_to_string(folder.join(file)))
        && own.trim().is_empty()
    {
        let _ = fs::write(folder.join(file), theirs.trim());
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn kill_tree(folder: &Path) {
    for child in below(folder) {
        kill_tree(&child);
    }
    let Ok(pids) = fs::read_to_string(folder.join("cgroup.procs")) else { return };
    for pid in pids.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 1) {
        let _ = crate::sys::process::kill(pid, libc::SIGKILL);
    }
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    for child in below(folder) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn number(file: &Path) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A limit so high that it is none counts as none.
fn limit(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

fn field(file: &Path, name: &str) -> u64 {
    let Ok(text) = fs::read_to_string(file) else { return 0 };
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_apart() {
        let v1 = "\
31 30 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw,mode=755
32 31 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
33 31 0:28 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
34 31 0:29 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
35 31 0:30 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let hybrid = Cgroups::parse(v1);
        assert!(!hybrid.unified());
        assert_eq!(hybrid.mount_points()[0], Path::new(ROOT));
        assert!(hybrid.mount_points().contains(&"/sys/fs/cgroup/unified".into()));
        assert_eq!(hybrid.folders("/a/b").len(), 4);
        assert_eq!(
            hybrid.container_folders("/a/b"),
            [
                PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/a/b"),
                PathBuf::from("/sys/fs/cgroup/memory/a/b")
            ]
        );
        let v2 = Cgroups::parse("31 30 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        assert!(v2.unified());
        assert_eq!(v2.container_folders("../x"), [PathBuf::from("/sys/fs/cgroup/x")]);
    }

    #[test]
    fn limits_are_written_as_each_version_wants_them() {
        let wanted = LinuxContainerResources {
            cpu_shares: 512,
            cpu_quota: 50_000,
            memory_limit_in_bytes: 1 << 20,
            ..LinuxContainerResources::default()
        };
        let v2 = Cgroups { hierarchies: Vec::new(), unified: true };
        let texts = |cgroups: &Cgroups| -> Vec<String> {
            let settings = cgroups.settings(&wanted);
            settings.into_iter().map(|(_, file, value)| format!("{file}={value}")).collect()
        };
        assert_eq!(texts(&v2), ["cpu.weight=20", "cpu.max=50000 100000", "memory.max=1048576"]);
        let v1 = Cgroups { hierarchies: Vec::new(), unified: false };
        assert_eq!(
            texts(&v1),
            [
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=1048576"
            ]
        );
    }
}
