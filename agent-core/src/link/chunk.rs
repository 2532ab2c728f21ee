//! Chunks: pieces of streams, and word about them, in the body of a DATA frame.
//!
//! A chunk is a head byte, `kind << 6 | last << 5 | stream`, and then:
//!
//! ```text
//! 0 data    [length varint unless last] bytes
//! 1 end     nothing: all bytes of the stream have been sent
//! 2 credit  offset varint: the peer may send up to this byte
//! 3 reset   nothing: the stream is given up
//! ```

use super::memory::{Body, Memory, Queue};
use super::stream::{End, Stream};

/// Ids of streams are 5 bits.
pub(super) const STREAM_ID_MAX: u8 = 31;

/// One chunk of a body, by position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) stream: u8,
    pub(super) kind: ChunkKind,
}

/// What it says.
#[derive(Clone, Copy, Debug)]
pub(super) enum ChunkKind {
    Data { start: usize, end: usize },
    End,
    Credit(u64),
    Reset,
}

impl Chunk {
    /// The chunk at `at` and where the next one begins, or `None` when it is cut short.
    pub(super) fn parse(body: &[u8], at: usize) -> Option<(Self, usize)> {
        let head = *body.get(at)?;
        let stream = head & STREAM_ID_MAX;
        let at = at + 1;
        let (kind, next) = match head >> 6 {
            DATA => {
                let is_last = head & 1 << 5 != 0;
                let (length, start) =
                    if is_last { ((body.len() - at) as u64, at) } else { varint(body, at)? };
                let end = start.checked_add(usize::try_from(length).ok()?)?;
                if end > body.len() {
                    return None;
                }
                (ChunkKind::Data { start, end }, end)
            }
            END => (ChunkKind::End, at),
            CREDIT => {
                let (offset, next) = varint(body, at)?;
                (ChunkKind::Credit(offset), next)
            }
            _ => (ChunkKind::Reset, at),
        };
        Some((Self { stream, kind }, next))
    }
}

/// Moves what a stream may send into the body; `false` when nothing did.
pub(super) fn push_stream<const SEND: usize, M: Memory>(
    body: &mut M::Body,
    limit: usize,
    stream: &mut Stream<SEND, M>,
) -> bool {
    let before = body.len();
    let sendable = stream.sendable();
    let room = limit.saturating_sub(body.len());
    if sendable > 0 && room > DATA_HEAD_MAX {
        // A chunk that fills the frame needs no length.
        let is_last = sendable >= room - 1;
        let count = if is_last { room - 1 } else { sendable.min(room - DATA_HEAD_MAX) };
        push_head(body, DATA, is_last, stream.id);
        if !is_last {
            push_varint(body, count as u64);
        }
        if let Some(bytes) = body.extend_zeroed(count) {
            stream.take(bytes);
        }
    }
    let is_done = stream.waiting.is_empty() && stream.end == End::Asked;
    if is_done && body.len() < limit {
        push_head(body, END, false, stream.id);
        stream.end = End::Sent;
    }
    body.len() > before
}

pub(super) fn push_head(body: &mut impl Body, kind: u8, is_last: bool, stream: u8) {
    push(body, kind << 6 | u8::from(is_last) << 5 | stream);
}

pub(super) fn push_varint(body: &mut impl Body, mut number: u64) {
    while number >= 0x80 {
        push(body, number as u8 | 0x80);
        number >>= 7;
    }
    push(body, number as u8);
}

fn push(body: &mut impl Body, byte: u8) {
    if let Some([last]) = body.extend_zeroed(1) {
        *last = byte;
    }
}

const DATA: u8 = 0;
const END: u8 = 1;
pub(super) const CREDIT: u8 = 2;
pub(super) const RESET: u8 = 3;

/// Bytes of the longest varint of a u64.
pub(super) const VARINT_MAX: usize = 10;

/// Head and length of a data chunk that is not the last one, at most.
const DATA_HEAD_MAX: usize = 3;

fn varint(body: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *body.get(at)?;
        at += 1;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some((number, at));
        }
    }
    None
}
