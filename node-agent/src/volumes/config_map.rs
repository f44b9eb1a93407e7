//! configMap: the keys of a ConfigMap as files, replaced together when it changes.
use futures::FutureExt;

use super::payload::{MODE_DEFAULT, Payload, from_contents, mode_of};
use super::set_up::VolumeReady;
use super::{VolumeContext, VolumeError, VolumeKind, atomic_writer};
use crate::agent::ObjectKind;

pub(crate) const ENTRY: VolumeKind = VolumeKind {
    name: "kubernetes.io/configmap",
    claims: |volume| volume.config_map.is_some(),
    set_up: |context| set_up(context).boxed(),
};

async fn set_up(context: VolumeContext<'_>) -> Result<VolumeReady, VolumeError> {
    let source = context.volume.config_map.clone().unwrap_or_default();
    let optional = source.optional.unwrap_or(false);
    let mode = mode_of(source.default_mode, MODE_DEFAULT);
    let payload = match context.object(ObjectKind::ConfigMap, &source.name, optional).await? {
        Some(map) => from_contents(&map, source.items.as_deref(), mode, optional, "config")?,
        None => Payload::new(),
    };
    let dir = context.dir;
    std::fs::create_dir_all(dir).map_err(VolumeError::io(dir))?;
    atomic_writer::write(dir, &payload, context.fs_group()).map_err(VolumeError::io(dir))?;
    Ok(VolumeReady::at(dir.to_path_buf()))
}
