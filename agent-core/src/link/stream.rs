//! One byte stream of a link: what waits to be sent, and how much either side may send.
//!
//! Credits are absolute offsets ("you may send up to byte n"), so a credit that comes twice or late does no harm.

use super::memory::{Memory, Queue};

/// What goes first. Lower is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Requests and answers.
    Control,
    /// Standard input and output, logs: somebody watches.
    Interactive,
    /// Files and images; one frame in [`BULK_FLOOR`] is theirs whatever else there is.
    Bulk,
}

/// How many frames pass before one begins with bulk.
pub const BULK_FLOOR: u8 = 8;

/// Bytes that may be sent on a stream before its receiver has granted any.
pub const INITIAL_CREDIT: usize = 2048;

/// The same for stream 0: two of the longest messages.
pub const CONTROL_CREDIT: usize = 2 * crate::wire::MESSAGE_MAX;

/// Credit is told to the peer in steps of at least this many bytes; smaller ones would cost more than they bring.
const GRANT_STEP: u64 = 512;

/// One stream; `SEND` bytes can wait to be sent.
#[derive(Debug)]
pub(super) struct Stream<const SEND: usize, M: Memory> {
    pub(super) id: u8,
    pub(super) priority: Priority,
    pub(super) waiting: M::Queue<SEND>,
    /// Bytes put into frames so far.
    sent: u64,
    /// The peer takes bytes up to here.
    credit: u64,
    /// Bytes that came from the peer.
    received: u64,
    /// The owner takes bytes up to here.
    granted: u64,
    /// ... and the peer has been told of up to here.
    advertised: u64,
    /// Written bytes of stream 0 that must have gone before anything of this stream, credits too: its request, without
    /// which the peer knows nothing of the stream.
    pub(super) behind: Option<u64>,
    pub(super) end: End,
    /// The peer sends no more, so it needs no credit.
    pub(super) is_ended: bool,
    /// Which frame it last had a part in.
    pub(super) turn: u64,
}

/// How far the end of what we send is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    No,
    Asked,
    Sent,
}

impl<const SEND: usize, M: Memory> Stream<SEND, M> {
    pub(super) fn new(id: u8, priority: Priority) -> Self {
        let credit = if id == 0 { CONTROL_CREDIT } else { INITIAL_CREDIT } as u64;
        Self {
            id,
            priority,
            waiting: M::Queue::default(),
            sent: 0,
            credit,
            received: 0,
            granted: credit,
            advertised: credit,
            behind: None,
            end: End::No,
            is_ended: false,
            turn: 0,
        }
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(SEND - self.waiting.len());
        self.waiting.push(&bytes[..count]);
        count
    }

    /// Bytes ever written, sent or not.
    pub(super) fn written(&self) -> u64 {
        self.sent + self.waiting.len() as u64
    }

    /// Bytes that may go into a frame now.
    pub(super) fn sendable(&self) -> usize {
        let credit = self.credit.saturating_sub(self.sent);
        self.waiting.len().min(usize::try_from(credit).unwrap_or(usize::MAX))
    }

    /// Moves the next bytes into `out`, which is not longer than [`Self::sendable`].
    pub(super) fn take(&mut self, out: &mut [u8]) {
        self.waiting.take(out);
        self.sent += out.len() as u64;
    }

    /// Bytes sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The peer takes bytes up to `offset`.
    pub(super) fn handle_credit(&mut self, offset: u64) {
        self.credit = self.credit.max(offset);
    }

    /// `count` bytes came; `false` when they are more than was granted.
    pub(super) fn handle_data(&mut self, count: usize) -> bool {
        self.received += count as u64;
        self.received <= self.granted
    }

    /// The owner can take `count` more.
    pub(super) fn grant(&mut self, count: usize) {
        self.granted += count as u64;
    }

    /// The offset to tell the peer, when it is worth telling.
    pub(super) fn credit_due(&self) -> Option<u64> {
        (!self.is_ended && self.granted >= self.advertised + GRANT_STEP).then_some(self.granted)
    }

    /// The peer has been told.
    pub(super) fn credit_told(&mut self) {
        self.advertised = self.granted;
    }
}
