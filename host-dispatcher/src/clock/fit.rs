//! The line through samples of a clock, and the most that it may be off by.
//!
//! **Where the time is**: on a line through the samples, by least squares, each sample weighted with the inverse square
//! of its half round trip: that is how far it may be off, and one from a loaded line must not count as one from an
//! idle line.
//!
//! **How far it may be off** is no statistics, for the errors of a line are not random: they go one way while it is
//! loaded one way. Each sample is a bound: the truth was within its half round trip, and before and after it within
//! what the rates of two crystals may have made of the time between. What all samples say together is the bound.
//!
//! **Which rates there may be**: at first ±[`CRYSTAL_PPM`]. Then every two samples allow only such rates as lead from
//! somewhere within the one to somewhere within the other; rates that every pair allows are possible, give or take
//! [`WANDER_PPM`]. When none is, the clock has stepped or something held it, and the older samples go.

use std::collections::VecDeque;

use super::sample::Sample;

/// How much a board's clock may differ in rate from a host's before that was measured, ppm. Crystals for processors are
/// sold with ±10 to ±50 ppm over their temperatures and years, and there are two.
pub const CRYSTAL_PPM: f64 = 100.0;

/// How much the rate itself may change with temperature, voltage and the host's own steering, ppm. An AT-cut crystal
/// that warms up by 20 K changes by less than this.
pub const WANDER_PPM: f64 = 5.0;

/// Samples that are kept. With a group a minute they cover an hour, in which the rate is nearly constant.
pub const SAMPLES_MAX: usize = 60;

/// A sample whose half round trip is so many times what is known already tells nothing: it was taken under load.
const SLOW: u64 = 2;

/// The rate counts as known when it is known to half of what a crystal may be off by.
const KNOWN_PPM: f64 = CRYSTAL_PPM / 2.0;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Fit {
    samples: VecDeque<Sample>,
    /// Samples taken in all.
    taken: u64,
    line: Line,
}

/// A time of the host, µs of its monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The time.
    pub host_us: i64,
    /// The most that it may be off by.
    pub uncertainty_us: u64,
}

/// Host minus board over the board's time, both counted from a sample so that numbers stay exact.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    origin: (i64, i64),
    center: (f64, f64),
    /// µs of the host per µs of the board, minus 1.
    rate: f64,
    /// The most that the rate may be off by.
    rate_bound: f64,
}

impl Fit {
    /// Takes a sample. Returns `false` when it tells nothing: it is far slower than what is known is uncertain, or older
    /// than the newest.
    pub fn add(&mut self, sample: Sample) -> bool {
        if self.newest_us().is_some_and(|newest| sample.board_us < newest) {
            // The board's clock went back, which within one boot it cannot.
            self.samples.clear();
        }
        let known = self.at(sample.board_us).map(|found| found.uncertainty_us);
        if known.is_some_and(|known| sample.half_us > known.saturating_mul(SLOW)) {
            return false;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.taken += 1;
        while let Some(origin) = self.samples.front().copied() {
            match rates(&self.samples) {
                Some(range) => {
                    self.line = Line::through(&self.samples, origin, range);
                    break;
                }
                // One alone allows every rate there may be, so the newest stays.
                None => self.samples.pop_front(),
            };
        }
        true
    }

    /// The host's time at a time of the board, µs, past or future; nothing before the first sample.
    pub fn at(&self, board_us: i64) -> Option<Found> {
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for sample in &self.samples {
            let away = board_us.saturating_sub(sample.board_us) as f64;
            let (_, offset) = self.line.relative(sample);
            let middle = offset + away * self.line.rate;
            let width = sample.half_us as f64 + away.abs() * self.line.rate_bound;
            low = low.max(middle - width);
            high = high.min(middle + width);
        }
        if self.samples.is_empty() {
            return None;
        }
        // Numbers are rounded, and so may be off where two bounds touch.
        let (low, high) = (low.min(high), high.max(low));
        let offset = self.line.offset(board_us).clamp(low, high);
        let uncertainty_us = (high - offset).max(offset - low).ceil() as u64 + 1;
        let (board, host) = self.line.origin;
        let host_us = board_us.saturating_sub(board).saturating_add(host);
        Some(Found { host_us: host_us.saturating_add(offset.round() as i64), uncertainty_us })
    }

    /// How much faster than the host's clock the board's runs, ppm; nothing until it is known to ±50 ppm.
    pub fn drift_ppm(&self) -> Option<f64> {
        let is_known = !self.samples.is_empty() && self.line.rate_bound * 1e6 <= KNOWN_PPM;
        // What takes the host longer than the board shows a fast board from the other side.
        is_known.then(|| (1.0 / (1.0 + self.line.rate) - 1.0) * 1e6)
    }

    /// The board's time of the newest sample, µs.
    pub fn newest_us(&self) -> Option<i64> {
        self.samples.back().map(|sample| sample.board_us)
    }

    /// Samples taken since the beginning.
    pub fn samples(&self) -> u64 {
        self.taken
    }
}

impl Line {
    /// By least squares, as far as the rates allow; while these allow much, with the one in their middle, since a short
    /// line points anywhere.
    fn through(samples: &VecDeque<Sample>, origin: Sample, (low, high): (f64, f64)) -> Self {
        let mut line = Self { origin: (origin.board_us, origin.host_us), ..Self::default() };
        let weighted = || {
            samples.iter().map(|sample| {
                let (x, y) = line.relative(sample);
                ((sample.half_us as f64).powi(-2), x, y)
            })
        };
        let sum: f64 = weighted().map(|(weight, ..)| weight).sum();
        let x_mean = weighted().map(|(weight, x, _)| weight * x).sum::<f64>() / sum;
        let y_mean = weighted().map(|(weight, _, y)| weight * y).sum::<f64>() / sum;
        let xy: f64 = weighted().map(|(weight, x, y)| weight * (x - x_mean) * (y - y_mean)).sum();
        let xx: f64 = weighted().map(|(weight, x, _)| weight * (x - x_mean).powi(2)).sum();
        let is_known = (high - low) / 2.0 * 1e6 <= KNOWN_PPM && xx > 0.0;
        line.rate = if is_known { (xy / xx).clamp(low, high) } else { (low + high) / 2.0 };
        line.center = (x_mean, y_mean);
        line.rate_bound = (high - line.rate).max(line.rate - low);
        line
    }

