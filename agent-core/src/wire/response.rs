//! What the agent answers. One struct a method; fields are only ever appended.

use super::node;
use crate::link::Stats;
use serde::{Deserialize, Serialize};

/// It is done, and durable where that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Who the agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info<'a> {
    /// The agent's version, as in its crate.
    #[serde(borrow)]
    pub version: &'a str,
    /// [`Info::MASTER`] or [`Info::TEST`].
    pub role: u8,
    /// `/proc/sys/kernel/random/boot_id`.
    #[serde(borrow)]
    pub boot_id: &'a str,
    /// `/etc/machine-id`, empty if there is none.
    #[serde(borrow)]
    pub machine_id: &'a str,
    /// `uname -n`.
    #[serde(borrow)]
    pub host_name: &'a str,
    /// `uname -srvm`.
    #[serde(borrow)]
    pub kernel: &'a str,
    /// The board's model: the device tree's `model`, or empty.
    #[serde(borrow)]
    pub model: &'a str,
    /// Network addresses, `interface address/prefix` each, ended by a NUL.
    #[serde(borrow)]
    pub addresses: &'a [u8],
    /// Labels of the partitions that the agent can see, each ended by a NUL.
    #[serde(borrow)]
    pub partitions: &'a [u8],
    /// Memory of the board in KiB.
    pub memory_kib: u64,
    /// Memory that the agent itself keeps resident, in KiB.
    pub agent_resident_kib: u64,
    /// Time since boot in µs (CLOCK_BOOTTIME).
    pub uptime_us: u64,
    /// Bytes that the UART lost because nobody fetched them in time (TIOCGICOUNT), since the agent's start.
    pub line_overruns: u32,
    /// Framing and parity errors of the UART (TIOCGICOUNT), since the agent's start.
    pub line_errors: u32,
}

impl Info<'_> {
    /// In the master image.
    pub const MASTER: u8 = 0;
    /// In the test image.
    pub const TEST: u8 = 1;
}

/// The board's clocks at the moment of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// As sent.
    pub host_us: u64,
    /// CLOCK_MONOTONIC when the request was read, in µs; the kernel log's clock is close to it.
    pub received_us: u64,
    /// CLOCK_MONOTONIC when the answer was made, in µs.
    pub answered_us: u64,
    /// The board's wall clock in µs since 1970, right or wrong.
    pub wall_us: u64,
}

/// The line as the agent sees it, since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Bytes that the UART lost because nobody fetched them in time (TIOCGICOUNT).
    pub overruns: u32,
    /// Framing and parity errors of the UART (TIOCGICOUNT).
    pub errors: u32,
    /// The link's counters. The last field, for it grows.
    pub stats: Stats,
}

/// What a line test came to, once both of its streams have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineTest {
    /// Bytes that came.
    pub received: u64,
    /// Those of them that differ from the series: 0, or the link is broken.
    pub wrong: u64,
    /// Bytes that were sent.
    pub sent: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome<'a> {
    /// One of [`Outcome::UNKNOWN`], [`Outcome::STOPPED`], [`Outcome::ANSWERED`].
    pub state: u8,
    /// The answer's method, [`Method::FAILED`](super::Method::FAILED) for a failure; 0 without an answer.
    pub method: u16,
    /// The answer's body.
    #[serde(borrow)]
    pub body: &'a [u8],
}

impl Outcome<'_> {
    /// It never came, or so long ago that it is forgotten, or may be repeated anyway.
    pub const UNKNOWN: u8 = 0;
    /// It was under way when its session ended, and was stopped.
    pub const STOPPED: u8 = 1;
    /// It was answered.
    pub const ANSWERED: u8 = 2;
}

/// A marker in the kernel's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMark {
    /// The agent's clock (CLOCK_MONOTONIC, µs) before it was written.
    pub before_us: u64,
    /// ... and after it.
    pub after_us: u64,
    /// The kernel's time of it, µs.
    pub kernel_us: u64,
}

/// How a process ended, with what it used (`getrusage(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// [`Exit::EXITED`], [`Exit::SIGNALED`], [`Exit::TIMED_OUT`] or [`Exit::NOT_STARTED`].
    pub end: u8,
    /// Exit status or signal number.
    pub code: u8,
    /// Time in user mode, µs.
    pub user_us: u64,
    /// Time in the kernel, µs.
    pub system_us: u64,
    /// Peak resident memory, KiB.
    pub max_rss_kib: u64,
    /// From start to end, µs.
    pub elapsed_us: u64,
}

