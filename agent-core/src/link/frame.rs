//! The content of a frame, the same in every coding:
//!
//! ```text
//! 0  control  u8      bit 7: from the board; bit 6: a SACK follows; bits 5-4: link major, 0; bits 3-0: kind
//! 1  tag      u8      of the session; 0 where there is none yet
//! 2  ack      u8      next sequence number expected
//! 3  seq      u8      DATA only
//!    sack     u32 LE  if bit 6: bit n is set when ack + 1 + n has arrived
//!    body             DATA: chunks; HELLO, HELLO_ACK: a postcard body
//!    crc      u32 LE  CRC-32C of everything before it, XORed with the wraps
//! ```
//!
//! Sequence numbers are 8 bits, so they come again every 256 frames. Where both ends can ([`WRAPS`](super::WRAPS)), the
//! check value of a DATA or ACK frame also tells how often they have wrapped, and of which session it is, for tags come
//! again too: an old frame that somebody plays back onto the line (a log of the line that is printed) is not taken for a
//! new one, and no byte is spent on it.

use super::crc::crc32c;

/// Longest content in bytes, check value included: up to here CRC-32C finds every 5 flipped bits.
pub const CONTENT_MAX: usize = 655;

/// Longest body of a DATA frame in bytes.
pub const BODY_MAX: usize = CONTENT_MAX - DATA_HEADER_LEN - SACK_LEN - CRC_LEN;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Chunks of streams; acknowledged, sent again until then.
    Data,
    /// Nothing but the acknowledgement.
    Ack,
    /// The dispatcher opens a session.
    Hello,
    /// The agent has opened it.
    HelloAck,
    /// Asks for an acknowledgement: is anybody there?
    Ping,
    /// There is no session of that tag here.
    Reset,
    /// The dispatcher leaves: the session is over.
    Bye,
}

/// A frame's content, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is for.
    pub kind: Kind,
    /// Whether the board sent it. The other direction is an echo.
    pub from_board: bool,
    /// Tag of the session.
    pub tag: u8,
    /// Next sequence number that the sender expects.
    pub ack: u8,
    /// What has arrived behind a gap at `ack`.
    pub sack: Option<u32>,
    /// Sequence number; 0 unless it is DATA.
    pub seq: u8,
    /// Chunks or body.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a content apart whose numbers have not wrapped, or that does not tell.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(content: &'a [u8]) -> Result<Self, BadFrame> {
        Self::parse_in(content, &Numbers::default())
    }

    /// Takes a content apart that came when the open session stood at `numbers`.
    ///
    /// # Errors
    /// What is wrong with it; [`BadFrame::Crc`] also when its numbers are those of an earlier turn. An acknowledgement that
    /// was overtaken on a side lane becomes one that tells nothing.
    #[inline(never)] // Several copies would cost the agent more than a call does.
    pub fn parse_in(content: &'a [u8], numbers: &Numbers) -> Result<Self, BadFrame> {
        let (content, crc) = content.split_last_chunk::<CRC_LEN>().ok_or(BadFrame::Short)?;
        let said = crc32c(content) ^ u32::from_le_bytes(*crc);
        let frame = Self::split(content);
        let wraps = frame.as_ref().map_or(0, |frame| numbers.wraps(frame));
        if said == wraps {
            return frame;
        }
        match frame {
            Ok(frame) if numbers.is_behind(&frame, wraps, said) => {
                Ok(Self { ack: numbers.base as u8, sack: None, ..frame })
            }
            _ => Err(BadFrame::Crc),
        }
    }

    /// Takes a content apart whose check value was found right.
    ///
    /// # Errors
    /// What is wrong with the rest.
    pub(super) fn checked(content: &'a [u8]) -> Result<Self, BadFrame> {
        content
            .split_last_chunk::<CRC_LEN>()
            .ok_or(BadFrame::Short)
            .and_then(|(c, _)| Self::split(c))
    }

    fn split(content: &'a [u8]) -> Result<Self, BadFrame> {
        let ([control, tag, ack], mut rest) =
            content.split_first_chunk::<HEADER_LEN>().ok_or(BadFrame::Short)?;
        if control & MAJOR_BITS != 0 {
            return Err(BadFrame::Version((control & MAJOR_BITS) >> 4));
        }
        let kind = match control & KIND_BITS {
            0 => Kind::Data,
            1 => Kind::Ack,
            2 => Kind::Hello,
            3 => Kind::HelloAck,
            4 => Kind::Ping,
            5 => Kind::Reset,
            6 => Kind::Bye,
            _ => return Err(BadFrame::Kind),
        };
        let mut seq = 0;
        if kind == Kind::Data {
            let (first, behind) = rest.split_first().ok_or(BadFrame::Short)?;
            (seq, rest) = (*first, behind);
        }
        let mut sack = None;
        if control & HAS_SACK != 0 {
            let (bits, behind) = rest.split_first_chunk::<SACK_LEN>().ok_or(BadFrame::Short)?;
            (sack, rest) = (Some(u32::from_le_bytes(*bits)), behind);
        }
        let from_board = control & FROM_BOARD != 0;
        Ok(Self { kind, from_board, tag: *tag, ack: *ack, sack, seq, body: rest })
    }

    /// Writes the content and its check value into `out` and returns the bytes used. A body that does not fit is a
    /// mistake of this crate; it is cut, and the peer's check of chunks would find it.
    pub fn emit(&self, out: &mut [u8; CONTENT_MAX]) -> usize {
        self.emit_wrapped(0, out)
    }

    /// The same, for numbers that have wrapped: as [`Numbers::wraps`] says.
    pub(super) fn emit_wrapped(&self, wraps: u32, out: &mut [u8; CONTENT_MAX]) -> usize {
        let number = match self.kind {
            Kind::Data => 0,
            Kind::Ack => 1,
            Kind::Hello => 2,
            Kind::HelloAck => 3,
            Kind::Ping => 4,
            Kind::Reset => 5,
            Kind::Bye => 6,
        };
        out[0] = number
            | if self.from_board { FROM_BOARD } else { 0 }
            | if self.sack.is_some() { HAS_SACK } else { 0 };
        out[1] = self.tag;
        out[2] = self.ack;
        let mut at = HEADER_LEN;
        if self.kind == Kind::Data {
            out[at] = self.seq;
            at += 1;
        }
        if let Some(sack) = self.sack {
            out[at..at + SACK_LEN].copy_from_slice(&sack.to_le_bytes());
            at += SACK_LEN;
        }
        debug_assert!(self.body.len() <= CONTENT_MAX - CRC_LEN - at, "a body that does not fit");
        let body = &self.body[..self.body.len().min(CONTENT_MAX - CRC_LEN - at)];
        out[at..at + body.len()].copy_from_slice(body);
        at += body.len();
        let crc = crc32c(&out[..at]) ^ wraps;
        out[at..at + CRC_LEN].copy_from_slice(&crc.to_le_bytes());
        at + CRC_LEN
    }
}

