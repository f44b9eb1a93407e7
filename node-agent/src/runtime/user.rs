//! Who a container's process runs as: names resolved in the image's own files.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use keelson_proto::cri::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use serde::{Deserialize, Serialize};

/// The longest passwd or group file read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A resolved user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Why a user cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    #[error("user id {0} is out of range")]
    Range(i64),
    #[error("{path}: {error}")]
    Io { path: &'static str, error: io::Error },
}

/// The user of a container: CRI's wish, else the image's, else root.
pub(super) fn resolve(
    rootfs: &Path,
    context: &LinuxContainerSecurityContext,
    image_user: &str,
) -> Result<User, UserError> {
    let passwd = read(rootfs, "etc/passwd")?;
    let group_file = read(rootfs, "etc/group")?;
    let (wanted, wanted_group) = match (&context.run_as_user, context.run_as_username.as_str()) {
        (Some(uid), _) => (id(uid.value)?.to_string(), None),
        (None, "") => match image_user.split_once(':') {
            Some((user, group)) => (user.to_owned(), Some(group.to_owned())),
            None => (image_user.to_owned(), None),
        },
        (None, name) => (name.to_owned(), None),
    };
    let mut user = find_user(&passwd, &wanted)?;
    if let Some(group) = wanted_group.filter(|group| !group.is_empty()) {
        user.0.gid = find_group(&group_file, &group)?;
    }
    if let Some(gid) = &context.run_as_group {
        user.0.gid = id(gid.value)?;
    }
    let (mut user, name) = user;
    let strict = context.supplemental_groups_policy == SupplementalGroupsPolicy::Strict as i32;
    let mut groups = vec![user.gid];
    if let Some(name) = name.filter(|_| !strict) {
        groups.extend(groups_of(&group_file, &name));
    }
    for group in &context.supplemental_groups {
        groups.push(id(*group)?);
    }
    groups.sort_unstable();
    groups.dedup();
    user.groups = groups;
    Ok(user)
}

fn id(value: i64) -> Result<u32, UserError> {
    u32::try_from(value).map_err(|_| UserError::Range(value))
}

/// The user and, if the file knows it, its name.
fn find_user(passwd: &str, wanted: &str) -> Result<(User, Option<String>), UserError> {
    let wanted = if wanted.is_empty() { "0" } else { wanted };
    let number: Option<u32> = wanted.parse().ok();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { continue };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
        if *name == wanted || number == Some(uid) {
            let home = if home.is_empty() { "/" } else { home }.to_owned();
            return Ok((User { uid, gid, groups: Vec::new(), home }, Some((*name).to_owned())));
        }
    }
    let uid = number.ok_or_else(|| UserError::NoUser(wanted.to_owned()))?;
    let home = if uid == 0 { "/root" } else { "/" }.to_owned();
    Ok((User { uid, gid: 0, groups: Vec::new(), home }, None))
}

fn find_group(file: &str, wanted: &str) -> Result<u32, UserError> {
    let by_name = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(wanted)).then(|| fields.nth(1)?.parse().ok())?
    });
    by_name.or_else(|| wanted.parse().ok()).ok_or_else(|| UserError::NoGroup(wanted.to_owned()))
}

fn groups_of(file: &str, name: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields.as_slice() else { return None };
        members.split(',').any(|member| member == name).then(|| gid.parse().ok())?
    };
    file.lines().filter_map(member).collect()
}

/// Reads a file of the image; no link in it leads out of it. Missing is empty.
fn read(rootfs: &Path, path: &'static str) -> Result<String, UserError> {
    let open = || -> io::Result<String> {
        let root: OwnedFd = File::open(rootfs)?.into();
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = File::from(openat2(&root, path, how)?);
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match open() {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(UserError::Io { path, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_proto::cri::Int64Value;

    fn rootfs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
        std::fs::write(folder.path().join("etc/passwd"), passwd).unwrap();
        let group = "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\n";
        std::fs::write(folder.path().join("etc/group"), group).unwrap();
        folder
    }

    #[test]
    fn the_image_names_users_and_groups() {
        let folder = rootfs();
        let check = |image: &str, uid, gid, groups: &[u32]| {
            let context = LinuxContainerSecurityContext::default();
            let user = resolve(folder.path(), &context, image).unwrap();
            assert_eq!((user.uid, user.gid, user.groups.as_slice()), (uid, gid, groups), "{image}");
        };
        check("", 0, 0, &[0, 10]);
        check("app", 1000, 1001, &[10, 1001]);
        check("app:wheel", 1000, 10, &[10]);
        check("7:8", 7, 8, &[8]);
        let context = LinuxContainerSecurityContext::default();
        let error = resolve(folder.path(), &context, "nobody").unwrap_err();
        assert!(matches!(error, UserError::NoUser(_)));
    }

    #[test]
    fn the_pod_overrides_the_image() {
        let folder = rootfs();
        let mut context = LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: 1000 }),
            run_as_group: Some(Int64Value { value: 3 }),
            supplemental_groups: vec![5],
            ..LinuxContainerSecurityContext::default()
        };
        let user = resolve(folder.path(), &context, "root").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1000, 3, vec![3, 5, 10]));
        context.supplemental_groups_policy = SupplementalGroupsPolicy::Strict as i32;
        let user = resolve(folder.path(), &context, "root").unwrap();
        assert_eq!(user.groups, [3, 5]);
    }
}
