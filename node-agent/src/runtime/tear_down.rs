//! Takes away everything that a runtime made outside of its folder, while none runs.

use std::io;
use std::path::Path;
use std::time::Duration;

use keelson_proto::cri;

use super::cgroup::Cgroups;
use super::client::ShimClient;
use super::layout::{self, ContainerRecord, Layout};
use super::mounts;

/// How often a group whose processes are just ending is tried.
const TRIES: usize = 200;

/// Stops every container and shim under a root folder, unmounts what is mounted there and removes
/// the cgroups. The images stay; so do nothing of sandboxes and containers. Blocks. The pod
/// network's own `tear_down` comes after this one. Goes on past what fails; says all of it.
pub fn tear_down(root_dir: &Path, shim_cgroup: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let Ok(root) = std::fs::canonicalize(root_dir) else { return problems };
    let layout = Layout::new(&root);
    let cgroups = match Cgroups::detect() {
        Ok(cgroups) => cgroups,
        Err(error) => return vec![format!("cgroups: {error}")],
    };
    let mut note = |what: &str, outcome: io::Result<()>| {
        if let Err(error) = outcome {
            problems.push(format!("{what}: {error}"));
        }
    };
    let sandboxes = layout::ids(&layout.sandboxes()).unwrap_or_default();
    let containers = layout::ids(&layout.containers()).unwrap_or_default();
    for id in &sandboxes {
        // A shim that does not answer is killed below, with its group.
        let _ = ShimClient::new(layout.sandbox(id)).shut_down();
    }
    for id in &containers {
        let record =
            layout::read_json::<ContainerRecord>(&layout.container(id).join("container.json"));
        if let Ok(record) = record {
            note(&format!("container {id}"), empty_and_remove(&cgroups, &record.cgroup));
        }
    }
    for id in &sandboxes {
        let group = format!("{shim_cgroup}/{id}");
        note(&format!("shim {id}"), empty_and_remove(&cgroups, &group));
        let config =
            layout::read_message::<cri::PodSandboxConfig>(&layout.sandbox(id).join("config.pb"));
        if let Ok(config) = config {
            cgroups.remove_if_empty(&layout::pod_cgroup(&config, id));
        }
    }
    for id in &containers {
        note(&format!("container {id}"), mounts::remove_tree(&layout.container(id)));
    }
    for id in &sandboxes {
        note(&format!("sandbox {id}"), mounts::remove_tree(&layout.sandbox(id)));
    }
    cgroups.remove_if_empty(shim_cgroup);
    cgroups.remove_if_empty("/keelson");
    problems
}

fn empty_and_remove(cgroups: &Cgroups, path: &str) -> io::Result<()> {
    for _ in 0..TRIES {
        cgroups.kill(path);
        match cgroups.remove(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
    cgroups.remove(path)
}