/// Whether the check value is right. What such a content means may still be unknown here: a newer peer may have sent
/// it.
pub(super) fn is_whole(content: &[u8], numbers: &Numbers) -> bool {
    !matches!(Frame::parse_in(content, numbers), Err(BadFrame::Short | BadFrame::Crc))
}

/// Where the numbers of a session stand, in full: what 8 bits stand for follows from what is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Tag of the session; 0 where there is none, or where the peer's check values do not tell the wraps.
    pub tag: u8,
    /// The session's key.
    pub key: u32,
    /// Next sequence number expected.
    pub next: u32,
    /// Oldest one of our own that is not acknowledged.
    pub base: u32,
    /// The session has or had a side lane, which is so much faster that what comes by the line may be turns behind.
    pub has_lane: bool,
}

impl Numbers {
    /// What the check value of `frame` is XORed with: the session's key, how often its sequence number (bits 0 to 15) and its
    /// acknowledgement (16 to 31) have wrapped, in the turn that is nearest to what is due.
    fn wraps(&self, frame: &Frame<'_>) -> u32 {
        if self.tag == 0 || self.tag != frame.tag {
            return 0;
        }
        wraps_of(frame.kind, self.key, near(self.next, frame.seq), near(self.base, frame.ack))
    }

    /// Whether a check value that differs from `wraps`, which is due, is right for an acknowledgement of an earlier turn.
    fn is_behind(&self, frame: &Frame<'_>, wraps: u32, said: u32) -> bool {
        let is_numbered =
            matches!(frame.kind, Kind::Data | Kind::Ack) && self.tag != 0 && self.tag == frame.tag;
        let (due, told) = (wraps ^ self.key, said ^ self.key);
        let turns = (due >> 16).wrapping_sub(told >> 16) as u16;
        self.has_lane && is_numbered && due as u16 == told as u16 && turns <= TURNS_BEHIND_MAX
    }
}

/// The same for a frame that is about to be sent, with its numbers in full.
pub(super) fn wraps_of(kind: Kind, key: u32, seq: u32, ack: u32) -> u32 {
    match kind {
        Kind::Data => key ^ (ack >> 8 << 16 | seq >> 8 & 0xFFFF),
        Kind::Ack => key ^ (ack >> 8 << 16),
        _ => 0,
    }
}

