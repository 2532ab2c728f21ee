//! Another speed of the line, in two steps: the answer goes out at the old one, then both ends change, and without a
//! whole frame at the new one this end goes back by its own clock. docs/protocol.md, "Another speed", has the table.

use super::AgentLink;
use super::effect::Effect;
use super::transfer;
use crate::time::{Duration, Instant};
use crate::wire::request::Baud;
use crate::wire::{Failure, FailureKind};

/// The answer is waited for so long until it is acknowledged. Then it has come, and only its acknowledgement was lost;
/// or the dispatcher will not change, and this end comes back.
pub const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(300);

/// How fast the line is, and what it shall become.
#[derive(Debug)]
pub(super) struct Speed {
    /// The speed of every boot and between sessions.
    base: u32,
    current: u32,
    /// What the interpreter was told last.
    told: u32,
    is_guarded: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Steady,
    /// The answer is on its way, and is DATA frame `frame` or an earlier one.
    Answered {
        baud: u32,
        confirm: Duration,
        frame: Option<u32>,
        until: Instant,
    },
    /// At the new speed. Nothing is sent before a whole frame came.
    Trying {
        old: u32,
        confirm: Duration,
        frames_in: u64,
        until: Instant,
    },
}

impl Speed {
    pub(super) fn new(base: u32) -> Self {
        Self { base, current: base, told: base, is_guarded: false, state: State::Steady }
    }

    /// Takes a request, which is to be answered at once.
    pub(super) fn request(&mut self, now: Instant, wanted: Baud) -> Result<(), Failure<'static>> {
        let Baud { baud, confirm_ms } = wanted;
        if !Baud::RATES.contains(&baud) {
            return Err(refused("a line has 1200 to 4000000 baud"));
        }
        if !Baud::CONFIRM_MS.contains(&confirm_ms) {
            return Err(refused("a speed is tried for 500 to 30000 ms"));
        }
        if self.state != State::Steady {
            return Err(transfer::failure(FailureKind::BUSY, "the speed is being changed"));
        }
        if baud != self.current {
            let confirm = Duration::from_millis(u64::from(confirm_ms));
            let until = now + ACKNOWLEDGED_WITHIN;
            self.state = State::Answered { baud, confirm, frame: None, until };
        }
        Ok(())
    }

    /// Goes on as far as it can.
    pub(super) fn advance(&mut self, now: Instant, link: &mut AgentLink) {
        match self.state {
            State::Steady => {}
            State::Answered { baud, confirm, frame, until } => {
                let progress = link.progress();
                let frame = frame.or_else(|| (link.unsent(0) == 0).then_some(progress.sent));
                if frame.is_some_and(|frame| progress.has_acknowledged(frame)) || now >= until {
                    let (old, frames_in) = (self.current, link.stats().frames_in);
                    self.state = State::Trying { old, confirm, frames_in, until: now + confirm };
                    self.turn_to(baud, link);
                } else {
                    self.state = State::Answered { baud, confirm, frame, until };
                }
            }
            State::Trying { frames_in, .. } if link.stats().frames_in > frames_in => {
                self.state = State::Steady;
            }
            State::Trying { old, until, .. } if now >= until => {
                self.state = State::Steady;
                self.turn_to(old, link);
            }
            State::Trying { .. } => {}
        }
    }

    /// The interpreter has set the speed, `link.stats()` being as they are: from here on the new one is tried.
    pub(super) fn handle_set(&mut self, now: Instant, link: &AgentLink) {
        if let State::Trying { confirm, frames_in, until, .. } = &mut self.state {
            (*frames_in, *until) = (link.stats().frames_in, now + *confirm);
        }
    }

    /// The interpreter could not set the speed.
    pub(super) fn handle_failed(&mut self, link: &mut AgentLink) {
        if let State::Trying { old, .. } = self.state {
            self.state = State::Steady;
            self.turn_to(old, link);
        }
    }

    /// Back to the base speed: the session is over, or the board restarts. Whether there is anything to do for it.
    pub(super) fn rest(&mut self, link: &mut AgentLink) -> bool {
        let is_there = self.current == self.base;
        self.state = State::Steady;
        self.turn_to(self.base, link);
        !is_there
    }

    /// The next thing for the interpreter.
    pub(super) fn poll_effect(&mut self) -> Option<Effect<'static>> {
        let may_differ = self.state != State::Steady || self.current != self.base;
        if may_differ && !self.is_guarded {
            self.is_guarded = true;
            return Some(Effect::GuardLine(true));
        }
        if self.told != self.current {
            self.told = self.current;
            return Some(Effect::SetBaud { baud: self.current });
        }
        if !may_differ && self.is_guarded {
            self.is_guarded = false;
            return Some(Effect::GuardLine(false));
        }
        None
    }

    /// Whether the new speed is tried: the link's clock stands still.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }

    /// Whether nothing may be sent: it would be noise at the other end.
    pub(super) fn is_silent(&self, link: &AgentLink) -> bool {
        self.is_trying()
            || self.told != self.current
            // A beacon belongs to the base speed.
            || self.current != self.base && !link.is_open()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Steady => None,
            State::Answered { until, .. } | State::Trying { until, .. } => Some(until),
        }
    }

    fn turn_to(&mut self, baud: u32, link: &mut AgentLink) {
        if self.current != baud {
            self.current = baud;
            link.set_baud(baud);
        }
    }
}

fn refused(text: &'static str) -> Failure<'static> {
    transfer::failure(FailureKind::REFUSED, text)
}
