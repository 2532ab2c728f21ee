//! What a link tells its owner, and what it is told of a line.

use super::Beacon;
use super::coding::Coding;

/// What is known of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineConfig {
    /// How the board sends its frames. The host learns it from the beacon.
    pub coding: Coding,
    /// Bits per second; timeouts and frame sizes follow from it.
    pub baud: u32,
}

/// Something that the owner must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A beacon was read (host).
    Beacon(Beacon),
    /// A session is open.
    Opened(Peer),
    /// The session is over; its streams are gone.
    Closed(CloseReason),
    /// The agent speaks no version of the link that this end speaks ([`VERSION_MIN`](super::VERSION_MIN) to
    /// [`VERSION`](super::VERSION)), but this one
    /// (host). Told once for each of its starts.
    Incompatible(u8),
    /// Bytes of a stream that the owner has opened; it calls [`Link::grant`](super::Link::grant) when it has consumed
    /// them.
    Data {
        /// The stream.
        stream: u8,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The peer has sent everything on this stream.
    Finished {
        /// The stream.
        stream: u8,
    },
    /// The peer wants no more of this stream, or gave it up.
    Reset {
        /// The stream.
        stream: u8,
    },
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The board's boot id; the own one on the board.
    pub boot_id: [u8; 16],
    /// Role of the agent: 0 master, 1 test.
    pub role: u8,
    /// Version of the link that both speak.
    pub version: u8,
    /// Capability bits that both have.
    pub capabilities: u32,
}

/// How many DATA frames were sent in a session, and how many of them, from the first on, are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Sent.
    pub sent: u32,
    /// Acknowledged.
    pub acknowledged: u32,
}

impl Progress {
    /// Whether the first `sent` frames are acknowledged, which were all at an earlier time.
    pub fn has_acknowledged(&self, sent: u32) -> bool {
        self.acknowledged.wrapping_sub(sent) <= self.sent.wrapping_sub(sent)
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing valid was heard for [`SILENT_AFTER`](super::SILENT_AFTER).
    Silent,
    /// The other end opened a new one, or knows nothing of this one.
    Replaced,
    /// The board was rebooted or switched off; the owner said so.
    Muted,
    /// The peer sent what no correct peer sends.
    Protocol,
    /// The dispatcher left.
    Goodbye,
}
