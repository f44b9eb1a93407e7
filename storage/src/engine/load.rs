//! EngineLoad: what an engine has to do in the background, and what writers feel of it.

/// What an engine is at, as of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineLoad {
    /// Writes stand still until a flush or a compaction is done.
    pub is_stopped: bool,
    /// Writes are slowed down to so many bytes a second; 0: they are not.
    pub delayed_to_bytes: u64,
    /// How often writes were stopped since the engine was opened.
    pub stops: u64,
    /// How often they were slowed down.
    pub delays: u64,
    /// Bytes that compactions have still to rewrite, estimated.
    pub compaction_debt_bytes: u64,
    /// Files that no compaction has looked at.
    pub level0_files: u64,
    /// Compactions that run.
    pub compactions: u64,
    /// Flushes that run.
    pub flushes: u64,
    /// Full write buffers that are not on disk yet.
    pub buffers_waiting: u64,
    /// Bytes of all write buffers.
    pub buffer_bytes: u64,
    /// Bytes of the block cache in use.
    pub cache_bytes: u64,
    /// Background work that failed.
    pub background_errors: u64,
}
