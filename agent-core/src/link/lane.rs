//! The side lane: a second way for the frames of a session, a byte stream over the network that carries bulk.
//!
//! Its frames are those of the line, with the same numbers, acknowledgements and check values, so a frame is sent on the
//! one way or on the other, and what was on the lane when it ended is sent again on the line: nothing is lost and nothing
//! comes twice. Only chunks of bulk streams and their credits go this way; everything else stays on the line, which alone
//! says whether the peer lives. On the lane a frame is its content behind its length (u16 LE).
//!
//! Either end may end it at any time, and a lane on which nothing moves ends by itself. That the peer lives, and yet takes
//! nothing from it, is what shows that: a peer that writes to a slow disk says nothing on the line either.

use heapless::Vec;

use super::frame::{CONTENT_MAX, Frame, Kind};
use super::memory::Memory;
use super::{Link, WRAPS};
use crate::time::{Duration, Instant};

/// Bytes of the longest frame on a lane.
pub const LANE_FRAME_MAX: usize = LENGTH_LEN + CONTENT_MAX;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Line,
    Lane,
}

/// Why a link gave up its lane by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneEnd {
    /// What was sent was not acknowledged for [`LANE_PATIENCE`] and longer, while the peer answered on the line.
    Stalled,
    /// Bytes came that are no frame of this session.
    Damaged,
}

/// What is sent on a lane may stay unacknowledged for so long before the peer is asked on the line whether it lives. TCP
/// sends what a network loses again after 200 ms, twice that, and so on.
pub const LANE_PATIENCE: Duration = Duration::from_secs(1);

/// The peer must be heard twice, at least so long apart: what was on its way when it began to wait for its disk says
/// nothing of what it does now.
const HEARD_APART: Duration = Duration::from_millis(400);

/// It is asked so often meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How far a lane is, and whether anything moves on it.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) is_open: bool,
    /// The peer has shown that it has it too: from here on it is sent on.
    pub(super) is_heard: bool,
    /// There is or was one in this session.
    pub(super) was_open: bool,
    /// The peer waits for an acknowledgement on it.
    pub(super) owes: bool,
    /// Something on it is not acknowledged since then.
    waits_since: Option<Instant>,
    ask_at: Option<Instant>,
    /// The peer was heard on the line while that lasted too long.
    heard_at: Option<Instant>,
}

impl Lane {
    /// Begins. The end that knows of the other already may send, and with its first frame tells it so.
    fn open(may_send: bool) -> Self {
        Self {
            is_open: true,
            is_heard: may_send,
            was_open: true,
            owes: may_send,
            ..Self::default()
        }
    }

    /// Ends; what a session must still know of it stays.
    pub(super) fn end(&mut self) {
        *self = Self { was_open: self.was_open, ..Self::default() };
    }

    /// Whether bulk goes here.
    pub(super) fn carries_bulk(&self) -> bool {
        self.is_open && self.is_heard
    }

    /// A frame that must be acknowledged was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        if self.waits_since.is_none() {
            self.wait_from(now);
        }
    }

    /// A frame that was sent here is acknowledged; others may not be.
    pub(super) fn progressed(&mut self, now: Instant, is_waiting: bool) {
        (self.waits_since, self.ask_at, self.heard_at) = (None, None, None);
        if is_waiting {
            self.wait_from(now);
        }
    }

    /// A frame came on the line. `true` when that shows that the lane leads nowhere.
    pub(super) fn heard_on_line(&mut self, now: Instant) -> bool {
        if self.waits_since.is_none_or(|since| now < since + LANE_PATIENCE) {
            return false;
        }
        let first = *self.heard_at.get_or_insert(now);
        now >= first + HEARD_APART
    }

    /// Whether it is time to ask on the line.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_due = self.ask_at.is_some_and(|at| now >= at);
        if is_due {
            self.ask_at = Some(now + ASK_EVERY);
        }
        is_due
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ask_at
    }

    fn wait_from(&mut self, now: Instant) {
        (self.waits_since, self.ask_at) = (Some(now), Some(now + LANE_PATIENCE));
    }
}

