//! What the event loop tells its owner.

#[cfg(doc)]
use super::event_loop::{READ_PER_TURN, Reactor};
use super::signals::Signal;
#[cfg(doc)]
use super::waker::WorkerWaker;
use crate::config::connection::LineRole;

/// Something happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoEvent {
    /// On a board, by the number that its owner gave it.
    Board(usize, BoardEvent),
    /// On the agent's own line of a board.
    AgentLine(usize, BoardEvent),
    /// Typed or piped in.
    Stdin(Vec<u8>),
    /// No more will be typed.
    StdinEnd,
    /// A signal.
    Signal(Signal),
}

/// One line of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineId {
    /// The board's number.
    pub board: usize,
    /// Which of its lines.
    pub role: LineRole,
}

impl LineId {
    /// That.
    pub fn new(board: usize, role: LineRole) -> Self {
        Self { board, role }
    }

    pub(super) fn event(self, event: BoardEvent) -> IoEvent {
        match self.role {
            LineRole::Console => IoEvent::Board(self.board, event),
            LineRole::Agent => IoEvent::AgentLine(self.board, event),
        }
    }
}

impl From<usize> for LineId {
    fn from(board: usize) -> Self {
        Self::new(board, LineRole::Console)
    }
}

/// Something happened on a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardEvent {
    /// The line can be used.
    Connected,
    /// The line could not be opened, or ended by itself; a sentence says why. Not sent for [`Reactor::disconnect`].
    Disconnected(String),
    /// Bytes from the line, at most [`READ_PER_TURN`].
    Bytes(Vec<u8>),
    /// What waits to be written has become less than a frame: time for more.
    Room,
    /// The line does not do the speed of [`Reactor::set_baud`]; a sentence says why. It is as it was.
    BaudFailed(String),
    /// The BREAK of [`Reactor::send_break`] is over; or a sentence says why there is none.
    BreakDone(Result<(), String>),
    /// The command of [`Reactor::run`] has ended well, and this is the end of its output; or a sentence says why it failed.
    CommandDone(Result<String, String>),
    /// The process of [`Reactor::hold`] runs, or that of [`Reactor::let_go`] is gone; or a sentence says why it does not run.
    Held(Result<(), String>),
    /// The process of [`Reactor::hold`] has ended by itself; a sentence says how.
    HolderEnded(String),
    /// The board has come to its side lane.
    LaneOpened,
    /// Bytes from the side lane, at most [`READ_PER_TURN`].
    LaneBytes(Vec<u8>),
    /// The side lane has ended, or nobody came; a sentence says why. Not sent for [`Reactor::close_lane`].
    LaneClosed(String),
    /// A worker thread of this board has something ([`WorkerWaker::wake`]).
    Worker,
}
