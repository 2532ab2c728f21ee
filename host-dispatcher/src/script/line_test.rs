//! A test of the line: round trips while it is idle, random bytes towards the board, random bytes from it with round
//! trips among them, and the clocks before and after; every byte is compared, and the counters of both ends are read
//! before and after.

use std::future::pending;
use std::num::NonZeroU32;

use agent_core::link::{Priority, Stats};
use agent_core::time::{Duration, Instant};
use agent_core::wire::response::{self, Clock};
use agent_core::wire::{Method, request};
use agent_core::xorshift::Xorshift32;
use serde::Serialize;

use super::ask::{Asked, Stream};
use super::deploy::seconds;
use super::files::{READ_WINDOW, SHORT_DEADLINE};
use super::timing::NEXT_GROUP;
use super::{Bench, Either, Fault, race};
use crate::board::Direction;
use crate::board::line_quality::{End, UartErrors, Verdict, judge};
use crate::clock::Quality;
use crate::job::event::Event;
use crate::job::verdict::ErrorClass;

/// Round trips measured on the idle line, and at most on the loaded one.
pub const SAMPLES: usize = 20;

/// Bytes made and written at once; two frames of the longest, so that the line never waits for us.
const PIECE: usize = 1280;

/// What is on its way when the time is up gets so long to arrive: some seconds at 9600 baud, more on a bad line.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// A person who interrupts waits so long at most for what the board had so far.
const LEAVE_WAIT: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct LineTest {
    /// The time of pushing and pulling, half of it each.
    pub period: Duration,
    /// Where the random bytes begin.
    pub seed: NonZeroU32,
}

/// What was measured; of a test that was interrupted, what it had so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// What the agent received.
    pub to_board: Option<Traffic>,
    /// What this end received.
    pub from_board: Option<Traffic>,
    /// Round trips of a small request on the idle line.
    pub idle: Option<RoundTrips>,
    /// The same while bytes came from the board as fast as they could.
    pub loaded: Option<RoundTrips>,
    /// What this end of the link counted meanwhile.
    pub host: Stats,
    /// ... and its UART.
    pub host_uart: UartErrors,
    /// What the agent counted meanwhile; `None` when it does not tell, or was not asked any more.
    pub board: Option<response::Line>,
    /// How well the board's clock was known at last.
    pub clock: Option<Quality>,
}

/// Payload that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Those that were not the ones sent, and those that were sent and never came: 0, or the link is broken.
    pub wrong_bytes: u64,
    /// From the request to the last byte, in seconds.
    pub seconds: f64,
}

/// Round trips, in µs, without the time that the agent took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RoundTrips {
    /// How many.
    pub count: usize,
    /// The shortest.
    pub min_us: u64,
    /// The one in the middle.
    pub median_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Traffic {
    /// Payload bytes per second.
    pub fn goodput(&self) -> f64 {
        if self.seconds > 0.0 { self.bytes as f64 / self.seconds } else { 0.0 }
    }
}

impl RoundTrips {
    fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        let (min_us, max_us) = (*times.first()?, *times.last()?);
        Some(Self { count: times.len(), min_us, median_us: times[times.len() / 2], max_us })
    }
}

impl Measured {
    /// What the counters of both ends say of the line.
    pub fn verdict(&self) -> Verdict {
        let board = self.board.map(|line| {
            let mut end = End::default();
            end.add_agent(&line);
            end
        });
        judge(&End::host(&self.host, self.host_uart), board.as_ref())
    }

    /// Wrong bytes of both directions.
    pub fn wrong_bytes(&self) -> u64 {
        [self.to_board, self.from_board].iter().flatten().map(|traffic| traffic.wrong_bytes).sum()
    }
}

impl Bench {
    /// Tests the line. What was measured before an error stands in `measured`; the agent is free again in any case.
    ///
    /// # Errors
    /// The agent's, the end of the session, an agent that is too old for this, or the user's interruption.
    pub async fn line_test(&self, test: &LineTest, measured: &mut Measured) -> Result<(), Fault> {
        let (host, uart) = (self.board(|board, _| *board.stats()), self.uart());
        let outcome = self.line_test_phases(test, measured).await;
        measured.host = self.board(|board, _| board.stats().since(&host));
        let now = self.uart();
        measured.host_uart = UartErrors {
            overruns: now.overruns.saturating_sub(uart.overruns),
            errors: now.errors.saturating_sub(uart.errors),
        };
        outcome
    }

