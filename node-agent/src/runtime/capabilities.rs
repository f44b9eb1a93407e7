//! Which capabilities a container's process has.

use keelson_proto::cri;

/// What a container has unless told otherwise.
///
/// upstream: the default set that Kubernetes' container runtimes share
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Every capability of Linux 5.9 and later, by number.
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A name that is no capability.
#[derive(Debug, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub(super) struct CapabilityError(String);

/// A process's capabilities by name, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// Those that it has, and can ever have.
    pub(super) all: Vec<String>,
    /// Those that it keeps without being root.
    pub(super) ambient: Vec<String>,
}

/// The default set with what CRI adds and drops; drops come last, except after `ALL` is dropped.
pub(super) fn of(
    context: &cri::LinuxContainerSecurityContext,
) -> Result<Capabilities, CapabilityError> {
    let every = || available().iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    if context.privileged {
        return Ok(Capabilities { all: every(), ambient: Vec::new() });
    }
    let wanted = context.capabilities.clone().unwrap_or_default();
    let mut all: Vec<String> = DEFAULT.iter().map(|name| (*name).to_owned()).collect();
    if names_all(&wanted.drop_capabilities) {
        all.clear();
    }
    if names_all(&wanted.add_capabilities) {
        all = every();
    }
    for name in named(&wanted.add_capabilities)? {
        all.push(name);
    }
    for name in named(&wanted.drop_capabilities)? {
        all.retain(|one| *one != name);
    }
    let ambient = named(&wanted.add_ambient_capabilities)?;
    all.extend(ambient.iter().cloned());
    let available = available();
    all.retain(|name| available.contains(&name.as_str()));
    all.sort();
    all.dedup();
    Ok(Capabilities { all, ambient })
}

/// Those that this process can hand on: fewer than all on an older kernel, or where this process
/// is itself confined.
fn available() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounding = bounding.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let bounding = bounding.unwrap_or(u64::MAX);
    let numbered = ALL.iter().enumerate();
    numbered.filter(|(bit, _)| bounding >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

/// Whether this process can hand on that capability.
pub(super) fn is_available(name: &str) -> bool {
    available().contains(&name)
}

fn names_all(names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case("ALL"))
}

fn named(names: &[String]) -> Result<Vec<String>, CapabilityError> {
    let mut full = Vec::new();
    for name in names.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        let upper = name.to_ascii_uppercase();
        let prefixed = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        match ALL.contains(&prefixed.as_str()) {
            true => full.push(prefixed),
            false => return Err(CapabilityError(name.clone())),
        }
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expected: &[&str]) {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let context = cri::LinuxContainerSecurityContext {
            capabilities: Some(cri::Capability {
                add_capabilities: own(add),
                drop_capabilities: own(drop),
                add_ambient_capabilities: Vec::new(),
            }),
            ..Default::default()
        };
        assert_eq!(of(&context).unwrap().all, expected);
    }

    #[test]
    fn adds_and_drops() {
        check(&[], &[], &DEFAULT);
        check(&["NET_BIND_SERVICE"], &["ALL"], &["CAP_NET_BIND_SERVICE"]);
        check(&["ALL"], &["all"], &{
            let mut all = available();
            all.sort_unstable();
            all
        });
        check(&[], &DEFAULT[1..], &["CAP_AUDIT_WRITE"]);
    }

    #[test]
    fn unknown_names_are_refused() {
        let context = cri::LinuxContainerSecurityContext {
            capabilities: Some(cri::Capability {
                add_capabilities: vec!["NO_SUCH".into()],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(of(&context).is_err());
    }
}
