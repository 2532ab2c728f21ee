//! What the dispatcher asks. One struct a method; fields are only ever appended.
//!
//! Lists of words (`argv`, `env`) are one byte string in which each word ends with a NUL, the form that the kernel
//! itself uses in `/proc/PID/cmdline`: no list type, no allocation, any bytes but NUL.
//!
//! Streams in a request are chosen by the dispatcher; 0 means none.

use serde::{Deserialize, Serialize};

/// Asks who the agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {}

/// Asks for the board's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The dispatcher's clock in µs, sent back as it is.
    pub host_us: u64,
}

/// Asks for the live log: [`record`](super::record)s on `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// Where to send the records.
    pub stream: u8,
    /// First kernel record wanted, by its sequence number in /dev/kmsg: 0 for all there are. After a lost session
    /// the dispatcher goes on behind the last one it has.
    pub kernel_from: u64,
}

/// Asks for the agent's counters of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {}

/// Sends test bytes and expects some. Both directions carry the same series: byte `n` is the low byte of the `n`-th
/// state of [`Xorshift32`](crate::xorshift::Xorshift32), the first being the state behind `seed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineTest {
    /// Stream of the dispatcher's bytes, as many as it likes; 0 for none.
    pub to_board: u8,
    /// Stream of the agent's bytes; 0 for none.
    pub from_board: u8,
    /// Where the series begins; not 0.
    pub seed: u32,
    /// Bytes that the agent sends, unless the stream is reset before.
    pub bytes: u64,
}

/// Asks what became of a request of an earlier session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The request's id, which no other dispatcher uses.
    pub request: u32,
}

/// Has the agent write a marker to the kernel's log and read it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMark {}

/// Runs a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec<'a> {
    /// Program and arguments, each ended by a NUL; the program is looked up in PATH.
    #[serde(borrow)]
    pub argv: &'a [u8],
    /// `NAME=value` words that are added to the agent's environment, each ended by a NUL.
    #[serde(borrow)]
    pub env: &'a [u8],
    /// Working directory; empty for `/`.
    #[serde(borrow)]
    pub cwd: &'a str,
    /// Stream that becomes standard input; 0 for /dev/null.
    pub stdin: u8,
    /// Stream for standard output; 0 for /dev/null.
    pub stdout: u8,
    /// Stream for standard error; 0 for /dev/null.
    pub stderr: u8,
    /// Killed (its process group, TERM, 5 s later KILL) after so many ms; 0 for never.
    pub timeout_ms: u32,
}

/// Signals the process group of a running exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Request id of the exec.
    pub request: u32,
    /// Signal number (`man 7 signal`, ARM's, which are x86's).
    pub signal: u8,
}

/// Reads a file from `offset` to its end onto `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get<'a> {
    /// Absolute path.
    #[serde(borrow)]
    pub path: &'a str,
    /// Where to send the bytes.
    pub stream: u8,
    /// First byte wanted.
    pub offset: u64,
}

/// Hashes `length` bytes from `offset` of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash<'a> {
    /// Absolute path.
    #[serde(borrow)]
    pub path: &'a str,
    /// First byte.
    pub offset: u64,
    /// Number of bytes; a file that ends before is refused with `TOO_LARGE`.
    pub length: u64,
}

/// Writes a file from the bytes of `stream`: under a temporary name beside it, synced, then renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put<'a> {
    /// Absolute path; missing directories are made.
    #[serde(borrow)]
    pub path: &'a str,
    /// Where the bytes come from, ended by the stream's end.
    pub stream: u8,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes, checked against the space there is before the first byte, and against what arrived.
    pub size: u64,
    /// SHA-256 of the bytes, or empty for unchecked.
    #[serde(borrow)]
    pub sha256: &'a [u8],
}

/// Lists a directory as [`Entry`](super::response::Entry)s on `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<'a> {
    /// Absolute path.
    #[serde(borrow)]
    pub path: &'a str,
    /// Where to send the entries.
    pub stream: u8,
    /// Descend into directories (not into links, at most 16 deep).
    pub recursive: bool,
}

/// Names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path<'a> {
    /// Absolute path.
    #[serde(borrow)]
    pub path: &'a str,
}

/// Names a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition<'a> {
    /// Its label in the partition table, or one that `--partition LABEL=PATH` gave.
    #[serde(borrow)]
    pub label: &'a str,
}

/// Retired: wrote an image to a partition from the steps ([`block`](super::block)) on `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockWrite<'a> {
    /// The partition; never one that is mounted, never `master`.
    #[serde(borrow)]
    pub label: &'a str,
    /// Where the steps come from.
    pub stream: u8,
    /// Size of the whole image in bytes; refused before anything is written when the partition is smaller.
    pub image_bytes: u64,
}

