//! Cluster: the members.

mod member_list;

pub(crate) use member_list::member_list;
