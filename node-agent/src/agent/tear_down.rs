//! What `keelson down` takes away of the agent's: mounts, volumes and files of pods, and the cgroups above them.
use std::io;
use std::path::Path;

use crate::pods::Cgroups;
use crate::volumes;

/// Removes the volumes and files of all pods below `root_dir` (`AgentConfig::root_dir`), once neither agent nor
/// containers run, and the empty cgroups that pods leave. Goes on after an error and returns the first.
/// Missing is fine; may run again.
pub fn tear_down_volumes(root_dir: &Path) -> io::Result<()> {
    let mut first = Ok(());
    for pod in std::fs::read_dir(root_dir.join("pods")).into_iter().flatten().flatten() {
        // Nothing is removed that may still be mounted: it may be somebody's data.
        let removed =
            volumes::tear_down(&pod.path()).and_then(|()| std::fs::remove_dir_all(pod.path()));
        if first.is_ok() {
            first = removed;
        }
    }
    // Only empty ones go: another node on this machine keeps its own.
    Cgroups::of_host(None).remove_pod("kubepods");
    first
}
