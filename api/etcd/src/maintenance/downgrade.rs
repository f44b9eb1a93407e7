//! Downgrade: the cluster's version goes one minor step down, and up again when that is given up.
//!
//! The version is told and no more: the format of the data is ours, whatever etcd's version.
// upstream: etcd v3 API, "Downgrade"

use keelson_proto::etcdserverpb as pb;
use keelson_storage::command::{ApplyError, Downgrade, Op};
use pb::downgrade_request::DowngradeAction;

use crate::error::FaceError;
use crate::face::EtcdFace;
use crate::{CLUSTER_VERSION, ETCD_VERSION};

pub(crate) async fn downgrade(
    face: EtcdFace,
    request: pb::DowngradeRequest,
) -> Result<pb::DowngradeResponse, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    match request.action() {
        DowngradeAction::Validate => {
            check(&face, &request.version).await?;
        }
        DowngradeAction::Enable => {
            let target = check(&face, &request.version).await?;
            face.propose(Op::Downgrade(Downgrade { target: target.clone() })).await?;
            tracing::info!(
                "target-version" = target,
                "server-version" = ETCD_VERSION,
                "The server is ready to downgrade"
            );
        }
        DowngradeAction::Cancel => {
            face.propose(Op::Downgrade(Downgrade::default())).await?;
        }
    }
    let version = minor(&face.cluster_version()).to_owned();
    Ok(pb::DowngradeResponse { header: Some(face.header_now()), version })
}

/// `X.Y` of `X.Y.Z`.
pub(crate) fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// The target, if the cluster can go there now.
async fn check(face: &EtcdFace, text: &str) -> Result<String, FaceError> {
    let target = parse(text).ok_or(FaceError::DowngradeFormat)?;
    face.read_index().await?;
    let target = step_down(&face.cluster_version(), target)?;
    match face.node().view().downgrade_target() {
        Some(_) => Err(ApplyError::DowngradeInProgress.into()),
        None => Ok(target),
    }
}

/// A version is gone down from by exactly one minor step.
fn step_down(from: &str, to: (u32, u32)) -> Result<String, FaceError> {
    match parse(from) {
        Some((major, minor)) if (major, minor) == (to.0, to.1 + 1) => {
            Ok(format!("{}.{}.0", to.0, to.1))
        }
        _ => Err(FaceError::DowngradeTarget),
    }
}

/// Major and minor of `X.Y` or `X.Y.Z`.
fn parse(text: &str) -> Option<(u32, u32)> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [major, minor] | [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}

impl EtcdFace {
    /// The version that all members are at least of.
    pub(crate) fn cluster_version(&self) -> String {
        let target = self.node().view().downgrade_target();
        target.unwrap_or_else(|| CLUSTER_VERSION.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_step_down_is_a_target() {
        let step =
            |text| step_down("3.7.0", parse(text).unwrap()).map_err(|error| error.to_string());
        assert_eq!(step("3.6").unwrap(), "3.6.0");
        assert_eq!(step("3.6.11").unwrap(), "3.6.0");
        for other in ["3.7.0", "3.5", "2.6", "3.8.0"] {
            assert_eq!(step(other).unwrap_err(), "etcdserver: invalid downgrade target version");
        }
        for text in ["", "3", "x.y", "3.6.1.2", "3.6-rc"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
