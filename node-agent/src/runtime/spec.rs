//! The OCI runtime specification of a container, from what CRI and the image say.
//!
//! Written as JSON, since that is what libcontainer loads, and since its builders fill in defaults
//! of their own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use keelson_proto::cri;
use keelson_proto::cri::security_profile::ProfileType;
use keelson_proto::cri::{MountPropagation, NamespaceMode};
use serde_json::{Value, json};

use super::capabilities;
use super::cgroup::Cgroups;
use super::seccomp;
use super::user::User;
use crate::image::manifest::RunConfig;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that decides a specification.
pub(super) struct Inputs<'a> {
    pub(super) sandbox: &'a cri::PodSandboxConfig,
    /// The sandbox's folder.
    pub(super) sandbox_dir: &'a Path,
    pub(super) container: &'a cri::ContainerConfig,
    pub(super) image: &'a RunConfig,
    pub(super) rootfs: &'a Path,
    pub(super) user: &'a User,
    pub(super) cgroup: &'a str,
    /// The first process of the container whose process namespace is joined.
    pub(super) target_pid: Option<i32>,
    /// The host's hierarchies.
    pub(super) cgroups: &'a Cgroups,
}

/// Why no specification can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpecError {
    #[error("no command specified")]
    NoCommand,
    #[error("user namespaces are not supported")]
    UserNamespace,
    #[error("target container is not running")]
    NoTarget,
    #[error(transparent)]
    Capabilities(#[from] capabilities::CapabilityError),
    #[error("mount {path}: {error}")]
    Mount { path: String, error: io::Error },
    #[error("mount of an image at {0} is not supported")]
    ImageMount(String),
    #[error("device {path}: {error}")]
    Device { path: String, error: io::Error },
    #[error("seccomp profile {path}: {error}")]
    Seccomp { path: String, error: io::Error },
}

/// Builds the specification.
pub(super) fn build(inputs: &Inputs<'_>) -> Result<Value, SpecError> {
    let linux = inputs.container.linux.clone().unwrap_or_default();
    let context = linux.security_context.clone().unwrap_or_default();
    let namespaces = context.namespace_options.clone().unwrap_or_default();
    if namespaces.userns_options.as_ref().is_some_and(|user| user.mode() == NamespaceMode::Pod) {
        return Err(SpecError::UserNamespace);
    }
    let capabilities = capabilities::of(&context)?;
    let mounts = Mounts::of(inputs, context.privileged)?;
    let mut process = json!({
        "terminal": inputs.container.tty,
        "user": {
            "uid": inputs.user.uid,
            "gid": inputs.user.gid,
            "additionalGids": inputs.user.groups,
        },
        "args": command(inputs)?,
        "env": environment(inputs),
        "cwd": working_dir(inputs),
        "capabilities": {
            "bounding": capabilities.all,
            "effective": capabilities.all,
            "permitted": capabilities.all,
            "inheritable": capabilities.ambient,
            "ambient": capabilities.ambient,
        },
        "oomScoreAdj": oom_score(linux.resources.as_ref().map_or(0, |wanted| wanted.oom_score_adj)),
    });
    if context.no_new_privs {
        process["noNewPrivileges"] = json!(true);
    }
    let hidden = !context.privileged;
    let mut linux_spec = json!({
        "cgroupsPath": inputs.cgroup,
        "namespaces": namespace_list(inputs, &namespaces)?,
        "resources": resources(linux.resources.as_ref(), &devices(inputs, &context)?, hidden),
        "maskedPaths": if hidden { context.masked_paths.clone() } else { Vec::new() },
        "readonlyPaths": if hidden { readonly_paths(inputs, &context) } else { Vec::new() },
        "devices": devices(inputs, &context)?.iter().map(Device::node).collect::<Vec<_>>(),
    });
    if let Some(propagation) = mounts.root_propagation {
        linux_spec["rootfsPropagation"] = json!(propagation);
    }
    if let Some(profile) = seccomp_profile(&context, &capabilities.all)? {
        linux_spec["seccomp"] = profile;
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": inputs.rootfs, "readonly": context.readonly_rootfs },
        "mounts": mounts.list,
        "linux": linux_spec,
    }))
}

