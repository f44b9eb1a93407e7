//! `/version`: what this server and its cluster are.

use ::http::StatusCode;

use super::text;
use crate::ETCD_VERSION;
use crate::face::EtcdFace;
use crate::grpc::Outgoing;

pub(super) fn version(face: &EtcdFace) -> Outgoing {
    let cluster = face.cluster_version();
    let body = format!(
        "{{\"etcdserver\":\"{ETCD_VERSION}\",\"etcdcluster\":\"{cluster}\",\
         \"storage\":\"{cluster}\"}}"
    );
    text(StatusCode::OK, "application/json", body)
}
