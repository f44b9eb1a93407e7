//! Sets up all volumes of a pod; may run again at any time, and then brings what they hold up to date.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};

use super::KINDS;
use crate::agent::{Contents, Context, ObjectKey, ObjectKind, ObjectState};
use crate::pods::{PodFacts, namespace_of, uid_of};

/// One kind of volumes.
pub(crate) struct VolumeKind {
    /// The plugin's name; its directories are below it.
    pub(crate) name: &'static str,
    pub(crate) claims: fn(&Volume) -> bool,
    pub(crate) set_up:
        for<'a> fn(VolumeContext<'a>) -> BoxFuture<'a, Result<VolumeReady, VolumeError>>,
}

/// What a kind works with.
#[derive(Clone, Copy)]
pub(crate) struct VolumeContext<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) pod: &'a Pod,
    pub(crate) volume: &'a Volume,
    pub(crate) facts: &'a PodFacts,
    /// The volume's own directory, not made yet.
    pub(crate) dir: &'a Path,
}

/// A volume that containers can be given.
pub(crate) struct VolumeReady {
    pub(crate) path: PathBuf,
    /// When what it holds gets old by itself.
    pub(crate) refresh_at: Option<Timestamp>,
}

impl VolumeReady {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, refresh_at: None }
    }
}

/// Why a volume is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("{kind} \"{name}\" not found")]
    ObjectMissing { kind: &'static str, name: String },
    #[error("failed to sync {kind} cache: {why}")]
    ObjectUnknown { kind: &'static str, why: String },
    #[error("references non-existent {kind} key: {key}")]
    KeyMissing { kind: &'static str, key: String },
    #[error("failed to fetch token: {0}")]
    Token(#[source] Box<kube::Error>),
    #[error("hostPath type check failed: {path} is not a {wanted}")]
    HostPathType { path: String, wanted: &'static str },
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    #[error("no volume plugin matched")]
    NoPlugin,
    #[error("invalid path: {0}")]
    Path(String),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("mount of {path}: {source}")]
    Mount { path: PathBuf, source: nix::Error },
}

impl VolumeError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// The volume that failed; displays as the `FailedMount` event says it.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
pub(crate) struct MountFailure {
    volume: String,
    source: VolumeError,
}

/// All volumes of a pod.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// Host path by volume name.
    pub(crate) paths: BTreeMap<String, PathBuf>,
    pub(crate) refresh_at: Option<Timestamp>,
}

/// Sets up what is not set up, and refreshes the rest.
pub(crate) async fn mount_all(
    cx: &Context,
    pod: &Pod,
    facts: &PodFacts,
) -> Result<Mounted, MountFailure> {
    let root = cx.config.pod_dir(uid_of(pod)).join("volumes");
    let mut mounted = Mounted { paths: BTreeMap::new(), refresh_at: None };
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        let failed = |source| MountFailure { volume: volume.name.clone(), source };
        let kind = KINDS.iter().find(|kind| (kind.claims)(volume));
        let kind = kind.ok_or_else(|| failed(VolumeError::NoPlugin))?;
        let dir = root.join(kind.name.replace('/', "~")).join(&volume.name);
        let context = VolumeContext { cx, pod, volume, facts, dir: &dir };
        let ready = (kind.set_up)(context).await.map_err(failed)?;
        mounted.refresh_at = match (mounted.refresh_at, ready.refresh_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        mounted.paths.insert(volume.name.clone(), ready.path);
    }
    Ok(mounted)
}

impl VolumeContext<'_> {
    /// The data of a ConfigMap or Secret of the pod's namespace; none when it is missing and may be.
    pub(crate) async fn object(
        &self,
        kind: ObjectKind,
        name: &str,
        optional: bool,
    ) -> Result<Option<std::sync::Arc<Contents>>, VolumeError> {
        let namespace = namespace_of(self.pod).to_owned();
        let key = ObjectKey { kind, namespace, name: name.to_owned() };
        match self.cx.objects.get(&key).await {
            ObjectState::Found(contents) => Ok(Some(contents)),
            ObjectState::Missing if optional => Ok(None),
            ObjectState::Missing => {
                Err(VolumeError::ObjectMissing { kind: kind.word(), name: name.to_owned() })
            }
            ObjectState::Unknown(why) => Err(VolumeError::ObjectUnknown { kind: kind.word(), why }),
        }
    }

    /// The group that owns the files of the pod's volumes.
    pub(crate) fn fs_group(&self) -> Option<u32> {
        let group = self.pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
        u32::try_from(group).ok()
    }
}
