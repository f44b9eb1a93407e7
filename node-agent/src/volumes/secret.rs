//! secret: the keys of a Secret as files in memory, replaced together when it changes.
use futures::FutureExt;

use super::mount::mount_tmpfs;
use super::payload::{MODE_DEFAULT, Payload, from_contents, mode_of};
use super::set_up::VolumeReady;
use super::{VolumeContext, VolumeError, VolumeKind, atomic_writer};
use crate::agent::ObjectKind;

pub(crate) const ENTRY: VolumeKind = VolumeKind {
    name: "kubernetes.io/secret",
    claims: |volume| volume.secret.is_some(),
    set_up: |context| set_up(context).boxed(),
};

async fn set_up(context: VolumeContext<'_>) -> Result<VolumeReady, VolumeError> {
    let source = context.volume.secret.clone().unwrap_or_default();
    let optional = source.optional.unwrap_or(false);
    let mode = mode_of(source.default_mode, MODE_DEFAULT);
    let name = source.secret_name.unwrap_or_default();
    let payload = match context.object(ObjectKind::Secret, &name, optional).await? {
        Some(secret) => from_contents(&secret, source.items.as_deref(), mode, optional, "secret")?,
        None => Payload::new(),
    };
    let dir = context.dir;
    std::fs::create_dir_all(dir).map_err(VolumeError::io(dir))?;
    mount_tmpfs(dir, None)
        .map_err(|source| VolumeError::Mount { path: dir.to_path_buf(), source })?;
    atomic_writer::write(dir, &payload, context.fs_group()).map_err(VolumeError::io(dir))?;
    Ok(VolumeReady::at(dir.to_path_buf()))
}
