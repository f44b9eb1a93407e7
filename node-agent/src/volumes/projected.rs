//! projected: tokens, ConfigMaps, Secrets and downward API together, in memory; tokens are renewed at 80 % of their life.
use futures::FutureExt;
use jiff::Timestamp;

use super::mount::mount_tmpfs;
use super::payload::{MODE_DEFAULT, Payload, PayloadFile, checked, from_contents, mode_of};
use super::set_up::VolumeReady;
use super::{VolumeContext, VolumeError, VolumeKind, atomic_writer, downward_api};
use crate::agent::{ObjectKind, TokenSpec};

const TOKEN_SECONDS_DEFAULT: i64 = 3600;

pub(crate) const ENTRY: VolumeKind = VolumeKind {
    name: "kubernetes.io/projected",
    claims: |volume| volume.projected.is_some(),
    set_up: |context| set_up(context).boxed(),
};

async fn set_up(context: VolumeContext<'_>) -> Result<VolumeReady, VolumeError> {
    let (payload, refresh_at) = gather(&context).await?;
    let dir = context.dir;
    std::fs::create_dir_all(dir).map_err(VolumeError::io(dir))?;
    mount_tmpfs(dir, None)
        .map_err(|source| VolumeError::Mount { path: dir.to_path_buf(), source })?;
    atomic_writer::write(dir, &payload, context.fs_group()).map_err(VolumeError::io(dir))?;
    Ok(VolumeReady { path: dir.to_path_buf(), refresh_at })
}

async fn gather(context: &VolumeContext<'_>) -> Result<(Payload, Option<Timestamp>), VolumeError> {
    let projected = context.volume.projected.clone().unwrap_or_default();
    let mode = mode_of(projected.default_mode, MODE_DEFAULT);
    let mut payload = Payload::new();
    let mut refresh_at: Option<Timestamp> = None;
    for source in projected.sources.unwrap_or_default() {
        if let Some(map) = source.config_map {
            let optional = map.optional.unwrap_or(false);
            if let Some(data) = context.object(ObjectKind::ConfigMap, &map.name, optional).await? {
                let items = map.items.as_deref();
                payload.extend(from_contents(&data, items, mode, optional, "config")?);
            }
        }
        if let Some(secret) = source.secret {
            let optional = secret.optional.unwrap_or(false);
            if let Some(data) = context.object(ObjectKind::Secret, &secret.name, optional).await? {
                let items = secret.items.as_deref();
                payload.extend(from_contents(&data, items, mode, optional, "secret")?);
            }
        }
        if let Some(downward) = source.downward_api {
            let items = downward.items.unwrap_or_default();
            payload.extend(downward_api::payload(context, &items, mode)?);
        }
        if let Some(token) = source.service_account_token {
            let spec = TokenSpec {
                audience: token.audience.filter(|audience| !audience.is_empty()),
                expiration_seconds: token.expiration_seconds.unwrap_or(TOKEN_SECONDS_DEFAULT),
            };
            let cx = context.cx;
            let (text, at) = cx
                .tokens
                .get(&cx.client, context.pod, &spec)
                .await
                .map_err(|error| VolumeError::Token(Box::new(error)))?;
            refresh_at = Some(refresh_at.map_or(at, |other| other.min(at)));
            let file = PayloadFile { data: text.into(), mode: token_mode(context, mode) };
            payload.insert(checked(&token.path)?, file);
        }
    }
    Ok((payload, refresh_at))
}

/// A token is readable by the one user that all containers have, or by all when they differ and no group can.
// upstream: volume/projected, with fixupTokenMode
fn token_mode(context: &VolumeContext<'_>, mode: u32) -> u32 {
    if context.fs_group().is_some() { 0o600 } else { mode }
}
