//! What surrounds a message on stream 0: `length u16 LE, method u16 LE, request u32 LE, body`. The length counts
//! what follows it, so a receiver can step over a message whose method it does not know.

use super::codec::{self, TooLong};
use super::method::Method;
use serde::Serialize;

/// The longest message, envelope included. An agent keeps one buffer of this size, so it also bounds the words of
/// an exec: longer ones go into a file.
pub const MESSAGE_MAX: usize = 4096;

/// Bytes of an envelope before the body.
pub const HEADER_LEN: usize = 8;

/// One message, its body not yet read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What it asks or answers.
    pub method: Method,
    /// Chosen by the dispatcher, never 0; an answer carries the id of its request. 0 on what nobody asked for.
    pub request: u32,
    /// The postcard body.
    pub body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// The first message in `bytes` and the number of bytes it takes, or `None` while it is not all there.
    ///
    /// # Errors
    /// [`BadEnvelope`] when the length is impossible; the stream cannot be read on from there.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, BadEnvelope> {
        let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_le_bytes(*length));
        if !(HEADER_LEN - 2..=MESSAGE_MAX - 2).contains(&length) {
            return Err(BadEnvelope);
        }
        let Some(content) = rest.get(..length) else { return Ok(None) };
        let Some((method, content)) = content.split_first_chunk::<2>() else { return Ok(None) };
        let Some((request, body)) = content.split_first_chunk::<4>() else { return Ok(None) };
        let envelope = Self {
            method: Method(u16::from_le_bytes(*method)),
            request: u32::from_le_bytes(*request),
            body,
        };
        Ok(Some((envelope, length + 2)))
    }
}

/// Writes a whole message into `out` and returns the bytes used.
///
/// # Errors
/// [`TooLong`] when `out` (or [`MESSAGE_MAX`]) is too short for it.
pub fn encode<'o, T: Serialize>(
    method: Method,
    request: u32,
    body: &T,
    out: &'o mut [u8],
) -> Result<&'o [u8], TooLong> {
    let limit = out.len().min(MESSAGE_MAX);
    let (start, room) = out[..limit].split_first_chunk_mut::<HEADER_LEN>().ok_or(TooLong)?;
    let length = codec::encoded(body, room)?;
    *start = header(method, request, length);
    Ok(&out[..HEADER_LEN + length])
}

/// What stands before a body of `length` bytes, which are no more than [`MESSAGE_MAX`] with it.
pub(crate) fn header(method: Method, request: u32, length: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..2].copy_from_slice(&((HEADER_LEN - 2 + length) as u16).to_le_bytes());
    header[2..4].copy_from_slice(&method.0.to_le_bytes());
    header[4..].copy_from_slice(&request.to_le_bytes());
    header
}

/// A length that no message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEnvelope;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_when_its_last_byte_is_there() {
        let mut buffer = [0; 64];
        let bytes = encode(Method::INFO, 0x0102_0304, &(5u8, 6u8), &mut buffer).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(Envelope::parse(&bytes[..length]), Ok(None));
        }
        let (envelope, used) = Envelope::parse(bytes).unwrap().unwrap();
        assert_eq!((envelope.method, envelope.request), (Method::INFO, 0x0102_0304));
        assert_eq!((envelope.body, used), (&[5, 6][..], bytes.len()));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        assert_eq!(Envelope::parse(&[5, 0, 1, 0]), Err(BadEnvelope));
        assert_eq!(Envelope::parse(&[0xFF, 0xFF]), Err(BadEnvelope));
    }
}
