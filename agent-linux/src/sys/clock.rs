//! The only clocks of the agent.

use agent_core::time::Instant;
use nix::libc::{self, clockid_t, timespec};

/// CLOCK_MONOTONIC: close to the kernel log's clock.
pub(crate) fn now() -> Instant {
    Instant::from_micros(micros(libc::CLOCK_MONOTONIC))
}

/// CLOCK_REALTIME in µs since 1970, right or wrong.
pub(crate) fn wall_us() -> u64 {
    micros(libc::CLOCK_REALTIME)
}

/// Time since boot in µs, sleep included.
pub(crate) fn uptime_us() -> u64 {
    micros(libc::CLOCK_BOOTTIME)
}

fn micros(clock: clockid_t) -> u64 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills it. These clocks exist in every one since 2.6.39.
    #[allow(unsafe_code)]
    unsafe {
        libc::clock_gettime(clock, &raw mut time);
    }
    // A clock before 1970 counts as 1970.
    time.tv_sec.max(0) as u64 * 1_000_000 + u64::from(time.tv_nsec as u32 / 1_000)
}
