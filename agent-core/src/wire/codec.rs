//! Bodies to bytes and back: the format of postcard (postcard.jamesmunns.com), with one addition. A body that ends early
//! is read as if zeros followed, so that a field which an older peer does not send decodes to 0, `false`, `None` or
//! empty.
//!
//! Reader and writer are our own: a field that is bad or does not fit is remembered and told at the end, not after each
//! field, which halves the program that all messages take. So what is on the wire is plain (numbers, truth values, texts,
//! bytes, arrays, options, structs of those): a kind that refuses values by itself, as an enum does, does not compile, and
//! what a field may say is looked at behind decoding.

mod reader;
mod writer;

use core::fmt;
use reader::Reader;
use serde::{Deserialize, Serialize};
pub use writer::{Body, Writer};

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
    let mut reader = Reader::new(bytes);
    let Ok(body) = T::deserialize(&mut reader);
    if reader.is_bad { Err(BadBody) } else { Ok(body) }
}

/// Reads one body from the front of `bytes` and returns it with what follows.
///
/// # Errors
/// [`BadBody`] when the bytes end before the body does, or a field is not valid.
pub fn decode_prefix<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
) -> Result<(T, &'de [u8]), BadBody> {
    let mut reader = Reader::new(bytes);
    let Ok(body) = T::deserialize(&mut reader);
    if reader.is_bad || reader.is_short { Err(BadBody) } else { Ok((body, reader.rest)) }
}

/// The output buffer is too short for the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The bytes are not such a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBody;

/// The error that reading or writing a field never has.
#[derive(Debug)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl core::error::Error for Never {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::response::{Exit, Info, Outcome};
    use crate::wire::test_signal::{Noted, TestSignal};
    use crate::wire::{Failure, FailureKind};
    use proptest::prelude::*;

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

    fn as_postcard<T: Serialize>(body: &T) {
        let (mut ours, mut theirs) = ([0; 512], [0; 512]);
        assert_eq!(
            encode(body, &mut ours).unwrap(),
            postcard::to_slice(body, &mut theirs).unwrap()
        );
    }

    /// Also what is bad: cut in the middle, no UTF-8, no number of its kind.
    fn reads_as_postcard<'de, T: Deserialize<'de> + PartialEq + fmt::Debug>(bytes: &'de [u8]) {
        let theirs = postcard::take_from_bytes::<T>(bytes).map_err(|_| BadBody);
        assert_eq!(decode_prefix::<T>(bytes), theirs);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kinds<'a> {
        small: (u8, i8, bool, u16, i16),
        wide: (u32, i32, u64, i64, usize),
        maybe: Option<Option<u32>>,
        #[serde(borrow)]
        text: &'a str,
        #[serde(borrow)]
        bytes: &'a [u8],
        array: [u16; 3],
        nothing: (),
    }

    proptest! {
        #[test]
        fn written_as_postcard_writes(
            small: (u8, i8, bool, u16, i16), wide: (u32, i32, u64, i64, usize), maybe: Option<Option<u32>>,
            text in "\\PC{0,24}", bytes in proptest::collection::vec(any::<u8>(), 0..140), array: [u16; 3],
        ) {
            let body = Kinds { small, wide, maybe, text: &text, bytes: &bytes, array, nothing: () };
            as_postcard(&body);
            let mut buffer = [0; 512];
            let written = encode(&body, &mut buffer).unwrap();
            assert_eq!(decode::<Kinds<'_>>(written).unwrap(), body);
            for length in 0..written.len() {
                reads_as_postcard::<Kinds<'_>>(&written[..length]);
                assert_eq!(encode(&body, &mut [0; 512][..length]), Err(TooLong));
            }
            let exit = Exit { end: small.0, elapsed_us: wide.2, ..Exit::default() };
            let signal = TestSignal { name: &text, step: wide.0, exit, ..TestSignal::default() };
            as_postcard(&Noted { stdout_bytes: wide.2, stderr_bytes: 0, signal });
            as_postcard(&Failure { kind: FailureKind(small.3), os_error: wide.1, text: &text });
            as_postcard(&Outcome { state: small.0, method: small.3, body: &bytes });
        }

        #[test]
        fn read_as_postcard_reads(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), 0..4_u8, Just(0x80), Just(0xFF), Just(b'x')], 0..60,
        )) {
            reads_as_postcard::<Kinds<'_>>(&bytes);
            reads_as_postcard::<Noted<'_>>(&bytes);
            reads_as_postcard::<Info<'_>>(&bytes);
            reads_as_postcard::<(u16, u32, u64, i32, bool, Option<u8>)>(&bytes);
        }
    }
}
