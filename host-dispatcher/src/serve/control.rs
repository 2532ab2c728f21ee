//! What is asked of the loop from outside, and how it answers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::config::connection::PowerOperation;
use crate::lab::NewJob;
use crate::lab::view::{BoardView, Health, JobId, JobView};

/// Where an answer goes. Who asked may be gone.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Something that is asked of the loop.
#[derive(Debug)]
pub enum Command {
    /// Accept a job. When it is answered, with its first board's part where it has several, the job is on the disk.
    Submit(Box<Submission>, Reply<JobView>),
    /// End a job, queued or running.
    Cancel(JobId, Reply<JobView>),
    /// Give a board to somebody.
    Acquire {
        /// The board.
        board: String,
        /// Who.
        holder: String,
        /// What for.
        reason: String,
        /// For so long.
        minutes: u32,
        /// The board as it is then.
        reply: Reply<BoardView>,
    },
    /// Take it back.
    Release {
        /// The board.
        board: String,
        /// Who wants that; nothing for one who may release what others hold.
        holder: Option<String>,
        /// The board as it is then.
        reply: Reply<BoardView>,
    },
    /// Say how healthy a board is.
    SetHealth {
        /// The board.
        board: String,
        /// Any but `Bad`, which only a health check says.
        health: Health,
        /// Why; for people.
        reason: String,
        /// The board as it is then.
        reply: Reply<BoardView>,
    },
    /// Switch the power of a board that `holder` has acquired.
    Power {
        /// The board.
        board: String,
        /// Who wants that; nothing for one who may do it to any board that runs no job.
        holder: Option<String>,
        /// What to do.
        operation: PowerOperation,
        /// Answered when it is done.
        reply: Reply<()>,
    },
    /// Show a board's console from now on, and type on it where `holder` has acquired the board.
    Console {
        /// The board.
        board: String,
        /// Who types; nothing for one who only looks.
        holder: Option<String>,
        /// Gets what comes on the line. What it has no room for is dropped, and the viewer sees a gap.
        output: mpsc::Sender<Vec<u8>>,
        /// What is to be typed is sent into this as [`Command::Type`] with the number.
        reply: Reply<u64>,
    },
    /// Lend the line of a board that `holder` has acquired, as it is, to a dispatcher elsewhere.
    Line {
        /// The board.
        board: String,
        /// Who gets it.
        holder: String,
        /// Gets what comes on the line. What it has no room for is dropped: frames are sent again.
        output: mpsc::Sender<LinePiece>,
        /// What goes to the board is sent into this as [`Command::Type`] with the number.
        reply: Reply<u64>,
    },
    /// A line is not needed any more.
    EndLine(u64),
    /// Switch the power of a board whose line is lent to `holder`, and nothing else: what comes of it is seen on the
    /// line.
    Switch {
        /// The board.
        board: String,
        /// Who wants that.
        holder: String,
        /// What to do.
        operation: PowerOperation,
        /// Answered when the switch says that it is done.
        reply: Reply<()>,
    },
    /// Tell who has acquired a board what he must know to drive it.
    Wiring {
        /// The board.
        board: String,
        /// Who asks.
        holder: String,
        /// The answer.
        reply: Reply<WiringView>,
    },
    /// Type on a console, or write to a line.
    Type(u64, Vec<u8>),
    /// Read the lab file again.
    Reload(Reply<()>),
}

/// What comes on a line that is lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinePiece {
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing more, and why.
    End(String),
}

/// What somebody elsewhere must know to drive a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WiringView {
    /// The text of its type's file.
    pub board_type: String,
    /// How its power is switched.
    pub power: PowerView,
    /// Files of its master image that hold images.
    pub image_files: Vec<String>,
}

/// How the power of a board is switched, for somebody elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PowerView {
    /// Not at all.
    None,
    /// With the line: an emulator.
    WithConnection,
    /// By a person, who is asked where the board is used.
    Ask,
    /// By the lab, as patiently as [`Patience`](crate::config::power::Patience) says.
    Switched {
        /// Off and on is one operation.
        has_cycle: bool,
        /// Tries behind the first.
        retries: u32,
        /// Before each, in milliseconds.
        retry_delay_ms: u64,
        /// Of each.
        deadline_ms: u64,
        /// Silence of the line that shows that the board is off.
        settle_ms: u64,
        /// How much longer it stays off in a cycle.
        delay_ms: u64,
    },
}

/// A job as it is submitted. Everything in it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The job; of several boards, one for each of them. They are accepted together or not at all.
    pub jobs: Vec<NewJob>,
    /// The text of the file.
    pub definition: String,
    /// Files that go into the folder of the job: their relative names, and where they are in the store.
    pub files: BTreeMap<String, PathBuf>,
    /// Values of its secrets that do not stand in its file, by their names.
    pub secrets: BTreeMap<String, String>,
}

/// Why something was not done. Each kind is an HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// One line.
    pub message: String,
}

/// See [`Refusal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such board or job: 404.
    NotFound,
    /// It is in another state than it would have to be: 409.
    Conflict,
    /// Somebody else has it: 403.
    Forbidden,
    /// It cannot be meant so: 422.
    Invalid,
    /// The lab cannot do it now: 503.
    Unavailable,
}

/// Hands commands to the loop.
#[derive(Clone)]
pub struct Control {
    sender: SyncSender<Command>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Control {
    /// Sends through `sender`, and wakes the loop with `wake`.
    pub fn new(sender: SyncSender<Command>, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { sender, wake }
    }

    /// Asks the loop for something; `command` puts the place for the answer into the command.
    ///
    /// # Errors
    /// The loop's reason, or that it is too busy or gone.
    pub async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        answer.await.unwrap_or_else(|_| Err(Refusal::unavailable("the lab is shutting down")))
    }

    /// Sends what has no answer.
    ///
    /// # Errors
    /// The loop is too busy or gone.
    pub fn send(&self, command: Command) -> Result<(), Refusal> {
        self.sender.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::unavailable("the lab is busy: try again"),
            TrySendError::Disconnected(_) => Refusal::unavailable("the lab is shutting down"),
        })?;
        (self.wake)();
        Ok(())
    }
}

impl Refusal {
    /// A refusal.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// It is in another state than it would have to be.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Conflict, message)
    }

    /// The lab cannot do it now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Unavailable, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
