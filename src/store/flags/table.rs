//! Every flag of etcd 3.7, with its default and what it does here.
// upstream: etcd v3.7 `etcd --help`

/// What a flag holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these.
    Choice(&'static [&'static str]),
    /// True or false; the flag alone is true.
    Bool,
    /// Not negative.
    Uint,
    /// Not negative, in 32 bits.
    Uint32,
    /// Also negative.
    Int,
    /// `1h2m3s`.
    Duration,
    /// URLs to listen on or to be told, by commas.
    Urls,
    /// Texts by commas.
    List,
    /// `A=true,B=false`.
    Gates,
    /// Taken and forgotten, as etcd itself does.
    Ignored,
}

/// What a flag does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What it says.
    Works,
    /// Nothing, which a line of the log says, with the reason.
    Nothing(&'static str),
}

/// A flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// As it would be written.
    pub default: &'static str,
    /// What it does.
    pub effect: Effect,
    /// One line for the help.
    pub help: &'static str,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, effect: Effect::Works, help }
}

const fn idle(name: &'static str, kind: Kind, default: &'static str, why: &'static str) -> Flag {
    Flag { name, kind, default, effect: Effect::Nothing(why), help: "Accepted without effect." }
}

const fn ignored(name: &'static str) -> Flag {
    flag(name, Kind::Ignored, "", "Ignored.")
}

const NO_BBOLT: &str = "there is no bbolt file here";
const NO_TRACES: &str = "traces are not exported";

