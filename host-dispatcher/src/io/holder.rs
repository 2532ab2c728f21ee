//! A child process that holds a board's power: on while it runs, off when it is gone.

use agent_core::time::{Duration, Instant};

use super::event::BoardEvent;
use super::process::Child;

/// The process, and what is still to be told of it.
#[derive(Debug)]
pub(super) struct Holder {
    child: Child,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has to run until then to count as started.
    Starting(Instant),
    Running,
    /// It was told to end.
    Leaving,
}

impl Holder {
    pub(super) fn new(child: Child, now: Instant) -> Self {
        Self { child, state: State::Starting(now + PROOF) }
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ends it: SIGTERM, and SIGKILL two seconds later.
    pub(super) fn leave(&mut self, now: Instant) {
        self.state = State::Leaving;
        self.child.stop(now);
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<BoardEvent> {
        self.child.handle_timeout(now);
        match self.state {
            State::Starting(until) if until <= now => {
                self.state = State::Running;
                Some(BoardEvent::Held(Ok(())))
            }
            _ => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Starting(until) => Some(until),
            State::Running | State::Leaving => self.child.poll_timeout(),
        }
    }

    /// What its end means, once it has ended.
    pub(super) fn poll_exit(&mut self) -> Option<BoardEvent> {
        let how = match self.child.poll_exit()? {
            Ok(()) => format!("{} ended with exit status 0", self.child.program()),
            Err(how) => how,
        };
        Some(match self.state {
            State::Starting(_) => BoardEvent::Held(Err(how)),
            State::Running => BoardEvent::HolderEnded(how),
            State::Leaving => BoardEvent::Held(Ok(())),
        })
    }
}

/// What cannot run ends by then: no such device, a wrong option.
const PROOF: Duration = Duration::from_millis(300);
