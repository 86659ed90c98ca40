//! What every client library of Prometheus tells of its process, by the same names.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use trace::Micros;

use super::page::{Kind, Page};

/// Adds the process' own numbers; what the system does not tell is left out.
pub(super) fn put(page: &mut Page, started: Micros, memory: Option<u64>) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u64::try_from(cpu.tv_nsec).unwrap_or_default();
    let cpu = Micros(u64::try_from(cpu.tv_sec).unwrap_or_default() * 1_000_000 + nanos / 1000);
    page.family(Kind::Counter, "process_cpu_seconds_total", "CPU time, user and system.")
        .seconds(&[], cpu);
    page.family(Kind::Gauge, "process_start_time_seconds", "Start, since 1970.")
        .seconds(&[], started);
    if let Some(bytes) = memory {
        page.family(Kind::Gauge, "process_resident_memory_bytes", "Memory that is resident.")
            .value(&[], bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.family(Kind::Gauge, "process_open_fds", "Open file descriptors.")
            .value(&[], open.count());
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.family(Kind::Gauge, "process_max_fds", "Most file descriptors that may be open.")
            .value(&[], most);
    }
}
