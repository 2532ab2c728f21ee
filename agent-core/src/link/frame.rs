//! The content of a frame, the same in every coding:
//!
//! ```text
//! 0  control  u8      bit 7: from the board; bit 6: a SACK follows; bits 5-4: link major, 0; bits 3-0: kind
//! 1  tag      u8      of the session; 0 where there is none yet
//! 2  ack      u8      next sequence number expected
//! 3  seq      u8      DATA only
//!    sack     u32 LE  if bit 6: bit n is set when ack + 1 + n has arrived
//!    body             DATA: chunks; HELLO, HELLO_ACK: a postcard body
//!    crc      u32 LE  CRC-32C of everything before it
//! ```

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
    /// Takes a content apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(content: &'a [u8]) -> Result<Self, BadFrame> {
        let (content, crc) = content.split_last_chunk::<CRC_LEN>().ok_or(BadFrame::Short)?;
        if crc32c(content) != u32::from_le_bytes(*crc) {
            return Err(BadFrame::Crc);
        }
        let ([control, tag, ack], mut rest) =
            content.split_first_chunk::<HEADER_LEN>().ok_or(BadFrame::Short)?;
        if control & MAJOR_BITS != 0 {
            return Err(BadFrame::Version);
        }
        let kind = match control & KIND_BITS {
            0 => Kind::Data,
            1 => Kind::Ack,
            2 => Kind::Hello,
            3 => Kind::HelloAck,
            4 => Kind::Ping,
            5 => Kind::Reset,
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
        let number = match self.kind {
            Kind::Data => 0,
            Kind::Ack => 1,
            Kind::Hello => 2,
            Kind::HelloAck => 3,
            Kind::Ping => 4,
            Kind::Reset => 5,
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
        let crc = crc32c(&out[..at]);
        out[at..at + CRC_LEN].copy_from_slice(&crc.to_le_bytes());
        at + CRC_LEN
    }
}

/// Whether the check value is right. What such a content means may still be unknown here: a newer peer may have sent
/// it.
pub(super) fn is_whole(content: &[u8]) -> bool {
    !matches!(Frame::parse(content), Err(BadFrame::Short | BadFrame::Crc))
}

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
    /// Another major version of the link.
    Version,
    /// A kind that this version does not know.
    Kind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        for kind in [Kind::Data, Kind::Ack, Kind::Hello, Kind::HelloAck, Kind::Ping, Kind::Reset] {
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
