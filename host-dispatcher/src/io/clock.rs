//! The one place of the dispatcher that reads clocks.

use std::sync::OnceLock;

use agent_core::time::Instant;

/// Monotonic time: microseconds since this function was first called, which is when the process started for all
/// purposes here. Goes on while the host sleeps or not, as `CLOCK_MONOTONIC` does (not), and never backwards.
#[expect(clippy::disallowed_methods, reason = "the clock of the dispatcher")]
pub fn now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let now = std::time::Instant::now();
    let since_start = now.saturating_duration_since(*START.get_or_init(|| now));
    Instant::from_micros(u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX))
}

/// The time of day, for people and files. It may jump: nothing is measured with it.
#[expect(clippy::disallowed_methods, reason = "the clock of the dispatcher")]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A number made of a time of day that differs from run to run; nothing secret hangs on it.
pub fn seed(wall: jiff::Timestamp) -> u64 {
    let nanoseconds = wall.as_nanosecond() as u64;
    nanoseconds ^ u64::from(std::process::id()) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_backwards() {
        let first = now();
        assert!(now() >= first);
    }
}
