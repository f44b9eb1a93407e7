//! Cluster: the members.

mod member_change;
mod member_list;
mod urls;

pub(crate) use member_change::{member_add, member_promote, member_remove, member_update};
pub(crate) use member_list::member_list;

use keelson_proto::etcdserverpb as pb;
use keelson_raft::Members;

use crate::face::EtcdFace;

/// Members as clients see them.
fn shown(face: &EtcdFace, members: Members) -> Vec<pb::Member> {
    let mut attributes = face.node().view().member_attributes();
    let member = |(id, member): (u64, keelson_raft::Member)| {
        // What a member says of itself since it runs counts more than what it was added with.
        let (name, client_ur_ls) = match attributes.remove(&id) {
            Some(said) => (said.name, said.client_urls),
            None => (member.name, member.client_urls),
        };
        let (peer_ur_ls, is_learner) = (member.peer_urls, member.learner);
        pb::Member { id, name, peer_ur_ls, client_ur_ls, is_learner }
    };
    members.into_iter().map(member).collect()
}
