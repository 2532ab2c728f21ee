//! Where the lines of one source of one boot stand on the timeline, so that one that comes late finds its place.

use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::{SignedDuration, Timestamp};

/// Lines by the board's time, with the host's that it became; the newest [`PLACED_MAX`].
#[derive(Debug, Default)]
pub(super) struct Placed(BTreeMap<u64, Timestamp>);

/// Those of some minutes of a kernel that says much.
const PLACED_MAX: usize = 16 * 1024;

/// What keeps lines apart that are sorted by their time: see `store/timeline.rs`.
const JUST: SignedDuration = SignedDuration::from_micros(1);

impl Placed {
    /// Places a line of `board_us` that the clock, as it is known now, puts at `wall`: not before a line that was written
    /// earlier, and before one that was written later.
    pub(super) fn put(&mut self, board_us: u64, wall: Timestamp) -> Timestamp {
        let mut place = wall;
        let later = self.0.range((Bound::Excluded(board_us), Bound::Unbounded)).next();
        if let Some((_, later)) = later
            && *later <= place
        {
            place = later.saturating_sub(JUST).unwrap_or(*later);
        }
        if let Some((_, earlier)) = self.0.range(..=board_us).next_back() {
            place = place.max(*earlier);
        }
        self.0.insert(board_us, place);
        if self.0.len() > PLACED_MAX {
            self.0.pop_first();
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_microsecond(us).unwrap()
    }

    #[test]
    fn what_comes_late_stands_between_its_neighbours_whatever_the_clock_says_now() {
        let mut placed = Placed::default();
        let mut put = |board_us, wall| placed.put(board_us, at(wall)).as_microsecond();
        assert_eq!([put(12_611, 506_107), put(12_656, 506_152)], [506_107, 506_152]);
        // Another comparison of the clocks has moved all by -1 ms, then by +1 ms.
        assert_eq!(put(13_045, 505_493), 506_152);
        assert_eq!(put(12_640, 507_136), 506_151);
        assert_eq!(put(11_000, 503_000), 503_000);
        assert_eq!(put(12_000, 507_000), 506_106);
        // The same line once more.
        assert_eq!(put(12_656, 505_000), 506_152);
    }

    #[test]
    fn memory_is_bounded() {
        let mut placed = Placed::default();
        for us in 0..3 * PLACED_MAX as u64 {
            placed.put(us, at(us as i64));
        }
        assert_eq!(placed.0.len(), PLACED_MAX);
    }
}
