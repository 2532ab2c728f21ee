//! Bodies to bytes and back: postcard (postcard.jamesmunns.com), with one addition. A body that ends early is read as if
//! zeros followed, so that a field which an older peer does not send decodes to 0, `false`, `None` or empty.
//!
//! `codec/whole.rs` is postcard itself; agents for boards, which are built with the feature `small`, have `codec/small.rs`,
//! which does the same in half as many bytes of program. So what is on the wire is plain (numbers, truth values, texts, bytes,
//! arrays, options, structs of those), and what a field may say is looked at behind decoding.

#[cfg(any(test, feature = "small"))]
#[cfg_attr(not(feature = "small"), allow(unreachable_pub, reason = "tests compare the two"))]
mod small;
#[cfg(any(test, not(feature = "small")))]
#[cfg_attr(feature = "small", allow(unreachable_pub, dead_code, reason = "tests compare the two"))]
mod whole;

use serde::{Deserialize, Serialize};
#[cfg(feature = "small")]
pub use small::Writer;
#[cfg(feature = "small")]
use small::read;
#[cfg(not(feature = "small"))]
pub use whole::Writer;
#[cfg(not(feature = "small"))]
use whole::read;

/// Whatever can be written: every body, without its type.
pub trait Body {
    /// Writes it, as the one body of the writer.
    fn write(&self, writer: &mut Writer<'_>);
}

impl<T: Serialize> Body for T {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.put(self);
    }
}

/// Writes `body` into `out` and returns the bytes used.
///
/// # Errors
/// [`TooLong`] when `out` is too short.
pub fn encode<'o, T: Serialize>(body: &T, out: &'o mut [u8]) -> Result<&'o [u8], TooLong> {
    let length = encoded(body, out)?;
    Ok(&out[..length])
}

/// The same of whatever body, with the number of bytes used: one function for all.
///
/// # Errors
/// [`TooLong`] when `out` is too short.
pub fn encoded(body: &dyn Body, out: &mut [u8]) -> Result<usize, TooLong> {
    let mut writer = Writer::new(out);
    body.write(&mut writer);
    writer.length().ok_or(TooLong)
}

/// Reads a body. Bytes after the last field are a newer peer's fields and are ignored; missing ones are zero.
///
/// # Errors
/// [`BadBody`] when a field that is present is cut short or not valid (for example text that is not UTF-8).
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, BadBody> {
    read(bytes).map(|read| read.body)
}

/// Reads one body from the front of `bytes` and returns it with what follows.
///
/// # Errors
/// [`BadBody`] when the bytes end before the body does, or a field is not valid.
pub fn decode_prefix<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
) -> Result<(T, &'de [u8]), BadBody> {
    let Read { body, rest, is_short } = read(bytes)?;
    if is_short { Err(BadBody) } else { Ok((body, rest)) }
}

/// A body that was read.
struct Read<'de, T> {
    body: T,
    /// What stands behind it.
    rest: &'de [u8],
    /// Zeros were read that are not there.
    is_short: bool,
}

/// The output buffer is too short for the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The bytes are not such a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBody;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old<'a> {
        number: u32,
        #[serde(borrow)]
        text: &'a str,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New<'a> {
        number: u32,
        #[serde(borrow)]
        text: &'a str,
        more: u64,
        maybe: Option<u8>,
        #[serde(borrow)]
        name: &'a str,
        flag: bool,
    }

    #[test]
    fn an_old_body_reads_as_a_new_one_with_zeros() {
        let mut buffer = [0; 32];
        let bytes = encode(&Old { number: 300, text: "abc" }, &mut buffer).unwrap();
        let new: New<'_> = decode(bytes).unwrap();
        assert_eq!(
            new,
            New { number: 300, text: "abc", more: 0, maybe: None, name: "", flag: false }
        );
    }

    #[test]
    fn a_new_body_reads_as_an_old_one() {
        let mut buffer = [0; 64];
        let new =
            New { number: 7, text: "x", more: 1 << 40, maybe: Some(3), name: "n", flag: true };
        let bytes = encode(&new, &mut buffer).unwrap();
        assert_eq!(decode::<Old<'_>>(bytes).unwrap(), Old { number: 7, text: "x" });
    }

    #[test]
    fn a_text_cut_short_is_refused() {
        let mut buffer = [0; 32];
        let bytes = encode(&Old { number: 1, text: "abcdef" }, &mut buffer).unwrap();
        assert_eq!(decode::<Old<'_>>(&bytes[..bytes.len() - 1]), Err(BadBody));
    }
}
