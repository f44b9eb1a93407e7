//! CPU time and memory of other processes, from /proc.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// What some processes have used together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time since each process started.
    pub cpu: Duration,
    /// Resident bytes now.
    pub memory: u64,
    /// The most resident bytes since each process started.
    pub peak: u64,
}

impl Usage {
    /// Sums over `pids`.
    pub fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("process {pid} is not running"))?;
            // The command may hold blanks: fields count from behind its closing parenthesis.
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
            let number = |index: usize| -> u64 {
                fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0)
            };
            let ticks = number(11) + number(12);
            let tick = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
            let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
            sum.cpu += Duration::from_secs_f64(ticks as f64 / tick as f64);
            sum.memory += number(21) * u64::try_from(page).unwrap_or(4096);
            sum.peak += peak(*pid)?;
        }
        Ok(sum)
    }
}

fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is not running"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    Ok(kib << 10)
}

/// User and system time of this process so far.
pub fn own_cpu() -> Result<Duration> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let micros = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec() as u64) + Duration::from_micros(time.tv_usec() as u64)
    };
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}
