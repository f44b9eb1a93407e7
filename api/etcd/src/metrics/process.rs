//! What the operating system knows of this process.

use super::text::Text;

pub(super) fn write(out: &mut Text) {
    if let Some(resident) = resident_bytes() {
        out.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident);
    }
    if let Some(seconds) = cpu_seconds() {
        let help = "Total user and system CPU time spent in seconds.";
        out.counter("process_cpu_seconds_total", help, seconds);
    }
    if let Some(bytes) = virtual_bytes() {
        out.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", bytes);
    }
    if let Some(seconds) = start_seconds() {
        let help = "Start time of the process since unix epoch in seconds.";
        out.gauge("process_start_time_seconds", help, seconds);
    }
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let limit = descriptor_limit();
    out.gauge("process_open_fds", "Number of open file descriptors.", open);
    out.gauge("process_max_fds", "Maximum number of open file descriptors.", limit);
    out.gauge("os_fd_used", "The number of used file descriptors.", open);
    out.gauge("os_fd_limit", "The file descriptor limit.", limit);
}

/// The memory that this process holds.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

fn virtual_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(pages * 4096)
}

/// The system's start, and the ticks from there to the process's.
fn start_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let ticks: f64 = rest.split(' ').nth(19)?.parse().ok()?;
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    Some(booted + ticks / 100.0)
}

/// Ticks of a hundredth of a second, as Linux shows them everywhere.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(f64::from(user.saturating_add(system)) / 100.0)
}

/// How many files this process may have open; 0 where that cannot be known.
pub(crate) fn descriptor_limit() -> u64 {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
