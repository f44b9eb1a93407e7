//! downwardAPI: fields and resources of the pod as files, replaced when its labels or annotations change.
use futures::FutureExt;
use k8s_openapi::api::core::v1::DownwardAPIVolumeFile;

use super::payload::{MODE_DEFAULT, Payload, PayloadFile, checked, mode_of};
use super::set_up::VolumeReady;
use super::{VolumeContext, VolumeError, VolumeKind, atomic_writer};
use crate::pods::{field_value, resource_value};

pub(crate) const ENTRY: VolumeKind = VolumeKind {
    name: "kubernetes.io/downward-api",
    claims: |volume| volume.downward_api.is_some(),
    set_up: |context| set_up(context).boxed(),
};

async fn set_up(context: VolumeContext<'_>) -> Result<VolumeReady, VolumeError> {
    let source = context.volume.downward_api.clone().unwrap_or_default();
    let mode = mode_of(source.default_mode, MODE_DEFAULT);
    let payload = payload(&context, source.items.as_deref().unwrap_or_default(), mode)?;
    let dir = context.dir;
    std::fs::create_dir_all(dir).map_err(VolumeError::io(dir))?;
    atomic_writer::write(dir, &payload, context.fs_group()).map_err(VolumeError::io(dir))?;
    Ok(VolumeReady::at(dir.to_path_buf()))
}

/// The files of a list of items.
pub(crate) fn payload(
    context: &VolumeContext<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: u32,
) -> Result<Payload, VolumeError> {
    let mut payload = Payload::new();
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => field_value(context.pod, &field.field_path, context.facts)
                .ok_or_else(|| VolumeError::FieldPath(field.field_path.clone()))?,
            (None, Some(resource)) => resource_value(context.pod, "", resource, context.facts)
                .ok_or_else(|| VolumeError::FieldPath(resource.resource.clone()))?,
            (None, None) => continue,
        };
        let file = PayloadFile { data: value.into(), mode: mode_of(item.mode, mode) };
        payload.insert(checked(&item.path)?, file);
    }
    Ok(payload)
}