/// The score wanted, or the lowest that this process may give.
fn oom_score(wanted: i64) -> i64 {
    if capabilities::is_available("CAP_SYS_RESOURCE") {
        return wanted;
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    wanted.max(own.trim().parse().unwrap_or(0))
}

/// CRI's command and arguments replace the image's; a command alone drops the image's arguments.
fn command(inputs: &Inputs<'_>) -> Result<Vec<String>, SpecError> {
    let mut command = inputs.container.command.clone();
    let mut args = inputs.container.args.clone();
    if command.is_empty() {
        command = inputs.image.entrypoint.clone().unwrap_or_default();
        if args.is_empty() {
            args = inputs.image.cmd.clone().unwrap_or_default();
        }
    }
    command.extend(args);
    if command.is_empty() { Err(SpecError::NoCommand) } else { Ok(command) }
}

/// The image's environment under the container's, with what every program expects.
fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut order = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |pair: String| {
        let name = pair.split('=').next().unwrap_or_default().to_owned();
        if values.insert(name.clone(), pair).is_none() {
            order.push(name);
        }
    };
    set(PATH.to_owned());
    set(format!("HOME={}", inputs.user.home));
    if inputs.container.tty {
        set("TERM=xterm".to_owned());
    }
    if !inputs.sandbox.hostname.is_empty() {
        set(format!("HOSTNAME={}", inputs.sandbox.hostname));
    }
    inputs.image.env.iter().flatten().cloned().for_each(&mut set);
    for pair in &inputs.container.envs {
        set(format!("{}={}", pair.key, String::from_utf8_lossy(&pair.value)));
    }
    order.into_iter().filter_map(|name| values.remove(&name)).collect()
}

fn working_dir(inputs: &Inputs<'_>) -> String {
    let image = inputs.image.working_dir.as_deref().unwrap_or_default();
    match (inputs.container.working_dir.as_str(), image) {
        ("", "") => "/".to_owned(),
        ("", image) => image.to_owned(),
        (wanted, _) => wanted.to_owned(),
    }
}

fn namespace_list(
    inputs: &Inputs<'_>,
    wanted: &cri::NamespaceOption,
) -> Result<Vec<Value>, SpecError> {
    let pinned = |name: &str| inputs.sandbox_dir.join(super::shim::NAMESPACES_DIR).join(name);
    let mut list = vec![json!({ "type": "mount" })];
    if wanted.network() != NamespaceMode::Node {
        list.push(json!({ "type": "network", "path": pinned("net") }));
        list.push(json!({ "type": "uts", "path": pinned("uts") }));
    }
    if wanted.ipc() != NamespaceMode::Node {
        list.push(json!({ "type": "ipc", "path": pinned("ipc") }));
    }
    match wanted.pid() {
        NamespaceMode::Container => list.push(json!({ "type": "pid" })),
        NamespaceMode::Pod => list.push(json!({ "type": "pid", "path": pinned("pid") })),
        NamespaceMode::Node => {}
        NamespaceMode::Target => {
            let pid = inputs.target_pid.ok_or(SpecError::NoTarget)?;
            list.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }));
        }
    }
    if inputs.cgroups.unified() {
        list.push(json!({ "type": "cgroup" }));
    }
    Ok(list)
}

