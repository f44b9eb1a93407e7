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
        }
        Ok(sum)
    }
}
