//! Checks recorded histories: linearizability and the promises of watches.