fn resources(
    wanted: Option<&cri::LinuxContainerResources>,
    devices: &[Device],
    confined: bool,
) -> Value {
    let mut rules = vec![json!({ "allow": !confined, "access": "rwm" })];
    if confined {
        rules.extend(devices.iter().map(Device::rule));
    }
    let mut resources = json!({ "devices": rules });
    let Some(wanted) = wanted else { return resources };
    let mut cpu = serde_json::Map::new();
    let mut put = |name: &str, value: i64| {
        if value != 0 {
            cpu.insert(name.to_owned(), json!(value));
        }
    };
    put("shares", wanted.cpu_shares);
    put("quota", wanted.cpu_quota);
    put("period", wanted.cpu_period);
    for (name, value) in [("cpus", &wanted.cpuset_cpus), ("mems", &wanted.cpuset_mems)] {
        if !value.is_empty() {
            cpu.insert(name.to_owned(), json!(value));
        }
    }
    if !cpu.is_empty() {
        resources["cpu"] = Value::Object(cpu);
    }
    if wanted.memory_limit_in_bytes != 0 {
        resources["memory"] = json!({ "limit": wanted.memory_limit_in_bytes });
        if wanted.memory_swap_limit_in_bytes != 0 {
            resources["memory"]["swap"] = json!(wanted.memory_swap_limit_in_bytes);
        }
    }
    if !wanted.unified.is_empty() {
        resources["unified"] = json!(wanted.unified);
    }
    resources
}

/// A device node for the container.
struct Device {
    path: String,
    kind: char,
    major: u64,
    minor: u64,
    mode: u32,
    access: String,
}

impl Device {
    fn of(host: &Path, path: String, access: &str) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let about = std::fs::metadata(host)?;
        let kind = match about.file_type() {
            kind if kind.is_char_device() => 'c',
            kind if kind.is_block_device() => 'b',
            _ => return Err(io::Error::other("not a device node")),
        };
        let (major, minor) =
            (nix::sys::stat::major(about.rdev()), nix::sys::stat::minor(about.rdev()));
        let access = if access.is_empty() { "rwm" } else { access }.to_owned();
        Ok(Self { path, kind, major, minor, mode: about.mode() & 0o777, access })
    }

    fn node(&self) -> Value {
        json!({
            "path": self.path, "type": self.kind.to_string(), "major": self.major,
            "minor": self.minor, "fileMode": self.mode, "uid": 0, "gid": 0,
        })
    }

    fn rule(&self) -> Value {
        json!({
            "allow": true, "type": self.kind.to_string(), "major": self.major,
            "minor": self.minor, "access": self.access,
        })
    }
}

fn devices(
    inputs: &Inputs<'_>,
    context: &cri::LinuxContainerSecurityContext,
) -> Result<Vec<Device>, SpecError> {
    let mut devices = Vec::new();
    if context.privileged {
        host_devices(Path::new("/dev"), &mut devices);
    }
    for wanted in &inputs.container.devices {
        let path = wanted.container_path.clone();
        let device = Device::of(Path::new(&wanted.host_path), path, &wanted.permissions)
            .map_err(|error| SpecError::Device { path: wanted.host_path.clone(), error })?;
        devices.push(device);
    }
    Ok(devices)
}

/// Every device node of the host's, except terminals and what a container has of its own.
fn host_devices(folder: &Path, devices: &mut Vec<Device>) {
    const OWN: [&str; 13] = [
        "pts", "shm", "fd", "mqueue", "console", "ptmx", "null", "zero", "full", "random",
        "urandom", "tty", ".udev",
    ];
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => host_devices(&path, devices),
            Ok(kind) if kind.is_symlink() => {}
            _ => devices.extend(Device::of(&path, path.display().to_string(), "rwm")),
        }
    }
}

struct Mounts {
    list: Vec<Value>,
    root_propagation: Option<&'static str>,
}