/// All flags, in the order of the help.
pub const FLAGS: &[Flag] = &[
    flag("name", Kind::Text, "default", "Name of this member."),
    flag("data-dir", Kind::Text, "", "Where the member keeps its data; ${name}.etcd if empty."),
    flag("wal-dir", Kind::Text, "", "Where its log is kept, if elsewhere."),
    flag("snapshot-count", Kind::Uint, "10000", "Entries after which the state is made durable."),
    flag("snapshot-catchup-entries", Kind::Uint, "5000", "Entries kept for slow followers."),
    flag("heartbeat-interval", Kind::Uint, "100", "Milliseconds between heartbeats."),
    flag(
        "election-timeout",
        Kind::Uint,
        "1000",
        "Milliseconds without a heartbeat to an election.",
    ),
    idle("initial-election-tick-advance", Kind::Bool, "true", "elections do not count ticks here"),
    flag("listen-peer-urls", Kind::Urls, "http://localhost:2380", "URLs to listen on for members."),
    flag(
        "listen-client-urls",
        Kind::Urls,
        "http://localhost:2379",
        "URLs to listen on for clients.",
    ),
    flag(
        "listen-client-http-urls",
        Kind::Urls,
        "",
        "URLs for HTTP alone; the others are gRPC's then.",
    ),
    flag("listen-metrics-urls", Kind::Urls, "", "URLs for health and metrics alone."),
    idle("max-snapshots", Kind::Uint, "5", "snapshots are not kept as files here"),
    idle("max-wals", Kind::Uint, "5", "log segments go as soon as nobody needs them"),
    flag("quota-backend-bytes", Kind::Int, "0", "Size of the data at which writes are refused."),
    idle("backend-bbolt-freelist-type", Kind::Text, "map", NO_BBOLT),
    idle("backend-batch-interval", Kind::Duration, "0s", NO_BBOLT),
    idle("backend-batch-limit", Kind::Int, "0", NO_BBOLT),
    flag("max-txn-ops", Kind::Uint, "128", "Most operations in a transaction."),
    flag("max-request-bytes", Kind::Uint, "1572864", "Largest request."),
    flag("max-concurrent-streams", Kind::Uint32, "4294967295", "Most streams of a connection."),
    flag("grpc-keepalive-min-time", Kind::Duration, "5s", "Clients that ping more often must go."),
    flag("grpc-keepalive-interval", Kind::Duration, "2h0m0s", "When a quiet client is pinged."),
    flag("grpc-keepalive-timeout", Kind::Duration, "20s", "How long it may take to answer."),
    flag("socket-reuse-port", Kind::Bool, "false", "SO_REUSEPORT on what is listened on."),
    flag("socket-reuse-address", Kind::Bool, "false", "SO_REUSEADDR on what is listened on."),
    idle("raft-read-timeout", Kind::Duration, "5s", "peers speak a protocol of their own here"),
    idle("raft-write-timeout", Kind::Duration, "5s", "peers speak a protocol of their own here"),
    flag(
        "initial-advertise-peer-urls",
        Kind::Urls,
        "http://localhost:2380",
        "This member's URLs for the others.",
    ),
    flag("initial-cluster", Kind::Text, "", "All founding members: NAME=URL,NAME=URL."),
    flag(
        "initial-cluster-state",
        Kind::Choice(&["new", "existing"]),
        "new",
        "Whether the cluster is founded or joined.",
    ),
    flag("initial-cluster-token", Kind::Text, "etcd-cluster", "Keeps clusters apart."),
    flag(
        "advertise-client-urls",
        Kind::Urls,
        "http://localhost:2379",
        "This member's URLs for clients.",
    ),
    flag("discovery-endpoints", Kind::List, "", "A cluster in which founders meet."),
    flag("discovery-token", Kind::Text, "", "Token of the cluster to be founded."),
    flag("discovery-dial-timeout", Kind::Duration, "2s", "Of discovery."),
    flag("discovery-request-timeout", Kind::Duration, "5s", "Of discovery."),
    flag("discovery-keepalive-time", Kind::Duration, "2s", "Of discovery."),
    flag("discovery-keepalive-timeout", Kind::Duration, "6s", "Of discovery."),
    flag("discovery-insecure-transport", Kind::Bool, "true", "Of discovery."),
    flag("discovery-insecure-skip-tls-verify", Kind::Bool, "false", "Of discovery."),
    flag("discovery-cert", Kind::Text, "", "Of discovery."),
    flag("discovery-key", Kind::Text, "", "Of discovery."),
    flag("discovery-cacert", Kind::Text, "", "Of discovery."),
    flag("discovery-user", Kind::Text, "", "Of discovery."),
    flag("discovery-password", Kind::Text, "", "Of discovery."),
    flag("discovery-srv", Kind::Text, "", "Domain with SRV records of the founders."),
    flag("discovery-srv-name", Kind::Text, "", "Of discovery."),
    idle("discovery", Kind::Text, "", "the v2 discovery service is gone"),
    idle("discovery-proxy", Kind::Text, "", "the v2 discovery service is gone"),
    flag("discovery-fallback", Kind::Choice(&["exit", "proxy"]), "exit", "Of discovery."),
    flag("strict-reconfig-check", Kind::Bool, "true", "Change members only while most run."),
    flag("max-learners", Kind::Int, "1", "Most learners in the cluster."),
    flag("pre-vote", Kind::Bool, "true", "Ask the others before standing for election."),
    flag("auto-compaction-retention", Kind::Text, "0", "What automatic compaction keeps; 0: all."),
    flag(
        "auto-compaction-mode",
        Kind::Text,
        "periodic",
        "periodic (a time is kept) or revision (a number).",
    ),
    idle(
        "v2-deprecation",
        Kind::Choice(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]),
        "write-only",
        "there is no v2 store here",
    ),
    flag("cert-file", Kind::Text, "", "Server certificate for clients (PEM)."),
    flag("key-file", Kind::Text, "", "Its key."),
    flag(
        "client-cert-file",
        Kind::Text,
        "",
        "Certificate for connections to other members' client ports.",
    ),
    flag("client-key-file", Kind::Text, "", "Its key."),
    flag("client-cert-auth", Kind::Bool, "false", "Refuse clients without a certificate."),
    flag("client-crl-file", Kind::Text, "", "Revoked certificates of clients."),
    flag(
        "client-cert-allowed-hostname",
        Kind::List,
        "",
        "Names of which a client's certificate has one.",
    ),
    flag("trusted-ca-file", Kind::Text, "", "The authority that clients' certificates come from."),
    flag("auto-tls", Kind::Bool, "false", "Make a certificate for clients."),
    flag("peer-cert-file", Kind::Text, "", "Server certificate for members (PEM)."),
    flag("peer-key-file", Kind::Text, "", "Its key."),
    flag("peer-client-cert-file", Kind::Text, "", "Certificate shown to members, if another."),
    flag("peer-client-key-file", Kind::Text, "", "Its key."),
    flag("peer-client-cert-auth", Kind::Bool, "false", "Refuse members without a certificate."),
    flag(
        "peer-trusted-ca-file",
        Kind::Text,
        "",
        "The authority that members' certificates come from.",
    ),
    flag(
        "peer-cert-allowed-cn",
        Kind::List,
        "",
        "Common names of which a member's certificate has one.",
    ),
    flag(
        "peer-cert-allowed-hostname",
        Kind::List,
        "",
        "Names of which a member's certificate has one.",
    ),
    flag("peer-auto-tls", Kind::Bool, "false", "Make a certificate for members."),
    flag("self-signed-cert-validity", Kind::Uint, "1", "Years that made certificates are valid."),
    flag("peer-crl-file", Kind::Text, "", "Revoked certificates of members."),
    flag(
        "peer-skip-client-san-verification",
        Kind::Bool,
        "false",
        "Do not compare a member's address with its certificate.",
    ),
    flag("cipher-suites", Kind::List, "", "TLS 1.2 cipher suites, by Go's names."),
    flag("tls-min-version", Kind::Text, "TLS1.2", "Oldest TLS version: TLS1.2 or TLS1.3."),
    flag("tls-max-version", Kind::Text, "", "Newest TLS version."),
    flag("cors", Kind::List, "*", "Origins whose pages may call."),
    flag("host-whitelist", Kind::List, "*", "Host names that plain HTTP is answered under."),
    flag("auth-token", Kind::Text, "simple", "simple, or jwt with its options."),
    flag("bcrypt-cost", Kind::Uint, "10", "Cost of hashing a password."),
    flag("auth-token-ttl", Kind::Uint, "300", "Seconds that a simple token lives."),
    flag("enable-pprof", Kind::Bool, "false", "/debug/pprof says how to make profiles here."),
    flag("metrics", Kind::Text, "basic", "basic or extensive."),
    flag("logger", Kind::Text, "zap", "The form of the log; zap's is the only one."),
    flag("log-outputs", Kind::List, "default", "default, stdout, stderr or files."),
    flag("log-level", Kind::Text, "info", "debug, info, warn, error, panic or fatal."),
    flag("log-format", Kind::Text, "json", "json or console."),
    flag("enable-log-rotation", Kind::Bool, "false", "Begin a new log file when one is full."),
    flag(
        "log-rotation-config-json",
        Kind::Text,
        "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \"compress\": false}",
        "When, and what is kept.",
    ),
    idle("enable-distributed-tracing", Kind::Bool, "false", NO_TRACES),
    idle("distributed-tracing-address", Kind::Text, "localhost:4317", NO_TRACES),
    idle("distributed-tracing-service-name", Kind::Text, "etcd", NO_TRACES),
    idle("distributed-tracing-instance-id", Kind::Text, "", NO_TRACES),
    idle("distributed-tracing-sampling-rate", Kind::Int, "0", NO_TRACES),
    flag("enable-grpc-gateway", Kind::Bool, "true", "Serve the JSON gateway below /v3/."),
    flag("corrupt-check-time", Kind::Duration, "0s", "How often members are compared; 0s: never."),
    flag(
        "compact-hash-check-time",
        Kind::Duration,
        "1m0s",
        "How soon after a compaction members are compared, with the gate CompactHashCheck.",
    ),
    flag("compaction-batch-limit", Kind::Int, "0", "Revisions of one step of a compaction."),
    flag("compaction-sleep-interval", Kind::Duration, "0s", "Pause between two of its steps."),
    flag(
        "watch-progress-notify-interval",
        Kind::Duration,
        "0s",
        "How often quiet watchers are told how far they are.",
    ),
    idle("downgrade-check-time", Kind::Duration, "5s", "a downgrade ends when it is asked for"),
    flag("warning-apply-duration", Kind::Duration, "100ms", "Slower applies and reads are logged."),
    flag("warning-unary-request-duration", Kind::Duration, "300ms", "Slower requests are logged."),
    idle("memory-mlock", Kind::Bool, "false", NO_BBOLT),
    flag(
        "bootstrap-defrag-threshold-megabytes",
        Kind::Uint,
        "0",
        "Defragment at start what would give back so much; 0: never.",
    ),
    flag("unsafe-no-fsync", Kind::Bool, "false", "Never wait for the disk; data may be lost."),
    flag("force-new-cluster", Kind::Bool, "false", "Forget all other members, keep the data."),
    flag("feature-gates", Kind::Gates, "", "Features by name: A=true,B=false."),
    flag(
        "config-file",
        Kind::Text,
        "",
        "A file with all of this, in place of flags and environment.",
    ),
    flag("version", Kind::Bool, "false", "Print the version and exit."),
    ignored("cluster-active-size"),
    ignored("cluster-remove-delay"),
    ignored("cluster-sync-interval"),
    ignored("config"),
    ignored("force"),
    ignored("max-result-buffer"),
    ignored("max-retry-attempts"),
    ignored("peer-heartbeat-interval"),
    ignored("peer-election-timeout"),
    ignored("retry-interval"),
    ignored("snapshot"),
    ignored("v"),
    ignored("vv"),
    ignored("test.coverprofile"),
    ignored("test.outputdir"),
];