impl Exit {
    /// It ended by itself; `code` is the exit status.
    pub const EXITED: u8 = 0;
    /// A signal ended it; `code` is the signal.
    pub const SIGNALED: u8 = 1;
    /// It was killed at its timeout; `code` is the signal that did it, or its status if it ended by itself then.
    pub const TIMED_OUT: u8 = 2;
    /// It could not be started; `code` is the low byte of `errno`.
    pub const NOT_STARTED: u8 = 3;
    /// It restarted the board, as it was expected to (a test only).
    pub const REBOOTED: u8 = 4;
    /// Its end was not seen (a test only): `code` is [`Exit::BY_AGENT`] or [`Exit::BY_BOARD`].
    pub const INTERRUPTED: u8 = 5;
    /// The agent was killed while it ran, and started anew.
    pub const BY_AGENT: u8 = 0;
    /// The board restarted while it ran.
    pub const BY_BOARD: u8 = 1;
    /// A step of it ran past its own time (a test only); `code` as for [`Exit::TIMED_OUT`].
    pub const STEP_TIMED_OUT: u8 = 6;
}

/// A file has been sent whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got<'a> {
    /// Bytes sent.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// SHA-256 of the bytes sent.
    #[serde(borrow)]
    pub sha256: &'a [u8],
}

/// A directory has been listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Number of entries sent.
    pub entries: u32,
}

/// One entry of a listing, on its stream behind a u16 LE length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// Path relative to the listed directory. From a board: data, never to be used as a path unchecked.
    #[serde(borrow)]
    pub path: &'a [u8],
    /// One of the [`Stat`] kinds.
    pub kind: u8,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
}

/// Kind and size of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// [`Stat::FILE`], [`Stat::DIRECTORY`], [`Stat::LINK`] or [`Stat::OTHER`].
    pub kind: u8,
    /// Size in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
}

impl Stat {
    /// A regular file.
    pub const FILE: u8 = 0;
    /// A directory.
    pub const DIRECTORY: u8 = 1;
    /// A symbolic link.
    pub const LINK: u8 = 2;
    /// A device, socket or pipe.
    pub const OTHER: u8 = 3;
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition<'a> {
    /// Its device on the board, such as `/dev/vda3`.
    #[serde(borrow)]
    pub device: &'a str,
    /// Size in bytes.
    pub size: u64,
    /// Mounted now.
    pub mounted: bool,
}

/// A plan has been carried out, and what it wrote is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Bytes written from bins.
    pub data_bytes: u64,
    /// Bytes zeroed.
    pub zero_bytes: u64,
    /// Bytes copied on the board.
    pub copied_bytes: u64,
}

/// The hashes have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockTree {
    /// Size of the partition or file in bytes.
    pub size: u64,
    /// Nodes whose hashes were sent.
    pub nodes: u32,
    /// Most bytes of a bin, packed and unpacked alike, that the agent has memory for.
    pub bin_max: u32,
    /// Most bytes of a bin's dictionary.
    pub dictionary_max: u32,
}

/// A digest of a piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash<'a> {
    /// SHA-256.
    #[serde(borrow)]
    pub sha256: &'a [u8],
}

/// A partition is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted<'a> {
    /// Where.
    #[serde(borrow)]
    pub path: &'a str,
}

/// The agent has been copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Size of the agent's program file.
    pub bytes: u64,
}

/// How far the test plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestStatus<'a> {
    /// Name of the run; empty when the agent has no plan.
    #[serde(borrow)]
    pub run: &'a str,
    /// [`TestStatus::NO_PLAN`], [`TestStatus::RUNNING`], [`TestStatus::ENDED`] or [`TestStatus::BROKEN`].
    pub state: u8,
    /// Tests that have ended.
    pub ended: u32,
    /// Tests in the plan.
    pub total: u32,
    /// Directory of the run on the board.
    #[serde(borrow)]
    pub directory: &'a str,
    /// Why the plan could not be started, for [`TestStatus::BROKEN`].
    #[serde(borrow)]
    pub problem: &'a str,
}

impl TestStatus<'_> {
    /// The agent was started without a plan.
    pub const NO_PLAN: u8 = 0;
    /// A test runs.
    pub const RUNNING: u8 = 1;
    /// All tests have ended; the files are synced.
    pub const ENDED: u8 = 2;
    /// The plan could not be read.
    pub const BROKEN: u8 = 3;
}

/// A call of a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCall<'a> {
    /// Its number, counted from 1 over one start of the agent.
    pub number: u32,
    /// The call. The last field, for it grows.
    #[serde(borrow)]
    pub call: node::NodeCall<'a>,
}