    async fn line_test_phases(
        &self,
        test: &LineTest,
        measured: &mut Measured,
    ) -> Result<(), Fault> {
        let half = test.period.divided_by(2);
        let longest = test.period + DRAIN_LIMIT.times(2);
        self.board(|board, now| board.keep_to_line(now, longest));
        let before = self.cancelable(self.line_counters()).await?;
        let mut clock = self.cancelable(Box::pin(self.clock())).await?;
        measured.clock = clock.quality();
        let work = self.cancelable(self.idle_round_trips());
        measured.idle = self.action("round trips", Box::pin(work)).await?;
        let work = self.push_random(half, test.seed, &mut measured.to_board);
        self.action("push", Box::pin(work)).await?;
        let (into, loaded) = (&mut measured.from_board, &mut measured.loaded);
        let work = self.pull_random(half, test.seed, into, loaded);
        self.action("pull", Box::pin(work)).await?;
        self.cancelable(Box::pin(self.compare(&mut clock, NEXT_GROUP))).await?;
        measured.clock = clock.quality();
        let after = self.cancelable(self.line_counters()).await?;
        measured.board = before.zip(after).map(|(before, after)| response::Line {
            overruns: after.overruns.wrapping_sub(before.overruns),
            errors: after.errors.wrapping_sub(before.errors),
            stats: after.stats.since(&before.stats),
        });
        Ok(())
    }

    /// The agent's counters; `None` from one that does not tell them.
    async fn line_counters(&self) -> Result<Option<response::Line>, Fault> {
        let asked = self.start(Method::LINE, &request::Line {}, &[], SHORT_DEADLINE);
        asked.answer_if_known().await?.map(|answer| answer.read()).transpose()
    }