/// Retired: hashed the first `length` bytes from `offset` of a partition, read from the device, not from the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHash<'a> {
    /// The partition.
    #[serde(borrow)]
    pub label: &'a str,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Sends hashes of the [`tree`](crate::tree) over a partition or a file, one after the other, on `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockTree<'a> {
    /// Label of the partition, absolute path of a file, or nothing: the agent's own program.
    #[serde(borrow)]
    pub target: &'a str,
    /// Where the hashes go.
    pub stream: u8,
    /// The tree is over the first so many bytes; 0 for all there are. Beyond its end: TOO_LARGE.
    pub bytes: u64,
    /// Level of the nodes, 0 for blocks, up to that of the root.
    pub level: u8,
    /// First node on that level.
    pub first: u32,
    /// Number of nodes, not 0; those beyond the last are left out.
    pub count: u32,
    /// Bytes of each hash, 4 to 16: the front of it.
    pub width: u8,
    /// Everything is read from the device again, not taken from the page cache or from what was hashed before.
    pub is_fresh: bool,
}

/// Carries out the [`steps`](super::steps) on `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockPlan<'a> {
    /// Label of the partition, never one that is mounted, never `master`; or absolute path of a file, which is
    /// written beside and takes the old one's place at the end. Source 0 of the steps is what stands there: of a
    /// partition what the steps write, of a file the old one. Nothing: a new agent, in memory, for
    /// [`Reboot::HAND_OVER`]; source 0 is the one that runs.
    #[serde(borrow)]
    pub target: &'a str,
    /// Sources 1, 2, …, labels or absolute paths, each ended by a NUL, at most
    /// [`SOURCES_MAX`](super::steps::SOURCES_MAX) - 1; only read.
    #[serde(borrow)]
    pub sources: &'a [u8],
    /// Where the steps come from.
    pub stream: u8,
    /// Size of the image in bytes; refused before anything is written when the partition is smaller.
    pub image_bytes: u64,
    /// Mode of a file.
    pub mode: u32,
    /// Root of the [tree](crate::tree) that a file or an agent must have before it takes the old one's place, [`HASH_LEN`] bytes; empty:
    /// it is not looked at. What a partition holds the dispatcher reads back.
    ///
    /// [`HASH_LEN`]: crate::tree::HASH_LEN
    #[serde(borrow)]
    pub root: &'a [u8],
}

/// Mounts a partition under the agent's own directory of mount points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount<'a> {
    /// The partition.
    #[serde(borrow)]
    pub label: &'a str,
    /// File system type; empty to try those that the kernel knows.
    #[serde(borrow)]
    pub fs_type: &'a str,
    /// Read-only.
    pub read_only: bool,
    /// Its journal is not replayed, so that not a byte of the device changes: what the journal holds is missing then, and
    /// files may be damaged. Goes with `read_only`.
    pub no_replay: bool,
}

/// Copies the running agent's own program file into a mounted partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inject<'a> {
    /// The partition, mounted for writing.
    #[serde(borrow)]
    pub label: &'a str,
    /// Path inside it, such as `/.pumice/agent`.
    #[serde(borrow)]
    pub path: &'a str,
}

/// Restarts or stops the board, after a sync; or the agent alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// One of [`Reboot::RESTART`], [`Reboot::POWER_OFF`], [`Reboot::HAND_OVER`].
    pub how: u8,
}

impl Reboot {
    /// Restart.
    pub const RESTART: u8 = 0;
    /// Power off.
    pub const POWER_OFF: u8 = 1;
    /// The agent goes on as the one that a [`BlockPlan`] without a target brought; without one nothing happens.
    pub const HAND_OVER: u8 = 2;
}

/// Writes out everything that the board's kernel holds back, on all file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {}

/// Changes the speed of the line. It is answered at the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baud {
    /// Bits a second.
    pub baud: u32,
    /// When no whole frame came at the new speed for so many ms after the change, the agent goes back to the old one.
    pub confirm_ms: u32,
}

impl Baud {
    /// Rates that an agent tries.
    pub const RATES: core::ops::RangeInclusive<u32> = 1_200..=4_000_000;
    /// How long it tries them: a dispatcher needs some round trips, and a session does not outlive a long silence.
    pub const CONFIRM_MS: core::ops::RangeInclusive<u32> = 500..=30_000;
}

/// Has the agent connect to the dispatcher over the network. The first bytes there are `token`; behind it come frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane<'a> {
    /// The dispatcher's address as the board sees it: 4 bytes of IPv4 or 16 of IPv6.
    pub address: &'a [u8],
    /// TCP port.
    pub port: u16,
    /// [`Lane::TOKEN_LEN`] random bytes, good for one connection.
    pub token: &'a [u8],
}

impl Lane<'_> {
    /// Bytes of a token.
    pub const TOKEN_LEN: usize = 16;
}

/// Asks how far the test plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestStatus {}

/// Asks for the next call of a helper. It is answered when there is one, which may take as long as a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCall {
    /// The newest call that the dispatcher has of this start of the agent; 0: none.
    pub taken: u32,
}

/// Answers a call of a helper. One that is not waited for any more is let be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAnswer<'a> {
    /// The call's number.
    pub number: u32,
    /// [`NodeAnswer::DONE`] or [`NodeAnswer::FAILED`].
    pub status: u8,
    /// The text of the cache file, or a sentence for people; at most
    /// [`NODE_ANSWER_MAX`](super::node::NODE_ANSWER_MAX) bytes.
    #[serde(borrow)]
    pub data: &'a [u8],
}

impl NodeAnswer<'_> {
    /// It is as the helper wanted.
    pub const DONE: u8 = 0;
    /// It will never be: `data` says why. On the test's socket every other status is the low byte of an `errno`.
    pub const FAILED: u8 = 255;
}
