//! Rotates container logs that grew too large: renamed, reopened through CRI, compressed, the oldest removed.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use keelson_proto::cri;

use crate::agent::Context;

const INTERVAL: Duration = Duration::from_secs(10);

/// Runs until dropped.
pub(crate) async fn run(cx: Arc<Context>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let (root, max) = (cx.config.pod_logs_dir.clone(), cx.config.container_log_max_bytes);
        if oversized(&root, max).is_empty() {
            continue;
        }
        if let Err(error) = rotate_all(&cx).await {
            tracing::warn!(%error, "log rotation");
        }
    }
}

/// The log files below `POD/CONTAINER/` that are larger than allowed.
fn oversized(root: &Path, max: u64) -> Vec<PathBuf> {
    let entries = |dir: &Path| {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
    };
    let files = entries(root).flat_map(|pod| entries(&pod).collect::<Vec<_>>());
    let files = files.flat_map(|container| entries(&container).collect::<Vec<_>>());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.filter(|path| path.metadata().is_ok_and(|file| file.len() > max)).collect()
}

async fn rotate_all(cx: &Context) -> Result<(), tonic::Status> {
    let mut runtime = cx.cri.runtime.clone();
    let filter = cri::ContainerFilter {
        state: Some(cri::ContainerStateValue {
            state: cri::ContainerState::ContainerRunning.into(),
        }),
        ..Default::default()
    };
    let listed =
        runtime.list_containers(cri::ListContainersRequest { filter: Some(filter) }).await?;
    let large = oversized(&cx.config.pod_logs_dir, cx.config.container_log_max_bytes);
    for container in listed.into_inner().containers {
        let id = container.id;
        let request = cri::ContainerStatusRequest { container_id: id.clone(), verbose: false };
        let answer = runtime.container_status(request).await?.into_inner();
        let Some(path) = answer.status.map(|s| PathBuf::from(s.log_path)) else { continue };
        if !large.contains(&path) {
            continue;
        }
        let keep = cx.config.container_log_max_files;
        let moved = match move_away(&path, Timestamp::now()) {
            Ok(moved) => moved,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "log not rotated");
                continue;
            }
        };
        let request = cri::ReopenContainerLogRequest { container_id: id };
        if let Err(status) = runtime.reopen_container_log(request).await {
            // The container writes on into the file that was moved: it gets its name back.
            let restored = std::fs::rename(&moved, &path);
            tracing::warn!(%status, ?restored, path = %path.display(), "log not reopened");
            continue;
        }
        let tidied = tokio::task::spawn_blocking(move || tidy(&path, keep)).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, "old logs not compressed");
        }
    }
    Ok(())
}

fn move_away(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let moved = path.with_file_name(format!("{name}.{}", now.strftime("%Y%m%d-%H%M%S")));
    std::fs::rename(path, &moved)?;
    Ok(moved)
}

/// Removes what is too old and compresses the rest, but for the newest, which readers may still be at.
fn tidy(path: &Path, keep: usize) -> io::Result<()> {
    let name = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.file_name().to_string_lossy().into_owned();
        if found.starts_with(&name) {
            if found.ends_with(".tmp") {
                std::fs::remove_file(entry.path())?;
            } else {
                rotated.push(entry.path());
            }
        }
    }
    rotated.sort();
    let surplus = rotated.len().saturating_sub(keep.saturating_sub(1));
    for old in rotated.drain(..surplus) {
        std::fs::remove_file(old)?;
    }
    rotated.pop();
    for old in rotated.iter().filter(|path| path.extension().is_none_or(|end| end != "gz")) {
        let packed = format!("{}.gz", old.display());
        let unfinished = format!("{packed}.tmp");
        let mut out = GzEncoder::new(std::fs::File::create(&unfinished)?, Compression::fast());
        io::copy(&mut std::fs::File::open(old)?, &mut out)?;
        out.finish()?.sync_data()?;
        std::fs::rename(&unfinished, &packed)?;
        std::fs::remove_file(old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_logs_are_compressed_and_the_oldest_removed() {
        let folder = tempfile::tempdir().unwrap();
        let container = folder.path().join("n_p_u/c");
        std::fs::create_dir_all(&container).unwrap();
        let log = container.join("0.log");
        std::fs::write(&log, "large").unwrap();
        assert_eq!(oversized(folder.path(), 4), std::slice::from_ref(&log));
        assert!(oversized(folder.path(), 5).is_empty());
        for second in 0..5 {
            std::fs::write(&log, "text").unwrap();
            move_away(&log, Timestamp::from_second(second).unwrap()).unwrap();
        }
        tidy(&log, 4).unwrap();
        let mut left: Vec<String> = std::fs::read_dir(&container)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let expected =
            ["0.log.19700101-000002.gz", "0.log.19700101-000003.gz", "0.log.19700101-000004"];
        assert_eq!(left, expected);
    }
}