/// The number nearest to `due` that ends in `low`.
pub(super) fn near(due: u32, low: u8) -> u32 {
    due.wrapping_add_signed(i32::from(low.wrapping_sub(due as u8) as i8))
}

/// An acknowledgement on the line may be so many turns of 256 frames older than one on the side lane: two frames wait for
/// a line at 115200 baud for 0.1 s, in which a lane carries less than 10 MB. It costs 6 of the check value's 32 bits.
const TURNS_BEHIND_MAX: u16 = 63;

const HEADER_LEN: usize = 3;
const DATA_HEADER_LEN: usize = HEADER_LEN + 1;
const SACK_LEN: usize = 4;
const CRC_LEN: usize = 4;

const FROM_BOARD: u8 = 0x80;
const HAS_SACK: u8 = 0x40;
const MAJOR_BITS: u8 = 0x30;
const KIND_BITS: u8 = 0x0F;

/// Why a content is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// Too short for its fields.
    Short,
    /// The check value differs.
    Crc,
    /// Another major version of the link: this one. Ours is 0.
    Version(u8),
    /// A kind that this version does not know.
    Kind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        for kind in
            [Kind::Data, Kind::Ack, Kind::Hello, Kind::HelloAck, Kind::Ping, Kind::Reset, Kind::Bye]
        {
            for sack in [None, Some(0x8000_0001)] {
                let seq = if kind == Kind::Data { 200 } else { 0 };
                let frame =
                    Frame { kind, from_board: true, tag: 7, ack: 9, sack, seq, body: b"body" };
                let mut content = [0; CONTENT_MAX];
                let length = frame.emit(&mut content);
                assert_eq!(Frame::parse(&content[..length]), Ok(frame));
            }
        }
    }

    #[test]
    fn a_frame_of_another_turn_is_none() {
        let frame = Frame {
            kind: Kind::Data,
            from_board: true,
            tag: 7,
            ack: 250,
            sack: None,
            seq: 3,
            body: b"body",
        };
        let read = |next, base, wraps| {
            let mut content = [0; CONTENT_MAX];
            let length = frame.emit_wrapped(wraps, &mut content);
            let numbers = Numbers { tag: 7, key: 0, next, base, has_lane: false };
            Frame::parse_in(&content[..length], &numbers).is_ok()
        };
        // Frame 3 of the first turn, then of the third, which comes a little late and acknowledges what is behind.
        assert!(read(0, 250, 0));
        assert!(read(2 << 8 | 7, 5 << 8 | 255, 5 << 16 | 2));
        assert!(read(2 << 8 | 7, 6 << 8 | 1, 5 << 16 | 2));
        for wraps in [0, 1, 2, 5 << 16, 5 << 16 | 1, 5 << 16 | 3, 4 << 16 | 2] {
            assert!(!read(2 << 8 | 7, 5 << 8 | 255, wraps), "{wraps:x}");
        }
        // Behind 65,536 wraps they begin again; before the first frame there was none.
        assert!(read(0x0100_0003, 250, 0) && !read(0, 3, 0));
    }

    #[test]
    fn an_acknowledgement_that_a_side_lane_overtook_tells_nothing() {
        let (key, base) = (0x1234_5600 | 7, 40 << 8 | 9);
        let (kind, sack) = (Kind::Data, Some(5));
        let frame = Frame { kind, from_board: true, tag: 7, ack: 250, sack, seq: 3, body: b"body" };
        let read = |has_lane, turn: u32| {
            let mut content = [0; CONTENT_MAX];
            let length = frame.emit_wrapped(wraps_of(kind, key, 3, turn << 8 | 250), &mut content);
            let numbers = Numbers { tag: 7, key, next: 0, base, has_lane };
            Frame::parse_in(&content[..length], &numbers).map(|frame| (frame.ack, frame.sack))
        };
        // 250 of turn 39 is the nearest to what is due.
        assert_eq!((read(false, 39), read(true, 39)), (Ok((250, Some(5))), Ok((250, Some(5)))));
        assert_eq!((read(false, 38), read(true, 38)), (Err(BadFrame::Crc), Ok((9, None))));
        assert_eq!(read(true, 0), Ok((9, None)));
        // What was never sent is not acknowledged.
        assert_eq!(read(true, 40), Err(BadFrame::Crc));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let frame = Frame {
            kind: Kind::Data,
            from_board: false,
            tag: 1,
            ack: 2,
            sack: None,
            seq: 3,
            body: b"hello",
        };
        let mut content = [0; CONTENT_MAX];
        let length = frame.emit(&mut content);
        for bit in 0..length * 8 {
            content[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::parse(&content[..length]), Err(BadFrame::Crc));
            content[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
