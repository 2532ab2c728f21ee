//! One exchange of four times, and the choice among several.

/// What one exchange told: at `board_us` of the board it was `host_us` on the host, give or take `half_us`.
///
/// The bound is a hard one, whatever the line did: the request did not arrive before it was sent, nor the answer leave
/// after it arrived (RFC 5905 §8; the offset is off by at most half of the delay). It says nothing of the way being
/// equally long in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The middle of the board's two times, µs of its CLOCK_MONOTONIC.
    pub board_us: i64,
    /// The middle of the host's two times, µs of its monotonic clock.
    pub host_us: i64,
    /// Half of the time on the line, rounded up, and 2 µs that the clocks leave out.
    pub half_us: u64,
}

impl Sample {
    /// From the host's time when the request was sent, the board's when it came and when it was answered, and the
    /// host's when the answer came, all in µs. Nothing when these cannot be: a clock that goes backwards, an answer
    /// that took longer on the board than the whole exchange, times of centuries.
    pub fn new(sent_us: u64, received_us: u64, answered_us: u64, came_us: u64) -> Option<Self> {
        let [sent, received, answered, came] =
            plausible([sent_us, received_us, answered_us, came_us])?;
        let on_board = u64::try_from(answered - received).ok()?;
        let delay = u64::try_from(came - sent).ok()?.checked_sub(on_board)?;
        Some(Self {
            board_us: received + (answered - received) / 2,
            host_us: sent + (came - sent) / 2,
            half_us: delay.div_ceil(2) + 2,
        })
    }

    /// The fastest of a group: what it says is the most exact (RFC 5905 §10, the clock filter).
    pub fn fastest(group: impl IntoIterator<Item = Self>) -> Option<Self> {
        group.into_iter().min_by_key(|sample| sample.half_us)
    }
}

/// The times, if none is so large that sums of them could overflow.
pub(super) fn plausible<const N: usize>(times_us: [u64; N]) -> Option<[i64; N]> {
    let fits = times_us.iter().all(|time| *time <= TIME_MAX_US);
    fits.then(|| times_us.map(|time| time as i64))
}

/// 300 years; no clock that counts from a boot shows more.
const TIME_MAX_US: u64 = 10_000_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_times_are_an_offset_and_a_bound() {
        let sample = Sample::new(100, 7_030, 7_040, 150).unwrap();
        assert_eq!(sample, Sample { board_us: 7_035, host_us: 125, half_us: 22 });
        let slow = Sample::new(100, 7_030, 7_040, 250).unwrap();
        assert_eq!(Sample::fastest([slow, sample, slow]), Some(sample));
        assert_eq!(Sample::fastest([]), None);
    }

    #[test]
    fn times_that_cannot_be_are_none() {
        assert_eq!(Sample::new(100, 7_040, 7_030, 150), None, "the board went backwards");
        assert_eq!(Sample::new(150, 7_030, 7_040, 100), None, "the host went backwards");
        assert_eq!(Sample::new(100, 7_000, 7_051, 150), None, "longer on the board than in all");
        assert_eq!(Sample::new(100, u64::MAX, u64::MAX, 150), None);
        assert!(Sample::new(0, 0, 0, 0).is_some());
    }
}
