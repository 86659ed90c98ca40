//! CPU time of another process.

use std::time::Duration;

use anyhow::Context;

/// User and system time of a process with all its threads, since it started.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    ticks: u64,
}

impl CpuTime {
    /// The time so far.
    ///
    /// From `/proc/PID/stat`, fields 14 and 15 (proc(5)); the second field may hold spaces, so
    /// counting begins behind its closing bracket.
    ///
    /// # Errors
    /// There is no such process, or no such file on this system.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        let (user, system) = field(11).zip(field(12)).with_context(|| format!("{path}: {stat}"))?;
        Ok(Self { ticks: user + system })
    }

    /// The time used since `earlier`.
    ///
    /// # Errors
    /// The kernel does not say how long a clock tick is.
    pub fn since(self, earlier: Self) -> anyhow::Result<Duration> {
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?
            .and_then(|ticks| u32::try_from(ticks).ok())
            .context("the kernel does not say how long a clock tick is")?;
        let ticks = u32::try_from(self.ticks - earlier.ticks)?;
        Ok(Duration::from_secs(1) * ticks / per_second)
    }
}
