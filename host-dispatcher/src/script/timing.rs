//! Comparing the board's clock with the host's: a group of exchanges when a session opens, and again and again while it
//! lasts.

use std::cell::RefCell;
use std::future::pending;

use agent_core::link::Coding;
use agent_core::time::Duration;
use agent_core::wire::response::{Clock as Times, ClockMark};
use agent_core::wire::{Method, request};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::files::SHORT_DEADLINE;
use super::live::Live;
use super::{Bench, Fault};
use crate::board::Slot;
use crate::clock::{Clock, Mark, Sample};
use crate::job::event::{BoardClock, Event};

/// Exchanges when a session opens: all that a job may ever have.
const FIRST_GROUP: usize = 8;

/// Exchanges of a later group: 0.2 % of a 115200 line in 10 s.
pub(super) const NEXT_GROUP: usize = 3;

/// From the first group to the second. What two crystals make of it is less than a round trip.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// Pauses grow to this: by then the drift is known, and the clock ages slowly.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Bench {
    /// The clock of a boot that has just begun.
    ///
    /// # Errors
    /// The agent's, or answers of which none can be.
    pub async fn clock(&self) -> Result<Clock, Fault> {
        let mut clock = Clock::default();
        self.compare(&mut clock, FIRST_GROUP).await?;
        // An agent that cannot, or must not, write to the kernel's log has none; the record says so.
        if let Ok(answer) =
            self.ask(Method::CLOCK_MARK, &request::ClockMark {}, SHORT_DEADLINE).await
            && let Ok(ClockMark { before_us, after_us, kernel_us }) = answer.read()
            && let Some(mark) = Mark::new(before_us, after_us, kernel_us)
        {
            clock.set_mark(mark);
        }
        Ok(clock)
    }

    /// Compares the clocks again and again, for as long as the session lasts; never ends by itself.
    pub async fn keep_time(&self, live: &RefCell<Live>) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.sleep(pause).await;
            // Without a session there is nothing to compare; whoever follows the log notices.
            if self.compare_again(live).await.is_err() {
                return pending().await;
            }
            pause = pause.times(3).divided_by(2).min(LONGEST_PAUSE);
        }
    }

    /// Compares the clocks once more.
    ///
    /// # Errors
    /// The agent's.
    pub async fn compare_again(&self, live: &RefCell<Live>) -> Result<(), Fault> {
        // Not held over a wait: lines are logged meanwhile.
        let Some(mut clock) = live.borrow().clock().cloned() else { return Ok(()) };
        self.compare(&mut clock, NEXT_GROUP).await?;
        live.borrow_mut().set_clock(clock);
        Ok(())
    }

    /// The boot of the agent that has the session, or had the last.
    pub fn boot_id(&self) -> [u8; 16] {
        self.board(|board, _| board.agent_start()).map_or([0; 16], |start| start.boot_id)
    }

    /// Puts on record how good the clock of a boot was.
    pub fn tell_clock(&self, live: &RefCell<Live>, slot: Slot) {
        let quality = live.borrow().clock().and_then(Clock::quality);
        if let Some(quality) = quality {
            self.tell(Event::Clock(BoardClock {
                slot,
                uncertainty_us: quality.uncertainty_us,
                drift_ppm: quality.drift_ppm.map(|ppm| (ppm * 1000.0).round() / 1000.0),
                samples: quality.samples,
                kernel_offset_us: quality.kernel_offset_us,
            }));
        }
    }

    /// Adds a group of exchanges.
    ///
    /// # Errors
    /// The agent's, or answers of which none can be.
    pub(super) async fn compare(&self, clock: &mut Clock, exchanges: usize) -> Result<(), Fault> {
        let coding = self.board(|board, _| board.coding());
        let mut group = Vec::with_capacity(exchanges);
        for _ in 0..exchanges {
            let sent_us = self.now().as_micros();
            let body = Padded { host_us: sent_us, padding: padding(coding) };
            let answer = self.ask(Method::CLOCK, &body, SHORT_DEADLINE).await?;
            let times: Times = answer.read()?;
            let came_us = self.now().as_micros();
            group.extend(Sample::new(sent_us, times.received_us, times.answered_us, came_us));
        }
        let fastest = Sample::fastest(group);
        let fastest = fastest.ok_or_else(|| {
            Fault::infrastructure("the clocks could not be compared: the board's times cannot be")
        })?;
        clock.add(fastest, self.now().as_micros(), self.wall());
        Ok(())
    }
}

/// A [`request::Clock`] with zeros behind it, which the agent ignores as it would a later version's fields.
struct Padded {
    host_us: u64,
    padding: usize,
}

impl Serialize for Padded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_tuple(1 + self.padding)?;
        body.serialize_element(&request::Clock { host_us: self.host_us })?;
        for _ in 0..self.padding {
            body.serialize_element(&0_u8)?;
        }
        body.end()
    }
}

/// Zeros that make a request as long on the line as its answer, so that the way there takes as long as the way back:
/// what differs shows as half of the difference in the offset. An answer has 18 bytes more (two times of a board that
/// is up for minutes to hours, 5 each, and its wall clock, 8), and text-safe every 7 bytes of a frame are 8.
fn padding(coding: Coding) -> usize {
    match coding {
        Coding::Binary => 18,
        Coding::TextSafe => 24,
    }
}

#[cfg(test)]
mod tests {
    use agent_core::wire::{codec, envelope};

    use super::*;

    /// Bytes on the line of a frame with one message: marks, coding, control, tag, ack, seq, chunk, check value.
    fn on_line(coding: Coding, message: usize) -> usize {
        let content = 4 + 1 + message + 4;
        match coding {
            Coding::Binary => content + 3,
            Coding::TextSafe => (content * 8).div_ceil(7) + 2,
        }
    }

    #[test]
    fn a_request_is_as_long_as_its_answer() {
        for host_us in [1 << 22, 1 << 29, 1 << 36] {
            for coding in [Coding::Binary, Coding::TextSafe] {
                let mut buffer = [0; 128];
                let body = Padded { host_us, padding: padding(coding) };
                let request = envelope::encode(Method::CLOCK, 1, &body, &mut buffer).unwrap().len();
                let answer = Times {
                    host_us,
                    received_us: 600_000_000,
                    answered_us: 600_000_100,
                    wall_us: 1_770_000_000_000_000,
                };
                let answer =
                    envelope::encode(Method::CLOCK, 1, &answer, &mut buffer).unwrap().len();
                let there = on_line(Coding::Binary, request);
                let back = on_line(coding, answer);
                assert!(there.abs_diff(back) <= 1, "{host_us} {coding:?}: {there} and {back}");
            }
        }
    }

    #[test]
    fn an_agent_reads_a_padded_request_as_any_other() {
        let mut buffer = [0; 64];
        let padded = codec::encode(&Padded { host_us: 77, padding: 24 }, &mut buffer).unwrap();
        assert_eq!(padded.len(), 25);
        assert_eq!(codec::decode(padded), Ok(request::Clock { host_us: 77 }));
    }
}
