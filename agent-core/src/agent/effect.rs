//! The seam between the agent's services and a board: what they ask for ([`Effect`]) and what they are told
//! ([`Event`]). `agent-linux` is one interpreter, the fake board of the tests another.
//!
//! An interpreter does an effect when it gets it, and reports with an event at once or later. Effects that name an
//! [`Op`] belong to one operation; the interpreter keeps what it opened for it (a file, a device, a child) under
//! that number until `Close`.

use crate::wire::response::{Exit, Written};
use crate::wire::{Failure, request};

/// Number of an operation in progress, below [`OPS_MAX`](super::OPS_MAX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op(pub u8);

/// What an interpreter must do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Do it and answer with [`Agent::answer`](super::Agent::answer) or [`Agent::fail`](super::Agent::fail), at once.
    Call {
        /// Request id for the answer.
        request: u32,
        /// What to do.
        call: Call<'a>,
    },
    /// Open something for reading or writing. Answered with [`Event::Opened`] or [`Event::Failed`].
    Open {
        /// The operation.
        op: Op,
        /// What.
        target: Target<'a>,
    },
    /// Read at most `max` bytes from `offset` of what `op` opened. Answered with [`Event::Bytes`].
    Read {
        /// The operation.
        op: Op,
        /// First byte; a listing has no offsets and goes on where it was.
        offset: u64,
        /// Most bytes wanted.
        max: usize,
    },
    /// Append these bytes to what `op` opened. Only a failure is reported.
    Write {
        /// The operation.
        op: Op,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Work a little on what `op` opened: on a plan with the input that there is, or on hashes, of which at most `max`
    /// bytes are wanted. Answered with [`Event::Worked`].
    Work {
        /// The operation.
        op: Op,
        /// Most bytes wanted.
        max: usize,
    },
    /// Make it durable (fsync) and visible (a put's rename). Answered with [`Event::Committed`].
    Commit {
        /// The operation.
        op: Op,
    },
    /// Forget what `op` opened; what was put and not committed is removed, a child that still runs is killed with
    /// its process group.
    Close {
        /// The operation.
        op: Op,
    },
    /// Start a command in a process group of its own. Answered with [`Event::Spawned`] or [`Event::Failed`], and
    /// later with [`Event::Output`] and [`Event::Exited`].
    Spawn {
        /// The operation.
        op: Op,
        /// The command.
        command: Command<'a>,
    },
    /// Bytes for the standard input of a child. The interpreter keeps what the pipe does not take, at most
    /// [`STDIN_WINDOW`](super::STDIN_WINDOW) bytes, and reports [`Event::InputTaken`]. Of a plan it keeps all until it is
    /// to work, at most [`INPUT_MAX`](super::deploy::INPUT_MAX) bytes.
    Input {
        /// The operation.
        op: Op,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Close the standard input of a child when it has taken everything.
    EndInput {
        /// The operation.
        op: Op,
    },
    /// Signal the process group of a child.
    Signal {
        /// The operation.
        op: Op,
        /// Signal number.
        signal: u8,
    },
    /// Append to a file of the run's directory on the board. Problems are reported with [`Event::RunFileFailed`].
    RunFile {
        /// Which.
        file: RunFile,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Make the run's files durable: those of the running test, kernel log and journal.
    SyncRun,
    /// Answer a client of the test's socket with this byte.
    AnswerSignal {
        /// As in [`Event::Signal`]; it may be gone meanwhile.
        client: u8,
        /// 0: it is on the disk; otherwise the low byte of an `errno`.
        os_error: u8,
    },
    /// Answer a client of the test's socket with this status and the bytes behind it: what it called for has come.
    AnswerCall {
        /// As in [`Event::Signal`]; it may be gone meanwhile.
        client: u8,
        /// [`request::NodeAnswer::DONE`] and its like.
        status: u8,
        /// The text of the cache file, or a sentence.
        data: &'a [u8],
    },
    /// Set the level up to which the kernel prints on the console: `true` lowers it for a session, `false`
    /// restores what was found at the start.
    QuietConsole(bool),
    /// Read /dev/kmsg on from this sequence number (0: the first there is).
    SeekKernel {
        /// First sequence number wanted.
        sequence: u64,
    },
    /// Set the line's speed, now: let out what waits, throw away what came and was not read, and take the new speed for
    /// the line's own. Answered with [`Event::BaudSet`] or, the line being as it was, [`Event::BaudFailed`].
    SetBaud {
        /// Bits a second.
        baud: u32,
    },
    /// The two ends' speeds may differ from now on (`true`), or are the base speed again (`false`). A zero at a slow
    /// speed is a BREAK at a fast one, and the byte behind it a command to the kernel (SysRq): it must not be obeyed.
    GuardLine(bool),
    /// Have the hardware watchdog restart the board when this agent does nothing for so long, and feed it from now on;
    /// with 0, let go of it. Problems are reported with [`Event::WatchdogFailed`].
    Watchdog {
        /// Seconds.
        seconds: u16,
    },
    /// Restart or stop the board: sync, then do it; nothing is answered.
    Reboot {
        /// [`request::Reboot::RESTART`], [`request::Reboot::POWER_OFF`] or [`request::Reboot::HAND_OVER`].
        how: u8,
    },
}

/// Requests that are done in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// Answered with a [`response::Info`](crate::wire::response::Info).
    Info,
    /// Answered with a [`response::Clock`](crate::wire::response::Clock).
    Clock(request::Clock),
    /// Answered with a [`response::Line`](crate::wire::response::Line).
    Line,
    /// Write a line to the kernel's log and read back its time; answered with a
    /// [`response::ClockMark`](crate::wire::response::ClockMark).
    ClockMark,
    /// Answered with a [`response::Stat`](crate::wire::response::Stat).
    Stat(request::Path<'a>),
    /// Answered with a [`response::Done`](crate::wire::response::Done).
    Remove(request::Path<'a>),
    /// Answered with a [`response::Partition`](crate::wire::response::Partition).
    Partition(request::Partition<'a>),
    /// Answered with a [`response::Mounted`](crate::wire::response::Mounted).
    Mount(request::Mount<'a>),
    /// Answered with a [`response::Done`](crate::wire::response::Done).
    Unmount(request::Partition<'a>),
    /// Answered with a [`response::Injected`](crate::wire::response::Injected).
    Inject(request::Inject<'a>),
    /// Connect to the dispatcher, without waiting for it; answered with a [`response::Done`](crate::wire::response::Done)
    /// once [`Agent::open_lane`](super::Agent::open_lane) has been called. What was connected before is closed.
    Lane(request::Lane<'a>),
    /// Write out everything (sync(2)); answered with a [`response::Done`](crate::wire::response::Done).
    Sync,
}

/// Something to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A file to read.
    Get {
        /// Absolute path.
        path: &'a str,
    },
    /// A file to write beside its final name.
    Put {
        /// Absolute path.
        path: &'a str,
        /// Permission bits.
        mode: u32,
        /// Bytes to come; refused with `TOO_LARGE` when the file system has no room for them.
        size: u64,
    },
    /// A directory to list; [`Event::Bytes`] brings whole counted [`Entry`](crate::wire::response::Entry)s.
    List {
        /// Absolute path.
        path: &'a str,
        /// Descend.
        recursive: bool,
    },
    /// A partition or file of which hashes are wanted; tells its size.
    Tree(request::BlockTree<'a>),
    /// The target and the sources of a plan; refused when one of them is not there, or the target is mounted, `master`
    /// or smaller than the image.
    Plan(request::BlockPlan<'a>),
}

/// A command to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// As the dispatcher asked.
    Exec(request::Exec<'a>),
    /// Test number `index` of the plan: `/bin/sh -e run.sh` in its directory. What it prints is written to the
    /// suite's `stdout.log` and `stderr.log` before it is reported.
    Test {
        /// Index in the plan.
        index: u16,
        /// Name of the suite: its directory under `tests/`.
        suite: &'a str,
    },
}

/// A file of the run's directory that the core writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunFile {
    /// `journal.ndjson`: what the plan did, synced line by line.
    Journal,
    /// `kernel.log`.
    KernelLog,
    /// `agent.log`.
    AgentLog,
    /// `user-console.ndjson`: when which bytes of `user-console.log` came.
    UserConsoleTimes,
    /// `tests/<suite>/output.ndjson` of the test that runs: when which bytes of its output came.
    Output,
}

/// One of a child's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What an interpreter reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// It is open.
    Opened {
        /// The operation.
        op: Op,
        /// Size in bytes (file, partition), 0 for a listing.
        size: u64,
        /// Permission bits, 0 where there are none.
        mode: u32,
    },
    /// What was read; empty at the end.
    Bytes {
        /// The operation.
        op: Op,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Something was done of what `op` has to do.
    Worked {
        /// The operation.
        op: Op,
        /// Bytes of the input that it needs no more.
        taken: usize,
        /// Hashes for the dispatcher.
        bytes: &'a [u8],
        /// Whether there is more to do, without more input.
        has_more: bool,
        /// What a plan has written so far.
        written: Written,
    },
    /// It is durable.
    Committed {
        /// The operation.
        op: Op,
    },
    /// It cannot be done; the operation is over, the interpreter has closed it.
    Failed {
        /// The operation.
        op: Op,
        /// Why.
        failure: Failure<'a>,
    },
    /// The child runs.
    Spawned {
        /// The operation.
        op: Op,
    },
    /// A child printed this, at most as much as [`Agent::output_room`](super::Agent::output_room) said; empty when
    /// the pipe has ended.
    Output {
        /// The operation.
        op: Op,
        /// Which pipe.
        pipe: Pipe,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The child has taken so many bytes of its input.
    InputTaken {
        /// The operation.
        op: Op,
        /// Bytes.
        bytes: usize,
    },
    /// The child has ended; its pipes may still bring output.
    Exited {
        /// The operation.
        op: Op,
        /// How.
        exit: Exit,
    },
    /// A process of the running test sent a packet to the test's socket, and waits for
    /// [`Effect::AnswerSignal`] or [`Effect::AnswerCall`]. What the test printed before it has been reported. Only when
    /// [`Agent::signal_room`](super::Agent::signal_room) says so.
    Signal {
        /// Whose answer it will be.
        client: u8,
        /// The packet, cut behind [`NODE_CALL_MAX`](crate::wire::node::NODE_CALL_MAX) bytes, or more.
        packet: &'a [u8],
    },
    /// A client of the test's socket has closed its end before it was answered.
    ClientGone {
        /// As in [`Event::Signal`]; the number may be another client's from now on.
        client: u8,
    },
    /// One record as read from /dev/kmsg.
    Kernel {
        /// `priority,sequence,µs,flags;text` and continuation lines, as the kernel gives it. Where a number is missing
        /// between two, the kernel has overwritten records before they were read.
        record: &'a [u8],
    },
    /// User space printed to /dev/console, at most [`USER_CONSOLE_MAX`](super::USER_CONSOLE_MAX) bytes. With a run they
    /// stand in its `user-console.log` already.
    UserConsole {
        /// Offset of the first byte, from the beginning of that file, or of the agent without one.
        offset: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// `user-console.log` has reached its bound: from now on bytes are only shown.
    UserConsoleFull,
    /// The line has the speed that was asked for.
    BaudSet,
    /// It has not.
    BaudFailed {
        /// `errno`.
        os_error: i32,
    },
    /// Something that the running test printed could not be written, and was dropped; only what was written is reported
    /// as [`Event::Output`].
    OutputLost {
        /// The operation.
        op: Op,
        /// Bytes, at least 1.
        bytes: usize,
    },
    /// There is no watchdog, or none that takes this time (then it is fed all the same).
    WatchdogFailed {
        /// `errno`.
        os_error: i32,
    },
    /// A file of the run could not be written.
    RunFileFailed {
        /// `errno`.
        os_error: i32,
    },
}
