//! The side lane as the poll loop sees it: one TCP connection to the dispatcher, of which nobody waits.

use crate::problem::{Outcome, Problem, about};
use crate::sys::socket;
use agent_core::agent::{Agent, LANE_FRAME_MAX};
use agent_core::time::Instant;
use agent_core::wire::{Method, request, response};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The connection, if there is one.
pub(crate) struct Lane {
    state: State,
    /// What the socket has not taken whole: the token, then a frame.
    out: Box<[u8]>,
    written: usize,
    length: usize,
}

enum State {
    None,
    /// For a request of that session.
    Dialing(OwnedFd, u32, Option<u64>),
    Open(OwnedFd),
}

impl Lane {
    pub(crate) fn new() -> Self {
        let out = vec![0; LANE_FRAME_MAX].into_boxed_slice();
        Self { state: State::None, out, written: 0, length: 0 }
    }

    /// Begins to connect, in place of whatever there was.
    pub(crate) fn dial(
        &mut self,
        request: u32,
        session: Option<u64>,
        wanted: request::Lane<'_>,
    ) -> Outcome<()> {
        self.state = State::None;
        let fd = socket::dial(wanted.address, wanted.port).map_err(about(NAME))?;
        (self.written, self.length) = (0, wanted.token.len());
        self.out[..wanted.token.len()].copy_from_slice(wanted.token);
        self.state = State::Dialing(fd, request, session);
        Ok(())
    }

    /// What is waited for: something to read, room to write.
    pub(crate) fn interest(&self, agent: &Agent) -> Option<(BorrowedFd<'_>, bool, bool)> {
        match &self.state {
            State::None => None,
            State::Dialing(fd, ..) => Some((fd.as_fd(), false, true)),
            State::Open(fd) => Some((fd.as_fd(), agent.lane_room(), self.written < self.length)),
        }
    }

    /// Its descriptor is ready. Whether that gave the core anything to do.
    pub(crate) fn take(&mut self, now: Instant, agent: &mut Agent, buffer: &mut [u8]) -> bool {
        match std::mem::replace(&mut self.state, State::None) {
            State::None => return false,
            State::Dialing(fd, request, session) => match socket::outcome(&fd) {
                // Nobody asks any more.
                _ if session != agent.session() => {}
                Ok(()) => {
                    if agent.open_lane() {
                        self.state = State::Open(fd);
                        agent.answer(Method::LANE, request, &response::Done {});
                    }
                }
                Err(error) => agent.fail(request, &Problem::os(error, NAME).failure()),
            },
            State::Open(fd) if !agent.lane_room() => {
                self.state = State::Open(fd);
                return false;
            }
            State::Open(fd) => match socket::receive(&fd, buffer) {
                Ok(length) if length > 0 => {
                    self.state = State::Open(fd);
                    agent.handle_lane(now, &buffer[..length]);
                }
                Err(error) if error.is_for_later() => {
                    self.state = State::Open(fd);
                    return false;
                }
                Ok(_) | Err(_) => agent.close_lane(),
            },
        }
        true
    }

    /// Writes what the core has for it; closes what the core has no use for.
    pub(crate) fn transmit(&mut self, now: Instant, agent: &mut Agent) {
        let State::Open(fd) = &self.state else {
            if agent.has_lane() {
                agent.close_lane();
            }
            return;
        };
        while agent.has_lane() {
            if self.written == self.length {
                let Some(length) = agent.poll_lane_transmit(now, &mut self.out) else { return };
                (self.written, self.length) = (0, length);
            }
            match socket::tell(fd, &self.out[self.written..self.length]) {
                Ok(written) => self.written += written,
                Err(error) if error.is_for_later() => return,
                Err(_) => agent.close_lane(),
            }
        }
        self.state = State::None;
    }
}

/// What it is called in a failure.
const NAME: &str = "the side lane";
