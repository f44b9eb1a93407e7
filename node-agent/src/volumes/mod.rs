//! Volumes: one kind a file, each able to run again after a crash; mounted before the sandbox, removed after it.

mod atomic_writer;
mod config_map;
mod downward_api;
mod empty_dir;
mod host_path;
mod mount;
mod payload;
mod projected;
mod secret;
mod set_up;
mod sub_path;
mod tear_down;

pub(crate) use set_up::{MountFailure, Mounted, VolumeContext, VolumeError, VolumeKind, mount_all};
pub(crate) use sub_path::{SubPathError, sub_path};
pub(crate) use tear_down::tear_down;

/// All kinds, in the order in which they are asked whether a volume is theirs.
pub(crate) static KINDS: &[VolumeKind] = &[
    config_map::ENTRY,
    downward_api::ENTRY,
    empty_dir::ENTRY,
    host_path::ENTRY,
    projected::ENTRY,
    secret::ENTRY,
];
