//! Downgrade: says whether a version could be gone to. None can be: the format of our data is not
//! etcd's, so that enabling one is refused.
// upstream: etcd v3 API, "Downgrade"

use keelson_proto::etcdserverpb as pb;
use pb::downgrade_request::DowngradeAction;

use crate::CLUSTER_VERSION;
use crate::error::FaceError;
use crate::face::EtcdFace;

pub(crate) async fn downgrade(
    face: EtcdFace,
    request: pb::DowngradeRequest,
) -> Result<pb::DowngradeResponse, FaceError> {
    let _asked = face.authorize(|auth, by| auth.may_administer(by))?;
    match request.action() {
        DowngradeAction::Validate => check_target(&request.version)?,
        DowngradeAction::Enable => {
            check_target(&request.version)?;
            return Err(FaceError::NotCapable);
        }
        // None is under way.
        DowngradeAction::Cancel => {}
    }
    let (major, minor) = own();
    let version = format!("{major}.{minor}");
    Ok(pb::DowngradeResponse { header: Some(face.header_now()), version })
}

/// A version is gone down from by exactly one minor step.
fn check_target(text: &str) -> Result<(), FaceError> {
    let target = parse(text).ok_or(FaceError::DowngradeFormat)?;
    let (major, minor) = own();
    match target == (major, minor - 1) {
        true => Ok(()),
        false => Err(FaceError::DowngradeTarget),
    }
}

fn own() -> (u32, u32) {
    parse(CLUSTER_VERSION).expect("our version is one")
}

/// Major and minor of `X.Y` or `X.Y.Z`.
fn parse(text: &str) -> Option<(u32, u32)> {
    let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [major, minor] | [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_step_down_is_a_target() {
        let words = |text| check_target(text).map_err(|error| error.to_string());
        assert!(words("3.6").is_ok() && words("3.6.11").is_ok());
        for other in ["3.7.0", "3.5", "2.6", "3.8.0"] {
            assert_eq!(words(other).unwrap_err(), "etcdserver: invalid downgrade target version");
        }
        for text in ["", "3", "x.y", "3.6.1.2", "3.6-rc"] {
            let wrong = "etcdserver: wrong downgrade target version format";
            assert_eq!(words(text).unwrap_err(), wrong);
        }
    }
}
