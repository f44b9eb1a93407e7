//! What `keelson down` takes away of the agent's: mounts, volumes and files of pods, their cgroups.
use std::io;
use std::path::Path;

use crate::pods::Cgroups;
use crate::volumes;

/// Removes everything of all pods below `root_dir` (`AgentConfig::root_dir`), once no agent and no container runs.
/// Goes on after an error and returns the first. Missing is fine; may run again.
pub fn tear_down(root_dir: &Path, cgroup_root: &str) -> io::Result<()> {
    let mut first = Ok(());
    let pods = root_dir.join("pods");
    for pod in std::fs::read_dir(&pods).into_iter().flatten().flatten() {
        // Never remove what is still mounted: it may be somebody's data.
        let removed =
            volumes::tear_down(&pod.path()).and_then(|()| std::fs::remove_dir_all(pod.path()));
        if first.is_ok() {
            first = removed;
        }
    }
    let root = cgroup_root.trim_end_matches('/');
    Cgroups::of_host(None).remove_pod(&format!("{root}/kubepods"));
    first
}
