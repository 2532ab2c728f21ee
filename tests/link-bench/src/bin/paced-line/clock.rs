//! The one place that reads a clock.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Time since the machine started; other processes read the same clock.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Into::into)
}
