//! The wire: etcd v3, peer transport and CRI messages and services.
//!
//! One module a protobuf package, generated at build time from `proto/`. `bytes` fields are
//! [`bytes::Bytes`]: keys and values are shared between the layers, never copied.
#![allow(missing_docs, unreachable_pub, clippy::all)]

/// Users, roles and permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// Keys with their values, and events on them.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// etcd's services and their messages.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Locks as RPCs.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// Elections as RPCs.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// CRI v1: what a node agent and a container runtime say to one another.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

/// Our own wire and log: commands, their outcomes, and the peer transport.
pub use keelson::raft::v1 as raft;

/// Nested as the package's name is: its messages refer to etcd's.
mod keelson {
    pub mod raft {
        pub mod v1 {
            tonic::include_proto!("keelson.raft.v1");
        }
    }
}

/// Descriptors of etcd's packages: an encoded `google.protobuf.FileDescriptorSet`.
pub const ETCD_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.bin"));