    /// A sample's board time, and host minus board, from the origin.
    fn relative(&self, sample: &Sample) -> (f64, f64) {
        let (board, host) = self.origin;
        let x = sample.board_us - board;
        (x as f64, (sample.host_us - host - x) as f64)
    }

    fn offset(&self, board_us: i64) -> f64 {
        let x = board_us.saturating_sub(self.origin.0) as f64;
        self.center.1 + (x - self.center.0) * self.rate
    }
}

/// The lowest and the highest rate that all samples allow; nothing when they allow none.
///
/// Intervals on a line that meet two by two have a point in common (Helly), so looking at pairs is enough.
fn rates(samples: &VecDeque<Sample>) -> Option<(f64, f64)> {
    let (mut low, mut high) = (-CRYSTAL_PPM / 1e6, CRYSTAL_PPM / 1e6);
    for (index, later) in samples.iter().enumerate() {
        for earlier in samples.range(..index) {
            let board = (later.board_us - earlier.board_us) as f64;
            let gain = (later.host_us - earlier.host_us) as f64 - board;
            let slack = (later.half_us + earlier.half_us) as f64 + board * WANDER_PPM / 1e6;
            if board > 0.0 {
                low = low.max((gain - slack) / board);
                high = high.min((gain + slack) / board);
            } else if gain.abs() > slack {
                return None;
            }
        }
    }
    (low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serial_sim::Rng;

    /// A board whose clock shows `start_us` when the host's shows 0, and runs `ppm` fast.
    #[derive(Clone, Copy)]
    struct Truth {
        start_us: i64,
        ppm: f64,
    }

    impl Truth {
        fn board_us(self, host_us: i64) -> i64 {
            self.start_us + (host_us as f64 * (1.0 + self.ppm / 1e6)).floor() as i64
        }

        /// An exchange that was sent then and took so long in each direction.
        fn exchange(self, sent_us: i64, there_us: i64, back_us: i64) -> Sample {
            let arrived_us = sent_us + there_us;
            let came_us = arrived_us + 150 + back_us;
            let board = [self.board_us(arrived_us), self.board_us(arrived_us + 150)];
            Sample::new(sent_us as u64, board[0] as u64, board[1] as u64, came_us as u64).unwrap()
        }

        fn check(self, fit: &Fit, host_us: i64) {
            let found = fit.at(self.board_us(host_us)).unwrap();
            let error = found.host_us.abs_diff(host_us);
            assert!(error <= found.uncertainty_us, "{error} µs off at {host_us}, said {found:?}");
        }
    }

    /// One of a group of 8 whose exchanges take 4 ms in each direction, and now and then far longer in one of them.
    fn group(truth: Truth, at_us: i64, rng: &mut Rng, loaded_one_in: u64) -> Sample {
        let mut at_us = at_us;
        let mut one = || {
            let mut ways = [4_000 + rng.below(1_500) as i64, 4_000 + rng.below(1_500) as i64];
            if rng.one_in(loaded_one_in) {
                ways[usize::from(rng.one_in(2))] += rng.below(120_000) as i64;
            }
            let sample = truth.exchange(at_us, ways[0], ways[1]);
            at_us += ways[0] + ways[1] + 300;
            sample
        };
        Sample::fastest((0..8).map(|_| one())).unwrap()
    }

    #[test]
    fn a_drift_is_found_to_a_millionth() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let truth = Truth { start_us: rng.below(1 << 40) as i64, ppm: 50.0 };
            let mut fit = Fit::default();
            for index in 0..60 {
                fit.add(group(truth, index * 10_000_000, &mut rng, 4));
            }
            let drift = fit.drift_ppm().unwrap();
            assert!((drift - 50.0).abs() < 1.0, "seed {seed}: {drift} ppm");
        }
    }

