//! `/version`: what this server and its cluster are.

use ::http::StatusCode;

use super::text;
use crate::grpc::Outgoing;
use crate::{CLUSTER_VERSION, ETCD_VERSION};

pub(super) fn version() -> Outgoing {
    let body = format!(
        "{{\"etcdserver\":\"{ETCD_VERSION}\",\"etcdcluster\":\"{CLUSTER_VERSION}\",\
         \"storage\":\"{CLUSTER_VERSION}\"}}"
    );
    text(StatusCode::OK, "application/json", body)
}
