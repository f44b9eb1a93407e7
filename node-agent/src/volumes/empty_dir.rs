//! emptyDir: a directory that lives as long as its pod, on disk or in memory.
use std::os::unix::fs::PermissionsExt;

use futures::FutureExt;

use super::mount::mount_tmpfs;
use super::set_up::VolumeReady;
use super::{VolumeContext, VolumeError, VolumeKind};
use crate::pods::Quantity;

pub(crate) const ENTRY: VolumeKind = VolumeKind {
    name: "kubernetes.io/empty-dir",
    claims: |volume| volume.empty_dir.is_some(),
    set_up: |context| set_up(context).boxed(),
};

async fn set_up(context: VolumeContext<'_>) -> Result<VolumeReady, VolumeError> {
    let dir = context.dir;
    let source = context.volume.empty_dir.clone().unwrap_or_default();
    let new = !dir.exists();
    std::fs::create_dir_all(dir).map_err(VolumeError::io(dir))?;
    if source.medium.as_deref() == Some("Memory") {
        let limit = source.size_limit.as_ref().map(|limit| Quantity::of(limit).value());
        let limit = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0);
        mount_tmpfs(dir, limit)
            .map_err(|source| VolumeError::Mount { path: dir.to_path_buf(), source })?;
    }
    if new {
        let mut mode = 0o777;
        if let Some(group) = context.fs_group() {
            mode |= 0o2000;
            std::os::unix::fs::chown(dir, None, Some(group)).map_err(VolumeError::io(dir))?;
        }
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir, mode).map_err(VolumeError::io(dir))?;
    }
    Ok(VolumeReady::at(dir.to_path_buf()))
}