/// Feature gates: name, default, and whether it is past alpha.
pub const GATES: &[(&str, bool, bool)] = &[
    ("CompactHashCheck", false, false),
    ("FastLeaseKeepAlive", true, true),
    ("InitialCorruptCheck", false, false),
    ("LeaseCheckpoint", false, false),
    ("LeaseCheckpointPersist", false, false),
    ("PriorityRequest", false, false),
    ("SetMemberLocalAddr", false, false),
    ("StopGRPCServiceOnDefrag", false, false),
    ("TxnModeWriteWithSharedBuffer", true, true),
];

/// Flags of 3.5 and 3.6 that became gates; the rest of the name follows `experimental-`.
const EXPERIMENTAL_GATES: &[(&str, &str)] = &[
    ("compact-hash-check-enabled", "CompactHashCheck"),
    ("enable-lease-checkpoint", "LeaseCheckpoint"),
    ("enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    ("initial-corrupt-check", "InitialCorruptCheck"),
    ("set-member-localaddr", "SetMemberLocalAddr"),
    ("stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
    ("txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
];

/// What a name on the command line, in the environment or in a file stands for.
#[derive(Debug, Clone, Copy)]
pub enum Named {
    /// A flag.
    Flag(&'static Flag),
    /// A gate that was a flag.
    Gate(&'static str),
}

/// Finds a flag, also under the name it had while it was experimental.
pub fn find(name: &str) -> Option<Named> {
    let by_name = |name: &str| FLAGS.iter().find(|flag| flag.name == name).map(Named::Flag);
    if let Some(rest) = name.strip_prefix("experimental-") {
        let gate = EXPERIMENTAL_GATES.iter().find(|(old, _)| *old == rest);
        return gate.map(|(_, gate)| Named::Gate(gate)).or_else(|| by_name(rest));
    }
    by_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_name_every_flag_without_effect() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/store.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let table = docs.split("## Flags without effect").nth(1).unwrap();
        let table = table.split("\n## ").next().unwrap();
        let named = |name: &str| {
            table.split('`').any(|text| match text.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => text == name,
            })
        };
        for flag in FLAGS {
            let is_idle = matches!(flag.effect, Effect::Nothing(_));
            assert!(!is_idle || named(flag.name), "docs/store.md does not name {}", flag.name);
            let is_excused = table.contains(&format!("| `{}`", flag.name));
            assert!(is_idle || !is_excused, "docs/store.md excuses {}, which works", flag.name);
        }
    }

    #[test]
    fn names_are_unique_and_old_ones_are_known() {
        for (index, flag) in FLAGS.iter().enumerate() {
            assert!(FLAGS[..index].iter().all(|other| other.name != flag.name), "{}", flag.name);
        }
        assert!(matches!(find("experimental-max-learners"), Some(Named::Flag(_))));
        assert!(matches!(find("experimental-initial-corrupt-check"), Some(Named::Gate(_))));
        assert!(find("experimental-nobody").is_none());
    }
}
