//! What is to be typed, and how fast.

use std::collections::VecDeque;

use agent_core::time::{Duration, Instant};

/// Characters on their way to the line.
#[derive(Clone, Debug, Default)]
pub(super) struct Typist {
    queue: VecDeque<u8>,
    /// The pause after each character, for boards that lose them.
    delay: Option<Duration>,
    at: Instant,
}

impl Typist {
    pub(super) fn new(delay: Option<Duration>) -> Self {
        Self { queue: VecDeque::new(), delay, at: Instant::ZERO }
    }

    /// Behind what waits.
    pub(super) fn enter(&mut self, text: &str) {
        self.queue.extend(text.as_bytes());
    }

    /// What waits is not typed.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Until all of it is typed, as far as the pauses make it.
    pub(super) fn takes(&self, characters: usize) -> Duration {
        self.delay.unwrap_or_default().times((self.queue.len() + characters) as u64)
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        match self.delay {
            _ if self.queue.is_empty() => None,
            None => Some(std::mem::take(&mut self.queue).into()),
            Some(_) if now < self.at => None,
            Some(delay) => {
                self.at = now + delay;
                self.queue.pop_front().map(|byte| vec![byte])
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (!self.queue.is_empty()).then_some(self.at)
    }
}