impl<const WINDOW: usize, const STREAMS: usize, const SEND: usize, M: Memory>
    Link<WINDOW, STREAMS, SEND, M>
{
    /// The owner has a connection with the peer, beside the line, for this session. The end that is certain of the other
    /// (`may_send`) sends on it at once, and the other one as soon as it has heard something on it. `false`: there is no
    /// session, or none whose check values tell it from others.
    pub fn open_lane(&mut self, may_send: bool) -> bool {
        let is_possible = self.session.is_open() && self.session.has(WRAPS);
        if is_possible {
            self.close_lane();
            self.session.lane = Lane::open(may_send);
            self.lane_end = None;
            self.stats.lanes += 1;
        }
        is_possible
    }

    /// The connection is gone, or to be given up: what was on it is sent again on the line.
    pub fn close_lane(&mut self) {
        self.lane_inbox.clear();
        self.session.close_lane();
    }

    /// Whether there is a lane. When there is none any more, the owner closes its connection.
    pub fn has_lane(&self) -> bool {
        self.session.lane.is_open
    }

    /// Why the link gave up the last lane by itself, if it did.
    pub fn lane_end(&self) -> Option<LaneEnd> {
        self.lane_end
    }

    /// Whether every frame that came has been read by the owner. Only then is the lane to be read: a network keeps for
    /// itself what nobody has room for, where the line would send it again.
    pub fn is_drained(&self) -> bool {
        self.session.is_drained()
    }

    /// Bytes came from the lane. What is no frame of this session ends it.
    pub fn handle_lane_input(&mut self, now: Instant, mut bytes: &[u8]) {
        self.stats.lane_bytes_in += bytes.len() as u64;
        while self.has_lane() && !bytes.is_empty() {
            let missing = self.lane_missing();
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            bytes = rest;
            // Never longer than the longest frame.
            let _ = self.lane_inbox.extend_from_slice(piece);
            let length = usize::from(length_of(&self.lane_inbox).unwrap_or(0));
            let has_length = self.lane_inbox.len() == LENGTH_LEN;
            let is_whole = self.lane_inbox.len() == LENGTH_LEN + length;
            let is_bad = has_length && !(CONTENT_MIN..=CONTENT_MAX).contains(&length);
            if is_bad || is_whole && !self.take_lane_frame(now) {
                self.end_lane(LaneEnd::Damaged);
            }
        }
    }

    /// Writes the next frame for the lane into `out`, which holds at least [`LANE_FRAME_MAX`] bytes, and returns its
    /// length.
    pub fn poll_lane_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let (head, rest) = out.split_first_chunk_mut::<LENGTH_LEN>()?;
        let content = rest.first_chunk_mut::<CONTENT_MAX>()?;
        let length = self.session.poll_lane_transmit(now, content)?;
        *head = (length as u16).to_le_bytes();
        self.stats.lane_bytes_out += (LENGTH_LEN + length) as u64;
        Some(LENGTH_LEN + length)
    }

    pub(super) fn end_lane(&mut self, why: LaneEnd) {
        self.lane_end = Some(why);
        self.stats.lane_faults += 1;
        self.close_lane();
    }

    /// Bytes up to the end of the length, or of the frame.
    fn lane_missing(&self) -> usize {
        let whole = length_of(&self.lane_inbox).map_or(0, usize::from) + LENGTH_LEN;
        whole - self.lane_inbox.len()
    }

    /// A whole frame is in the inbox; `false` when it is none of this session.
    fn take_lane_frame(&mut self, now: Instant) -> bool {
        let content = self.lane_inbox.get(LENGTH_LEN..).unwrap_or_default();
        let is_host = self.is_host();
        let Ok(frame) = Frame::parse_in(content, &self.session.numbers()) else { return false };
        let is_ours = frame.from_board == is_host && frame.tag == self.session.tag();
        if !is_ours || !matches!(frame.kind, Kind::Data | Kind::Ack) {
            return false;
        }
        self.session.handle_frame(now, &frame, Way::Lane, &mut self.stats);
        self.deframer.set_numbers(self.session.numbers());
        self.lane_inbox.clear();
        true
    }
}

/// What came of the lane's next frame, with its length before it.
pub(super) type Inbox = Vec<u8, LANE_FRAME_MAX>;

fn length_of(inbox: &[u8]) -> Option<u16> {
    inbox.first_chunk().copied().map(u16::from_le_bytes)
}

const LENGTH_LEN: usize = 2;

/// Bytes of an acknowledgement: control, tag, ack and check value.
const CONTENT_MIN: usize = 7;
