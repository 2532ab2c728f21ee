//! Bodies to bytes and back: postcard, with one addition. A body that ends early is read as if zeros followed, so
//! that a field which an older peer does not send decodes to 0, `false`, `None` or empty.

use postcard::de_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// Writes `body` into `out` and returns the bytes used.
///
/// # Errors
/// [`TooLong`] when `out` is too short.
pub fn encode<'o, T: Serialize>(body: &T, out: &'o mut [u8]) -> Result<&'o [u8], TooLong> {
    match postcard::to_slice(body, out) {
        Ok(used) => Ok(used),
        Err(_) => Err(TooLong),
    }
}

/// Reads a body. Bytes after the last field are a newer peer's fields and are ignored; missing ones are zero.
///
/// # Errors
/// [`BadBody`] when a field that is present is cut short or not valid (for example text that is not UTF-8).
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, BadBody> {
    let mut reader = postcard::Deserializer::from_flavor(ZeroExtended { rest: bytes });
    T::deserialize(&mut reader).map_err(|_| BadBody)
}

/// Reads one body from the front of `bytes` and returns it with what follows.
///
/// # Errors
/// [`BadBody`] when the bytes end before the body does, or a field is not valid.
pub fn decode_prefix<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
) -> Result<(T, &'de [u8]), BadBody> {
    postcard::take_from_bytes(bytes).map_err(|_| BadBody)
}

/// A postcard source whose end is followed by zeros. A length is one of the bytes that are made up, and is then 0,
/// so that no made-up text or list can be longer than nothing.
struct ZeroExtended<'de> {
    rest: &'de [u8],
}

impl<'de> Flavor<'de> for ZeroExtended<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    fn pop(&mut self) -> postcard::Result<u8> {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                Ok(*first)
            }
            None => Ok(0),
        }
    }

    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(postcard::Error::DeserializeUnexpectedEnd),
        }
    }

    fn finalize(self) -> postcard::Result<&'de [u8]> {
        Ok(self.rest)
    }
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
