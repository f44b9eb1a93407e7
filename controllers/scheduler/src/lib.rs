//! The scheduler: queue, cache, framework, plugins.