impl Mounts {
    fn of(inputs: &Inputs<'_>, privileged: bool) -> Result<Self, SpecError> {
        let mut list = system_mounts(privileged);
        for (file, path) in [
            ("hostname", "/etc/hostname"),
            ("hosts", "/etc/hosts"),
            ("resolv.conf", "/etc/resolv.conf"),
        ] {
            let source = inputs.sandbox_dir.join(file);
            if source.exists() && !overridden(inputs, path) {
                list.push(bind(&source, path, &["rbind", "rprivate", "rw"]));
            }
        }
        if !overridden(inputs, "/dev/shm") {
            let shm = inputs.sandbox_dir.join("shm");
            let source = if shm.exists() { shm } else { PathBuf::from("/dev/shm") };
            list.push(bind(&source, "/dev/shm", &["rbind", "rprivate", "rw"]));
        }
        let mut root_propagation = None;
        let mut wanted: Vec<&cri::Mount> = inputs.container.mounts.iter().collect();
        // What lies deeper is mounted later.
        wanted.sort_by_key(|mount| Path::new(&mount.container_path).components().count());
        for mount in wanted {
            if mount.image.is_some() {
                return Err(SpecError::ImageMount(mount.container_path.clone()));
            }
            let propagation = match mount.propagation() {
                MountPropagation::PropagationPrivate => "rprivate",
                MountPropagation::PropagationHostToContainer => {
                    root_propagation = root_propagation.or(Some("rslave"));
                    "rslave"
                }
                MountPropagation::PropagationBidirectional => {
                    root_propagation = Some("rshared");
                    "rshared"
                }
            };
            let access = match (mount.readonly, mount.recursive_read_only) {
                (true, true) => "rro",
                (true, false) => "ro",
                (false, _) => "rw",
            };
            let source = host_path(&mount.host_path)
                .map_err(|error| SpecError::Mount { path: mount.host_path.clone(), error })?;
            list.push(bind(&source, &mount.container_path, &["rbind", propagation, access]));
        }
        Ok(Self { list, root_propagation })
    }
}

fn overridden(inputs: &Inputs<'_>, path: &str) -> bool {
    inputs.container.mounts.iter().any(|mount| mount.container_path.trim_end_matches('/') == path)
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

/// The path itself behind links; a missing one becomes a folder, as with other runtimes.
fn host_path(path: &str) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path)?;
            std::fs::canonicalize(path)
        }
        other => other,
    }
}

fn system_mounts(privileged: bool) -> Vec<Value> {
    let access = if privileged { "rw" } else { "ro" };
    vec![
        json!({
            "destination": "/proc", "type": "proc", "source": "proc",
            "options": ["nosuid", "noexec", "nodev"],
        }),
        json!({
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        }),
        json!({
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        }),
        json!({
            "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        }),
        json!({
            "destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", access],
        }),
        json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", access],
        }),
    ]
}

/// Its control groups are a container's to see, not to change: it would lift its own limits.
/// libcontainer mounts v1 hierarchies writable whatever their mount's options say.
fn readonly_paths(
    inputs: &Inputs<'_>,
    context: &cri::LinuxContainerSecurityContext,
) -> Vec<String> {
    let mut paths = context.readonly_paths.clone();
    let points = inputs.cgroups.mount_points();
    // Who mounts something there says itself how it is mounted.
    let taken = |mount: &cri::Mount| points.iter().any(|p| Path::new(&mount.container_path) == p);
    if !inputs.container.mounts.iter().any(taken) {
        paths.extend(points.iter().map(|path| path.display().to_string()));
    }
    paths
}

fn seccomp_profile(
    context: &cri::LinuxContainerSecurityContext,
    capabilities: &[String],
) -> Result<Option<Value>, SpecError> {
    // Without a word from CRI a container is unconfined, as Kubernetes has it by default.
    let Some(profile) = context.seccomp.as_ref().filter(|_| !context.privileged) else {
        return Ok(None);
    };
    match profile.profile_type() {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => Ok(Some(seccomp::runtime_default(capabilities))),
        ProfileType::Localhost => {
            let path = profile.localhost_ref.clone();
            let read =
                || -> io::Result<Value> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
            read().map(Some).map_err(|error| SpecError::Seccomp { path: path.clone(), error })
        }
    }
}
