//! The only clocks of the agent.

use agent_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC: close to the kernel log's clock.
pub(crate) fn now() -> Instant {
    Instant::from_micros(micros(ClockId::CLOCK_MONOTONIC))
}

/// CLOCK_REALTIME in µs since 1970, right or wrong.
pub(crate) fn wall_us() -> u64 {
    micros(ClockId::CLOCK_REALTIME)
}

/// Time since boot in µs, sleep included.
pub(crate) fn uptime_us() -> u64 {
    micros(ClockId::CLOCK_BOOTTIME)
}

fn micros(clock: ClockId) -> u64 {
    // These clocks exist in every kernel since 2.6.39; a clock before 1970 counts as 1970.
    let Ok(time) = clock_gettime(clock) else { return 0 };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(time.tv_nsec() as u64 / 1_000)
}
