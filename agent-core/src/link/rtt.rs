//! The measured round trip and the timeout made from it (Jacobson's estimator, RFC 6298 §2).

use crate::time::Duration;

/// Estimates the round trip of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    floor: Duration,
    backoff: u8,
}

impl RoundTrip {
    /// `floor`: the timeout is never shorter; a few frame times.
    pub(super) fn new(floor: Duration) -> Self {
        Self { smoothed: None, variation: Duration::ZERO, floor, backoff: 0 }
    }

    /// A frame that was sent once has been acknowledged after `sample`.
    pub(super) fn measured(&mut self, sample: Duration) {
        self.backoff = 0;
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = sample.divided_by(2);
            return;
        };
        let distance = if sample > smoothed { sample - smoothed } else { smoothed - sample };
        self.variation = (self.variation.times(3) + distance).divided_by(4);
        self.smoothed = Some((smoothed.times(7) + sample).divided_by(8));
    }

    /// Something new was acknowledged: the line lives.
    pub(super) fn progressed(&mut self) {
        self.backoff = 0;
    }

    /// The timeout ran out.
    pub(super) fn expired(&mut self) {
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
    }

    /// How long to wait for an acknowledgement before a frame is sent again.
    pub(super) fn timeout(&self) -> Duration {
        let timeout = match self.smoothed {
            None => self.floor.max(FIRST_TIMEOUT),
            Some(smoothed) => (smoothed + self.variation.times(4)).max(self.floor),
        };
        let longest = self.floor.max(TIMEOUT_MAX);
        let timeout = timeout.times(1 << self.backoff);
        if timeout > longest { longest } else { timeout }
    }

    /// The smoothed round trip, once there is one.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }
}

/// Before anything is measured, on a fast line; on a slow one the floor is longer.
const FIRST_TIMEOUT: Duration = Duration::from_millis(800);

/// The line is given up by silence, not by backoff; so probing goes on at least this often, or as often as the floor
/// of a slow line allows.
const TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// Doublings at most. Backing off makes room for others, and there is nobody else on the line but a kernel that prints;
/// while a frame that is not tried often enough on a bad line costs the session.
const BACKOFF_MAX: u8 = 2;