    async fn idle_round_trips(&self) -> Result<Option<RoundTrips>, Fault> {
        let mut times = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            times.push(self.round_trip_us().await?);
        }
        Ok(RoundTrips::of(times))
    }

    async fn round_trip_us(&self) -> Result<u64, Fault> {
        let sent = self.now();
        let body = request::Clock { host_us: sent.as_micros() };
        let clock: Clock = self.ask(Method::CLOCK, &body, SHORT_DEADLINE).await?.read()?;
        let on_board = clock.answered_us.saturating_sub(clock.received_us);
        Ok(self.now().since(sent).as_micros().saturating_sub(on_board))
    }

    async fn push_random(
        &self,
        period: Duration,
        seed: NonZeroU32,
        into: &mut Option<Traffic>,
    ) -> Result<(), Fault> {
        let started = self.now();
        let stream = self.stream(Priority::Bulk, Direction::ToBoard).await?;
        let body =
            request::LineTest { to_board: stream.id, from_board: 0, seed: seed.get(), bytes: 0 };
        let asked = self.start(Method::LINE_TEST, &body, &[&stream], period + DRAIN_LIMIT);
        let mut sent = 0;
        let writing = async {
            self.within(period, self.write_random(&stream, seed, started + period, &mut sent))
                .await;
            stream.finish().await;
            // The answer ends it.
            pending::<()>().await;
        };
        let answered = async {
            match race(known_answer(&asked), writing).await {
                Either::First(answer) => answer,
                Either::Second(()) => Err(Fault::infrastructure("the test was given up")),
            }
        };
        // Boxed: each wrapper around a future holds it twice, which adds up on the stack.
        let outcome = self.cancelable(Box::pin(answered)).await;
        let (result, outcome) = match outcome {
            Ok(result) => (Some(result), Ok(())),
            Err(fault) => (self.give_up(&stream, &asked, &fault).await, Err(fault)),
        };
        if let Some(result) = result {
            // Of a stream that was given up not everything was put on the line.
            let lost = if outcome.is_ok() { result.received.abs_diff(sent) } else { 0 };
            *into = Some(Traffic {
                bytes: result.received,
                wrong_bytes: result.wrong + lost,
                seconds: seconds(self.now().since(started)),
            });
        }
        outcome
    }

    /// Writes as fast as the line takes it and never far ahead of it, for what waits when the time is up must all go.
    async fn write_random(&self, stream: &Stream, seed: NonZeroU32, end: Instant, sent: &mut u64) {
        let mut series = Xorshift32::new(seed);
        let mut piece = vec![0; PIECE];
        loop {
            let is_ready = |board: &mut crate::board::Board| {
                board.room(stream.id) >= PIECE && board.unsent(stream.id) < PIECE
            };
            self.until(|| self.board(|board, _| is_ready(board)).then_some(())).await;
            series.fill(&mut piece);
            *sent += self.board(|board, _| board.write(stream.id, &piece)) as u64;
            self.tell_test_progress("push", end, *sent);
        }
    }

    async fn pull_random(
        &self,
        period: Duration,
        seed: NonZeroU32,
        into: &mut Option<Traffic>,
        loaded: &mut Option<RoundTrips>,
    ) -> Result<(), Fault> {
        let (started, end) = (self.now(), self.now() + period);
        let stream = self.stream(Priority::Bulk, Direction::FromBoard).await?;
        let (from_board, bytes) = (stream.id, u64::MAX);
        let body = request::LineTest { to_board: 0, from_board, seed: seed.get(), bytes };
        let asked = self.start(Method::LINE_TEST, &body, &[&stream], period + DRAIN_LIMIT);
        stream.widen(READ_WINDOW);
        let (mut traffic, mut times) = (Traffic::default(), Vec::new());
        let receiving = async {
            let mut series = Xorshift32::new(seed);
            while let Some(bytes) = stream.read().await {
                traffic.bytes += bytes.len() as u64;
                traffic.wrong_bytes += series.wrong(&bytes);
                traffic.seconds = seconds(self.now().since(started));
                self.tell_test_progress("pull", end, traffic.bytes);
            }
            // The answer says why.
            pending::<Fault>().await
        };
        let sampling = async {
            let pause = period.divided_by(SAMPLES as u64 + 1);
            loop {
                let next = self.now() + pause;
                self.sleep_until(next).await;
                match self.round_trip_us().await {
                    Ok(time) => times.push(time),
                    Err(fault) => break fault,
                }
            }
        };
        let failing = async {
            let ended = |_| Fault::infrastructure("the agent ended the test by itself");
            known_answer(&asked).await.map_or_else(|fault| fault, ended)
        };
        let work = async {
            match self.within(period, race(failing, race(receiving, sampling))).await {
                None => Ok(()),
                Some(
                    Either::First(fault)
                    | Either::Second(Either::First(fault) | Either::Second(fault)),
                ) => Err(fault),
            }
        };
        let outcome = self.cancelable(Box::pin(work)).await;
        *into = Some(traffic).filter(|traffic| traffic.bytes > 0);
        *loaded = RoundTrips::of(times);
        match outcome {
            Ok(()) => {
                stream.reset();
                self.cancelable(known_answer(&asked)).await?;
                Ok(())
            }
            Err(fault) => {
                self.give_up(&stream, &asked, &fault).await;
                Err(fault)
            }
        }
    }

    /// Ends a test that the user interrupted, so that the agent is free for the next; what the agent had so far.
    async fn give_up(
        &self,
        stream: &Stream,
        asked: &Asked,
        fault: &Fault,
    ) -> Option<response::LineTest> {
        stream.reset();
        if fault.class != ErrorClass::Canceled {
            return None;
        }
        self.within(LEAVE_WAIT, known_answer(asked)).await?.ok()
    }

    fn tell_test_progress(&self, phase: &str, end: Instant, done_bytes: u64) {
        let left = end.since(self.now()).as_micros().div_ceil(1_000_000);
        let action = format!("{phase}, {left} s left");
        self.tell(Event::ActionProgress { action, done_bytes, total_bytes: None });
    }
}

async fn known_answer(asked: &Asked) -> Result<response::LineTest, Fault> {
    let answer = asked.answer_if_known().await?;
    let too_old =
        || Fault::infrastructure("the agent in this image is older than line-test: update it");
    answer.ok_or_else(too_old)?.read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_summed_up() {
        assert_eq!(RoundTrips::of(Vec::new()), None);
        let summed = RoundTrips::of(vec![30, 10, 20]).unwrap();
        assert_eq!(summed, RoundTrips { count: 3, min_us: 10, median_us: 20, max_us: 30 });
    }
}
