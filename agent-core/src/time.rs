//! Instants and durations in whole microseconds, made by the shell's clock or by a test.
//!
//! `core` has no `Instant`, and the standard library's cannot be fabricated, so tests could not write one.

use core::fmt;
use core::ops::{Add, Sub};

/// A point in time: microseconds since an epoch that the owner chose (boot, process start, a test's zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant {
    us: u64,
}

impl Instant {
    /// The epoch.
    pub const ZERO: Self = Self { us: 0 };

    /// `us` microseconds after the epoch.
    pub const fn from_micros(us: u64) -> Self {
        Self { us }
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.us
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    // Both are called in a hundred places, and as long as a call: not in line they are 700 bytes less.
    #[inline(never)]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration { us: self.us.saturating_sub(earlier.us) }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    #[inline(never)]
    fn add(self, rhs: Duration) -> Self {
        Self { us: self.us.saturating_add(rhs.us) }
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self { us: self.us.saturating_sub(rhs.us) }
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.us / 1_000_000, self.us % 1_000_000)
    }
}

/// A span of time in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    us: u64,
}

impl Duration {
    /// No time.
    pub const ZERO: Self = Self { us: 0 };

    /// `us` microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self { us }
    }

    /// `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self { us: ms.saturating_mul(1_000) }
    }

    /// `s` seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self { us: s.saturating_mul(1_000_000) }
    }

    /// In microseconds.
    pub const fn as_micros(self) -> u64 {
        self.us
    }

    /// In milliseconds, rounded up, so that a wait of this length never ends early.
    pub const fn as_millis_ceil(self) -> u64 {
        self.us.div_ceil(1_000)
    }

    /// `factor` times as long.
    pub const fn times(self, factor: u64) -> Self {
        Self { us: self.us.saturating_mul(factor) }
    }

    /// `1/divisor` of it; `divisor` must not be 0.
    pub const fn divided_by(self, divisor: u64) -> Self {
        Self { us: self.us / divisor }
    }

    /// The longer of the two.
    pub fn max(self, other: Self) -> Self {
        Ord::max(self, other)
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self { us: self.us.saturating_add(rhs.us) }
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self { us: self.us.saturating_sub(rhs.us) }
    }
}
