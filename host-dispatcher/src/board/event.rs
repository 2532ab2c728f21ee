//! What a [`Board`](super::Board) tells its owner and asks of the shell. Read this first to know what a board can do.

use std::collections::VecDeque;

use super::client::RequestId;
use super::console::ConsoleSource;
use super::line_sense::Suspicion;
use super::phase::{Cause, Phase, Slot};
use super::power::PowerOperation;
use super::side_lane::LaneState;
use crate::config::connection::LineRole;
use agent_core::link::{CloseReason, Peer};
use agent_core::wire::{FailureKind, Method};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum BoardEvent {
    /// The board went from one phase to another.
    Phase {
        /// The one that it left.
        from: Phase,
        /// The one that it is in.
        to: Phase,
        /// The evidence, the step or the deadline, for people.
        why: String,
    },
    /// A step failed, and the board is started again.
    Retry {
        /// What failed.
        cause: Cause,
        /// A sentence with the particulars.
        text: String,
        /// Starts that are left after this one.
        tries_left: u32,
    },
    /// Text of the line.
    Console {
        /// Whose.
        source: ConsoleSource,
        /// The bytes as they came.
        bytes: Vec<u8>,
    },
    /// An agent has a session.
    SessionOpened {
        /// The image that it runs in.
        slot: Slot,
        /// What the link knows of it.
        peer: Peer,
    },
    /// The session is over; its streams are gone.
    SessionClosed {
        /// Why, for people.
        reason: String,
    },
    /// A request was answered.
    Answer {
        /// The request.
        request: RequestId,
        /// Its method.
        method: Method,
        /// The answer's postcard body.
        body: Vec<u8>,
    },
    /// The agent refused a request or failed at it.
    Failed {
        /// The request.
        request: RequestId,
        /// How.
        kind: FailureKind,
        /// `errno` of the board's kernel, 0 if none.
        os_error: i32,
        /// What it was about.
        text: String,
    },
    /// The session ended before the answer came. Whether the request was carried out is not known.
    Lost {
        /// The request.
        request: RequestId,
    },
    /// The request's deadline passed.
    Expired {
        /// The request.
        request: RequestId,
    },
    /// Bytes of a stream; the owner calls [`Board::grant`](super::Board::grant) when it has consumed them.
    Data {
        /// The stream.
        stream: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The agent has sent everything on this stream.
    Finished {
        /// The stream.
        stream: u8,
    },
    /// The agent wants no more of this stream, or gave it up.
    Reset {
        /// The stream.
        stream: u8,
    },
    /// The power is being switched, or was.
    Power {
        /// What was asked for.
        operation: PowerOperation,
        /// How far it is.
        state: PowerState,
    },
    /// What a person should hear of the switching: a try that failed, or what to do.
    PowerNote {
        /// That.
        text: String,
    },
    /// The line's speed in this session is settled.
    Baud {
        /// Bits a second.
        baud: u32,
        /// Why it is not the one that was wanted, for people.
        problem: Option<String>,
    },
    /// The side lane of this session has begun or ended.
    Lane {
        /// Which.
        state: LaneState,
    },
    /// The kernel panicked.
    Panic {
        /// The line that says so.
        text: String,
    },
    /// A banner or a panic in an open session was somebody's print: the agent lives.
    Printed {
        /// What it looked like.
        what: String,
    },
    /// The bytes that come look as if something were wrong with the line.
    Suspicion {
        /// Which, where the board has two.
        line: Option<LineRole>,
        /// What.
        found: Suspicion,
    },
    /// One of the board's two lines is away, or back.
    Line {
        /// Which.
        line: LineRole,
        /// Why it is away, for people.
        problem: Option<String>,
    },
    /// The board was restarted, and nobody here had asked for it.
    Rebooted {
        /// What shows it.
        evidence: String,
    },
}

/// How far a power operation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// It was begun.
    Started,
    /// It was carried out.
    Done,
    /// It failed, and why.
    Failed(String),
}

/// Something for the shell to do. It reports with `handle_connected`, `handle_disconnected` or `handle_power`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardAction {
    /// Open this line.
    Connect(LineRole),
    /// Close the console line, and with it an emulator.
    Disconnect,
    /// Have the power switched, or wait for the person who was asked.
    Power(PowerOperation),
    /// Set the speed of the line that carries the agent's frames to so many bits a second, once what was given to it has left. Where there is none
    /// (an emulator, a socket) nothing is to be done. Only a failure is reported, with `handle_baud_failed`.
    SetBaud(u32),
    /// Listen for the agent on the network. Reported with `handle_lane_offer`, and later with `handle_lane_opened` or
    /// `handle_lane_closed`.
    OfferLane,
    /// Close that connection, or do not wait for it any more.
    CloseLane,
}

/// The word for the end of a session.
pub(super) fn close_reason(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Silent => "the agent fell silent",
        CloseReason::Replaced => "the agent began anew",
        CloseReason::Muted => "the board was restarted",
        CloseReason::Protocol => "the agent broke the protocol",
        CloseReason::Goodbye => "the dispatcher left",
    }
}

/// Events that wait for the owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<BoardEvent>,
    console_bytes: usize,
    dropped: Dropped,
}

/// What was lost because the owner did not fetch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes of console text.
    pub console_bytes: u64,
    /// Other events.
    pub events: u64,
}

impl Events {
    pub(super) fn push(&mut self, event: BoardEvent) {
        if self.queue.len() < EVENTS_MAX {
            self.queue.push_back(event);
        } else {
            self.dropped.events += 1;
        }
    }

    pub(super) fn push_console(&mut self, source: ConsoleSource, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.console_bytes + bytes.len() > CONSOLE_BYTES_MAX || self.queue.len() >= EVENTS_MAX {
            self.dropped.console_bytes += bytes.len() as u64;
            return;
        }
        self.console_bytes += bytes.len();
        match self.queue.back_mut() {
            Some(BoardEvent::Console { source: last, bytes: text }) if *last == source => {
                text.extend_from_slice(bytes);
            }
            _ => self.queue.push_back(BoardEvent::Console { source, bytes: bytes.to_vec() }),
        }
    }

    pub(super) fn pop(&mut self) -> Option<BoardEvent> {
        let event = self.queue.pop_front()?;
        if let BoardEvent::Console { bytes, .. } = &event {
            self.console_bytes -= bytes.len();
        }
        Some(event)
    }

    pub(super) fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// One input makes some hundreds at most (64 KiB of frames); an owner that drains never meets this bound.
const EVENTS_MAX: usize = 4096;

/// Four times the largest read of a shell.
const CONSOLE_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_one_source_is_one_event_and_too_much_is_counted() {
        let mut events = Events::default();
        events.push_console(ConsoleSource::Console, b"ab");
        events.push_console(ConsoleSource::Console, b"cd");
        events.push_console(ConsoleSource::Typed, b"e");
        for _ in 0..600 {
            events.push_console(ConsoleSource::Console, &[b'x'; 512]);
        }
        assert_eq!(
            events.pop(),
            Some(BoardEvent::Console { source: ConsoleSource::Console, bytes: b"abcd".to_vec() })
        );
        assert_eq!(events.dropped().console_bytes, 600 * 512 - 511 * 512);
        for _ in 0..EVENTS_MAX {
            events.push(BoardEvent::Finished { stream: 1 });
        }
        assert_eq!(events.dropped().events, 2);
        while events.pop().is_some() {}
        assert_eq!(events.console_bytes, 0);
    }
}
