//! The clock of one boot of a board, as the host sees it: every time of the board becomes one of the host, with the
//! most that it may be off by.
//!
//! The way is NTP's (RFC 5905): exchanges of four times ([`sample`]), of a group the fastest (§10), and a line through
//! what the groups brought ([`fit`]). The kernel's log has a clock of its own, which a marker ties to the agent's
//! ([`Mark`]). Pure: times are passed in.

pub mod fit;
pub mod sample;

use jiff::{SignedDuration, Timestamp};

use fit::{Fit, WANDER_PPM};
pub use sample::Sample;

/// The clock of one boot.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fit: Fit,
    /// Where the host's monotonic clock stands on its wall clock: both were read at once.
    wall: Option<(i64, Timestamp)>,
    mark: Option<Mark>,
}

/// A time of the host that was one of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTime {
    /// By the wall clock.
    pub wall: Timestamp,
    /// The most that it may be off by, µs.
    pub uncertainty_us: u64,
}

/// How the kernel log's clock stands to the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The marker's time in the kernel's log, µs.
    kernel_us: i64,
    /// The log's time minus the agent's, µs.
    offset_us: i64,
    /// The most that this may be off by, µs: half of the time between the agent's two readings around the marker.
    half_us: u64,
}

/// How good a clock is, for the record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// How far a time at the newest sample may be off, µs.
    pub uncertainty_us: u64,
    /// How much faster than the host's clock the board's runs, ppm; nothing until it is known.
    pub drift_ppm: Option<f64>,
    /// Groups of exchanges that told something.
    pub samples: u64,
    /// The kernel log's time minus the agent's, µs; nothing without a marker.
    pub kernel_offset_us: Option<i64>,
}

impl Clock {
    /// Takes the fastest exchange of a group, and a moment at which both of the host's clocks were read. Returns whether
    /// it told anything: see [`Fit::add`].
    pub fn add(&mut self, sample: Sample, now_us: u64, wall: Timestamp) -> bool {
        // The newest pair: where somebody sets the wall clock, console text goes by the new time, too.
        self.wall = i64::try_from(now_us).ok().map(|now| (now, wall));
        self.fit.add(sample)
    }

    /// Takes a marker of the kernel's log.
    pub fn set_mark(&mut self, mark: Mark) {
        self.mark = Some(mark);
    }

    /// Whether there is a marker.
    pub fn is_marked(&self) -> bool {
        self.mark.is_some()
    }

    /// The host's time at a time of the agent (CLOCK_MONOTONIC, µs); nothing before the first sample.
    pub fn host_time(&self, board_us: u64) -> Option<HostTime> {
        self.at(i64::try_from(board_us).ok()?, 0)
    }

    /// The host's time at a time of the kernel's log, µs. Without a marker that clock counts as the agent's.
    pub fn host_time_of_kernel(&self, kernel_us: u64) -> Option<HostTime> {
        let kernel_us = i64::try_from(kernel_us).ok()?;
        let Some(mark) = self.mark else { return self.at(kernel_us, 0) };
        let age_us = kernel_us.abs_diff(mark.kernel_us);
        // One oscillator, or nearly so; but the agent's clock is steered where the board keeps time by NTP.
        let ageing = (age_us as f64 * WANDER_PPM / 1e6).ceil() as u64;
        self.at(kernel_us.saturating_sub(mark.offset_us), mark.half_us.saturating_add(ageing))
    }

    /// How good it is; nothing before the first sample.
    pub fn quality(&self) -> Option<Quality> {
        let newest = self.fit.newest_us()?;
        Some(Quality {
            uncertainty_us: self.fit.at(newest)?.uncertainty_us,
            drift_ppm: self.fit.drift_ppm(),
            samples: self.fit.samples(),
            kernel_offset_us: self.mark.map(|mark| mark.offset_us),
        })
    }

    fn at(&self, board_us: i64, more_us: u64) -> Option<HostTime> {
        let (now_us, wall) = self.wall?;
        let found = self.fit.at(board_us)?;
        let since = SignedDuration::from_micros(found.host_us.saturating_sub(now_us));
        Some(HostTime {
            // A time that no calendar has is a board's that cannot be meant so.
            wall: wall.checked_add(since).unwrap_or(wall),
            uncertainty_us: found.uncertainty_us.saturating_add(more_us),
        })
    }
}

impl Mark {
    /// From the agent's clock before and after the marker was written, and the kernel's time of it, all in µs. Nothing
    /// when these cannot be: the second reading before the first, or times of centuries.
    pub fn new(before_us: u64, after_us: u64, kernel_us: u64) -> Option<Self> {
        let [before, after, kernel] = sample::plausible([before_us, after_us, kernel_us])?;
        let took = u64::try_from(after.checked_sub(before)?).ok()?;
        Some(Self {
            kernel_us: kernel,
            offset_us: kernel - (before + after) / 2,
            // And the microseconds that clocks leave out.
            half_us: took.div_ceil(2) + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(us: i64) -> Timestamp {
        Timestamp::from_microsecond(1_330_560_000_000_000 + us).unwrap()
    }

    /// A board whose clock shows 5 s when the host's shows 1 s.
    fn clock() -> Clock {
        let mut clock = Clock::default();
        let sample = Sample::new(999_000, 5_000_000, 5_000_100, 1_001_100).unwrap();
        assert!(clock.add(sample, 1_002_000, wall(1_002_000)));
        clock
    }

    #[test]
    fn a_time_of_the_board_is_one_of_the_host() {
        let found = clock().host_time(6_000_050).unwrap();
        assert_eq!(found.wall, wall(2_000_050));
        // Half of the round trip, and a second of a crystal that was never compared.
        assert!((1_100..1_110).contains(&found.uncertainty_us), "{found:?}");
        let before_the_first = clock().host_time(0).unwrap();
        assert_eq!(before_the_first.wall, wall(-4_000_000));
        assert!((1_500..1_510).contains(&before_the_first.uncertainty_us), "{before_the_first:?}");
        assert_eq!(Clock::default().host_time(1), None);
        assert_eq!(clock().host_time(u64::MAX), None);
    }

    #[test]
    fn the_kernels_clock_is_tied_by_its_marker() {
        let mut clock = clock();
        let as_agent = clock.host_time(5_000_000).unwrap();
        assert_eq!(clock.host_time_of_kernel(5_000_000), Some(as_agent));
        clock.set_mark(Mark::new(5_000_200, 5_000_260, 4_997_230).unwrap());
        assert_eq!(clock.quality().unwrap().kernel_offset_us, Some(-3_000));
        let found = clock.host_time_of_kernel(4_997_000).unwrap();
        assert_eq!(found.wall, as_agent.wall);
        let more = found.uncertainty_us - as_agent.uncertainty_us;
        assert!((31..=33).contains(&more), "{found:?}");
    }

    #[test]
    fn a_marker_that_cannot_be_is_none() {
        assert_eq!(Mark::new(2, 1, 1), None);
        assert_eq!(Mark::new(1, 2, u64::MAX), None);
        assert!(Mark::new(1, 1, 0).is_some());
    }
}