    #[test]
    fn the_bound_holds_before_among_and_behind_the_samples() {
        for seed in 0..2_000 {
            let mut rng = Rng::new(seed);
            let ppm = rng.below(180) as f64 - 90.0;
            let truth = Truth { start_us: rng.below(1 << 40) as i64, ppm };
            let loaded = [0, 8, 2, 1][rng.below(4) as usize];
            let mut fit = Fit::default();
            let mut at_us = 120_000_000;
            for _ in 0..rng.between(1, 30) {
                fit.add(group(truth, at_us, &mut rng, loaded));
                at_us += rng.between(1_000_000, 60_000_000) as i64;
                truth.check(&fit, at_us);
            }
            for host_us in (0..at_us + 600_000_000).step_by(17_654_321) {
                truth.check(&fit, host_us);
            }
        }
    }

    #[test]
    fn the_bound_holds_while_a_board_warms_up() {
        // From +30 to +34 ppm within 20 minutes, which is no straight line.
        let board_us = |host_us: i64| {
            let seconds = host_us as f64 / 1e6;
            let warm = 4.0 * (seconds - 300.0 * (1.0 - (-seconds / 300.0).exp()));
            host_us + (seconds * 30.0 + warm).floor() as i64 + 7_000_000
        };
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut fit = Fit::default();
            for index in 0..60 {
                let sent = index * 20_000_000;
                let arrived = sent + 900 + rng.below(300) as i64;
                let came = arrived + 900 + rng.below(300) as i64;
                let [sent, at, came] = [sent, board_us(arrived), came].map(|time| time as u64);
                fit.add(Sample::new(sent, at, at, came).unwrap());
                for host_us in (0..sent as i64 + 30_000_000).step_by(29_876_543) {
                    let found = fit.at(board_us(host_us)).unwrap();
                    let error = found.host_us.abs_diff(host_us);
                    assert!(error <= found.uncertainty_us, "seed {seed}: {error}, {found:?}");
                }
            }
            assert!((30.0..35.0).contains(&fit.drift_ppm().unwrap()), "{:?}", fit.drift_ppm());
        }
    }

    #[test]
    fn one_group_is_an_offset_that_ages() {
        let truth = Truth { start_us: 77, ppm: 0.0 };
        let mut fit = Fit::default();
        assert_eq!((fit.at(0), fit.drift_ppm()), (None, None));
        assert!(fit.add(truth.exchange(1_000_000, 3_000, 3_000)));
        assert_eq!(fit.drift_ppm(), None);
        let now = fit.at(fit.newest_us().unwrap()).unwrap();
        assert!((3_000..3_010).contains(&now.uncertainty_us), "{now:?}");
        let later = fit.at(fit.newest_us().unwrap() + 100_000_000).unwrap();
        assert_eq!(later.uncertainty_us - now.uncertainty_us, 10_000);
    }

    #[test]
    fn what_is_known_ages_slowly() {
        let truth = Truth { start_us: 77, ppm: -20.0 };
        let mut fit = Fit::default();
        for index in 0..60 {
            fit.add(truth.exchange(index * 60_000_000, 3_000, 3_000));
        }
        let newest = fit.newest_us().unwrap();
        let ageing = fit.at(newest + 60_000_000).unwrap().uncertainty_us
            - fit.at(newest).unwrap().uncertainty_us;
        // Of 6000 µs before the rate was known.
        assert!(ageing < 600, "{ageing} µs in a minute");
    }

    #[test]
    fn a_sample_from_a_loaded_line_tells_nothing() {
        let truth = Truth { start_us: 0, ppm: 10.0 };
        let mut fit = Fit::default();
        assert!(fit.add(truth.exchange(0, 3_000, 3_000)));
        assert!(!fit.add(truth.exchange(10_000_000, 3_000, 90_000)));
        assert_eq!(fit.samples(), 1);
        // After a long time without a better one it does.
        assert!(fit.add(truth.exchange(600_000_000, 3_000, 90_000)));
    }

    #[test]
    fn a_clock_that_steps_begins_anew() {
        let mut fit = Fit::default();
        let before = Truth { start_us: 50_000_000, ppm: 30.0 };
        (0..20).for_each(|index| _ = fit.add(before.exchange(index * 10_000_000, 3_000, 3_000)));
        for start_us in [58_000_000, 1_000_000] {
            let after = Truth { start_us, ppm: 30.0 };
            assert!(fit.add(after.exchange(200_000_000, 3_000, 3_000)));
            assert_eq!(fit.drift_ppm(), None);
            after.check(&fit, 200_000_000);
        }
    }

    #[test]
    fn memory_is_bounded_and_any_numbers_are_taken() {
        let mut fit = Fit::default();
        for index in 0..500 {
            fit.add(Sample { board_us: index * 1_000, host_us: index * 1_000, half_us: 5_000 });
        }
        assert_eq!(fit.samples.len(), SAMPLES_MAX);
        let mut rng = Rng::new(1);
        for _ in 0..2_000 {
            let bits = rng.below(54);
            let times = [(); 4].map(|()| rng.below(1 << bits));
            if let Some(sample) = Sample::new(times[0], times[1], times[2], times[3]) {
                fit.add(sample);
            }
            let _ = fit.at(rng.next_u64() as i64);
        }
    }
}
